"""Trace: what programs ask of the kernel and get, told to a writer call by call.

A trace is the outermost handler of a view, so it tells what the program asked and what it got, after all
other handlers.  It runs on the guardians, several at once; a writer is called from any of them.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from diorama.catalogue.model import Request, Tracee


@dataclass(frozen=True, slots=True)
class Moment:
    """When a call was made (seconds since the epoch) and how long it took (seconds)."""

    time: float
    duration: float = 0.0


class Writer(Protocol):
    """What a trace is told to.  `tasks` is how many tasks there are now."""

    def returned(self, call: Request, value: int | None, moment: Moment, tasks: int) -> None:
        """A call gave this value, -errno for an error; None if it never returned."""

    def signalled(self, tracee: Tracee, sig: int, tasks: int) -> None:
        """A signal is being delivered."""

    def ended(self, tracee: Tracee, status: int, tasks: int) -> None:
        """A task ended with this wait status; -1 if nobody can know it."""


class Trace:
    """Handler and observer of a view.

        trace = Trace(writer, lambda call: True)
        view.on("all")(trace.handle)
        view.observe(trace)

    `shows` selects among the calls that `handle` is asked about.
    """

    wants_signals = True

    def __init__(self, writer: Writer, shows: Callable[[Request], bool]) -> None:
        self._writer = writer
        self._shows = shows
        self._tasks = 1
        self._lock = threading.Lock()

    def handle(self, call: Request) -> int | None:
        """Run a call and tell what became of it."""
        if not self._shows(call):
            return None
        began, clock = time.time(), time.perf_counter()
        value: int | None = None
        try:
            value = call.run()
        except OSError as error:
            value = -(error.errno or errno.EIO)
            raise
        finally:
            moment = Moment(began, time.perf_counter() - clock)
            self._writer.returned(call, value, moment, self._tasks)
        return value

    def cloned(self, parent: Tracee, child: Tracee, flags: int) -> None:
        """One more task."""
        with self._lock:
            self._tasks += 1

    def executed(self, tracee: Tracee) -> None:
        """Nothing: execve shows it."""

    def signalled(self, tracee: Tracee, sig: int) -> None:
        """Tell of a signal."""
        self._writer.signalled(tracee, sig, self._tasks)

    def exited(self, tracee: Tracee, status: int) -> None:
        """One task less."""
        self._writer.ended(tracee, status, self._tasks)
        with self._lock:
            self._tasks -= 1
