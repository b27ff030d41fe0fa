"""Asking: on whose behalf a file system is asked, known on the thread that asks.

A file system that hands its questions on (a FUSE server, a remote one) tells who asks, and does not wait for
an answer that nobody waits for any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from signal import (
    SIGCHLD,
    SIGCONT,
    SIGKILL,
    SIGSTOP,
    SIGTSTP,
    SIGTTIN,
    SIGTTOU,
    SIGURG,
    SIGWINCH,
)
from typing import Any

from diorama.view.clock import Clock, Kind
from diorama.view.credentials import Credentials
from diorama.view.formats import Fixed
from diorama.view.task import Task, Tasks

__all__ = ["Asker", "asked", "asker", "asks", "now", "patiently"]

_SIGNALS = (b"SigPnd", b"ShdPnd", b"SigBlk", b"SigIgn", b"SigCgt")


def _mask(*signals: int) -> int:
    return sum(1 << number - 1 for number in signals)


_IGNORED = _mask(SIGCHLD, SIGCONT, SIGURG, SIGWINCH)
"""What does nothing unless it is caught (signal(7)); the kernel keeps it for a task that is traced."""
_STOPPING = _mask(SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU)


def _nothing() -> None:
    return


class Asker:
    """A task in one of its calls, which has begun at `since` (as time.monotonic() counts).

    `step_aside` is to be called before waiting for something that another program of the view may have to do.
    `heard` is whom it was made sure of last that all is heard that he has said before this call.
    """

    __slots__ = ("_task", "_tasks", "heard", "since", "step_aside")

    def __init__(self, tasks: Tasks, task: Task, step_aside: Callable[[], None] = _nothing) -> None:
        self._tasks = tasks
        self._task = task
        self.step_aside = step_aside
        self.heard: object = None
        self.since = time.monotonic()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._task.pid

    @property
    def task(self) -> Task:
        """The task itself."""
        return self._task

    @property
    def is_itself(self) -> bool:
        """Whether it is the same to files as on the host."""
        return self._task.identity is None

    @property
    def clock(self) -> Clock | None:
        """The clock that it has; None in a view that has none of its own."""
        return self._task.clock or self._tasks.clock

    @property
    def credentials(self) -> Credentials:
        """Who it is to files."""
        return self._tasks.credentials(self._task)

    def fix_program(self, path: bytes) -> Fixed:
        """Open a program, as execve(2) of it would, for as long as somebody wants it; `OSError`."""
        return self._tasks.fix_program(self._task, path)

    def choose_stack(self, network: Any, families: frozenset[int]) -> None:
        """Let its process have a network, for some address families or for all."""
        self._tasks.choose_stack(self._task, network, families)

    def is_interrupted(self) -> bool:
        """Whether a signal waits for it that it does not block or ignore: a wait of its would end."""
        return bool(self._signals()[0])

    def is_killed(self) -> bool:
        """Whether it is gone, or about to be.  Unless it is traced, what kills has become SIGKILL."""
        pending, caught = self._signals()
        return bool(pending & ~caught & ~_STOPPING)

    def patient(self) -> Asker:
        """The same, whom no signal interrupts that does not kill."""
        return _Patient(self._tasks, self._task, self.step_aside)

    def _signals(self) -> tuple[int, int]:
        """The signals that wait for it and those of them that it handles, as masks (proc(5)).

        SIGKILL if it is gone.
        """
        try:
            with open(f"/proc/{self._task.tid}/status", "rb") as status:
                lines = dict(line.split(b":\t", 1) for line in status if line.startswith(_SIGNALS))
        except (FileNotFoundError, ProcessLookupError):
            return _mask(SIGKILL), 0
        one, all_threads, blocked, ignored, caught = (int(lines[name], 16) for name in _SIGNALS)
        pending = (one | all_threads) & ~(blocked | ignored | (_IGNORED & ~caught))
        return pending, pending & caught


class _Patient(Asker):
    """A task in a call that only its death ends."""

    __slots__ = ()

    def is_interrupted(self) -> bool:
        return self.is_killed()


_asker: ContextVar[Asker | None] = ContextVar("_asker", default=None)


def asks(tasks: Tasks, task: Task, step_aside: Callable[[], None] = _nothing) -> None:
    """A task asks on this thread from now on, until `asked`."""
    _asker.set(Asker(tasks, task, step_aside))


def asked() -> None:
    """Nobody asks on this thread any more."""
    _asker.set(None)


@contextmanager
def patiently() -> Generator[None, None, None]:
    """Who asks on this thread is not interrupted by a signal that does not kill, as who closes a file."""
    who = _asker.get()
    token = _asker.set(None if who is None else who.patient())
    try:
        yield
    finally:
        _asker.reset(token)


def now() -> int:
    """What the wall clock of who asks shows, in nanoseconds; that of the host, if nobody does."""
    who = _asker.get()
    clock = None if who is None else who.clock
    return time.time_ns() if clock is None else clock.shown(Kind.WALL)


def asker() -> Asker | None:
    """Who asks on this thread; None for the view itself, which saves a file or ends."""
    return _asker.get()
