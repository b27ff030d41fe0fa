"""Patience: waiting for a file system that is slow, but not longer than the program that asked lives.

A handler may block: only its own program waits for it.  But Linux lets a program that waits for a network
file system be killed, and one that is traced does not even react while a handler decides.  So what may take
long is done on a thread of its own, and given up when nobody is left who wants it.  The thread goes on: what
it fetches may be wanted by another.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from signal import SIGCHLD, SIGCONT, SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH
from typing import Final, Generic, TypeVar

from diorama.view.asking import asker

__all__ = ["wait_for"]

T = TypeVar("T")

_TICK: Final = 0.05
_HARMLESS: Final = (SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH)
_STATES: Final = (b"Z", b"X")


def wait_for(tid: int, work: Callable[[], T], late: Callable[[T], None] | None = None) -> T:
    """The result of `work`, or its error; EINTR when the thread `tid` is dead or about to be killed.

    A result that nobody waits for any more is given to `late`.
    """
    who = asker()
    if who is not None:
        who.step_aside()  # who is waited for may be a program of the view
    errand = _Errand(work, late)
    threading.Thread(target=errand.run, name="diorama-fetch", daemon=True).start()
    while not errand.done.wait(_TICK):
        if _is_doomed(tid) and errand.give_up():
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
    return errand.result()


class _Errand(Generic[T]):
    """Work done on another thread, and whether anybody still waits for it."""

    def __init__(self, work: Callable[[], T], late: Callable[[T], None] | None) -> None:
        self.done = threading.Event()
        self._work = work
        self._late = late
        self._lock = threading.Lock()
        self._is_given_up = False
        self._results: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do it, on its own thread."""
        try:
            self._results.append(self._work())
        except BaseException as error:
            self._error = error
        with self._lock:
            self.done.set()
        if self._is_given_up and self._late is not None and self._results:
            self._late(self._results[0])

    def give_up(self) -> bool:
        """Wait no longer, unless it is done by now."""
        with self._lock:
            self._is_given_up = not self.done.is_set()
            return self._is_given_up

    def result(self) -> T:
        """What came of it."""
        if self._error is not None:
            raise self._error
        return self._results[0]


def _is_doomed(tid: int) -> bool:
    """Whether a signal that will kill it waits for a thread (proc(5))."""
    try:
        with open(f"/proc/{tid}/status", "rb") as status:
            fields = dict(line.split(b":", 1) for line in status if b":" in line)
    except OSError:
        return True
    if fields[b"State"].split()[0] in _STATES:
        return True
    pending, shared, blocked, ignored, caught = (
        int(fields[name], 16) for name in (b"SigPnd", b"ShdPnd", b"SigBlk", b"SigIgn", b"SigCgt")
    )
    harmless = sum(1 << sig - 1 for sig in _HARMLESS)
    survived = (blocked | ignored | caught | harmless) & ~(1 << SIGKILL - 1)
    return bool((pending | shared) & ~survived)
