"""Trace: what programs ask of the kernel and get, told to a writer call by call.

A trace is the outermost handler of a view, so it tells what the program asked and what it got, after all
other handlers.  It runs on the guardians, several at once; a writer is called from any of them.

It must not change what programs do: a writer that fails costs a traceback, and nothing else.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from diorama.errors import TraceeDied, errno_of

if TYPE_CHECKING:
    from diorama.catalogue.model import Request, Tracee

# The request of all exec calls: it replaces the memory that its arguments point to.
_REPLACING = frozenset({"execveat"})


@dataclass(frozen=True, slots=True)
class Returned:
    """A call and what became of it.

    `described` is what the writer said of its arguments.  `value` is the result, -errno for an error, None
    if it never returned.  `time` is when it was made, in seconds since the epoch, `duration` in seconds.
    `tasks` is how many tasks there are.
    """

    call: Request
    described: Any
    value: int | None
    time: float
    duration: float
    tasks: int


class Writer(Protocol):
    """What a trace is told to."""

    def describe(self, call: Request, value: int | None) -> Any:
        """Put the arguments of a call with this result, None before it has one, into words or data."""

    def returned(self, event: Returned) -> None:
        """A call has returned, or never will."""

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
        self._started = False
        # Of each tracee, the calls being handled, and the status of those that ended meanwhile.
        self._calls: dict[Tracee, int] = {}
        self._ends: dict[Tracee, int] = {}

    def handle(self, call: Request) -> int | None:
        """Run a call and tell what became of it."""
        if not self._shows(call):
            return None
        tracee = call.tracee
        described = self._describe(call, None) if call.NAME in _REPLACING else None
        self._calls[tracee] = self._calls.get(tracee, 0) + 1
        value: int | None = None
        began, clock = time.time(), time.perf_counter()
        try:
            value = call.run()
        except OSError as error:
            value = -errno_of(error)
            raise
        finally:
            duration = time.perf_counter() - clock
            if described is None:
                described = self._describe(call, value)
            # The program is looked for in PATH by our own exec calls, which are not its.
            if self._started or value == 0:
                self._tell(
                    self._writer.returned, Returned(call, described, value, began, duration, self._tasks)
                )
            self._leave(tracee)
        return value

    def cloned(self, parent: Tracee, child: Tracee, flags: int) -> None:
        """One more task."""
        with self._lock:
            self._tasks += 1

    def executed(self, tracee: Tracee) -> None:
        """The program itself runs from now on."""
        self._started = True

    def signalled(self, tracee: Tracee, sig: int) -> None:
        """Tell of a signal."""
        self._tell(self._writer.signalled, tracee, sig, self._tasks)

    def exited(self, tracee: Tracee, status: int) -> None:
        """Tell of an end, after the call in which it came."""
        self._ends[tracee] = status
        if tracee not in self._calls:
            self._end(tracee)

    def _leave(self, tracee: Tracee) -> None:
        self._calls[tracee] -= 1
        if self._calls[tracee]:
            return
        del self._calls[tracee]
        if tracee in self._ends:
            self._end(tracee)

    def _end(self, tracee: Tracee) -> None:
        self._tell(self._writer.ended, tracee, self._ends.pop(tracee), self._tasks)
        with self._lock:
            self._tasks -= 1

    def _describe(self, call: Request, value: int | None) -> Any:
        try:
            return self._writer.describe(call, value)
        except TraceeDied:
            return None
        except Exception:
            traceback.print_exc()
            return None

    def _tell(self, what: Callable[..., None], *values: Any) -> None:
        try:
            what(*values)
        except Exception:
            traceback.print_exc()
