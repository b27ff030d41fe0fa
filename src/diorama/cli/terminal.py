"""Terminal: it belongs to the program; diorama stands beside it in the caller's job.

Theory.  The program and diorama are in the same job of the caller's shell, so what is typed at the terminal
reaches both, and what the shell sees is diorama alone.  Hence:

* ^C, ^\\ and ^Z are the program's to react to: here they do nothing.  They have handlers rather than being
  ignored, because a program inherits what is ignored; and what the caller ignores stays ignored.
* SIGTERM and SIGHUP are sent to diorama by somebody who means the program: they are passed on, and
  `told_to_end` says that nothing is to outlive it.  (When its session leader is hung up, the kernel leaves
  the rest of the job to that leader.)
* When the job is stopped, by ^Z or by reading from the background, diorama waits for the program to stop
  and stops too, so that the shell sees it.  A program that is stopped alone stays alone: somebody in the
  view will wake it, who needs diorama awake.  SIGCONT to the job wakes both; sent to diorama alone, it is
  passed on.
* SIGTTOU stays as it is: with a handler, our own writes to the terminal from the background would be
  made again and again.

What is to be passed on before the program's pid is known waits for that.  After its end, while others of the
view go on, and while start-up files run before it, a signal means diorama: `Interrupted` is raised in the
main thread, once.  When the view is being closed, nothing is cut short by a signal, or what programs have
written could be lost; but who types ^C, or sends two signals, has waited long enough for a file system that
does not answer.  What comes then does what it did before there was a view.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Generator, Iterable
from types import FrameType
from typing import Any

_STOPPING = (signal.SIGTSTP, signal.SIGTTIN)
_TYPED = (signal.SIGINT, signal.SIGQUIT, *_STOPPING)
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
_ENDING = (signal.SIGINT, signal.SIGQUIT, *_PASSED_ON)
_WAKING_SECONDS = 0.1


class Interrupted(BaseException):
    """A signal that asks diorama itself to end."""


class Terminal:
    """Context manager: how this process reacts to signals while a program has the terminal."""

    def __init__(self) -> None:
        self.told_to_end = False
        self._before: dict[int, Any] = {}
        self._pid: int | None = None
        self._waiting: list[int] = []
        self._job_stops: set[int] = set()
        self._is_ours = False
        self._is_closing = False
        self._unattended: list[int] = []

    def __enter__(self) -> Terminal:
        for sig in (*_TYPED, *_PASSED_ON):
            before = signal.getsignal(sig)
            if before is not signal.SIG_IGN and before is not None:
                self._before[sig] = before
                signal.signal(sig, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore(list(self._before))

    def _restore(self, signals: Iterable[int]) -> None:
        for sig in signals:
            if sig in self._before:
                signal.signal(sig, self._before.pop(sig))

    @contextlib.contextmanager
    def interruptible(self) -> Generator[None]:
        """While what is waited for is not the program: signals are diorama's, also those before."""
        self._is_ours = True
        try:
            if self._unattended:
                raise Interrupted(self._unattended[0])
            yield
        finally:
            self._is_ours = False

    @contextlib.contextmanager
    def attached(self, pid: int) -> Generator[None]:
        """While the program with this pid runs, signals are its own; afterwards they are diorama's."""
        self._pid = pid
        self._unattended.clear()
        while self._waiting:
            _send(pid, self._waiting.pop(0))
        try:
            yield
        finally:
            self._pid = None

    @contextlib.contextmanager
    def closing(self) -> Generator[None]:
        """What comes after it is the end of a view: not cut short, and stopped by ^Z as others are."""
        try:
            yield
        finally:
            self._unattended.clear()
            self._is_closing = True
            self._restore(_STOPPING)

    def has_had_enough(self) -> bool:
        """Whether somebody does not want to wait for the end of the view any longer."""
        return len(self._unattended) > 1 or bool(set(self._unattended) - set(_PASSED_ON))

    def stopped(self, sig: int) -> None:
        """The program was stopped by `sig`; 0: it goes on.  Called in the main thread."""
        pid = self._pid
        mine = sig in self._job_stops
        self._job_stops.clear()
        if not mine or pid is None:
            return
        os.kill(os.getpid(), signal.SIGSTOP)
        # Woken up again.  A guardian may need a moment to wake the program.
        deadline = time.monotonic() + _WAKING_SECONDS
        while is_stopped(pid):
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(os.getpgid(pid), signal.SIGCONT)
                return
            time.sleep(_WAKING_SECONDS / 20)

    def _handle(self, sig: int, _frame: FrameType | None) -> None:
        if self._is_ours and sig in _ENDING:
            self._is_ours = False
            raise Interrupted(sig)
        if self._pid is None and sig in _ENDING:
            self._unattended.append(sig)
            if self._is_closing and self.has_had_enough():
                self._restore(_ENDING)
        if sig not in _PASSED_ON:
            self._job_stops.add(sig)
            return
        self.told_to_end = True
        if self._pid is None:
            self._waiting.append(sig)
        else:
            _send(self._pid, sig)


def _send(pid: int, sig: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sig)


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, by job control or its tracer (proc_pid_stat(5), state)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return False
    return stat[stat.rindex(b")") + 2 :][:1] in {b"T", b"t"}
