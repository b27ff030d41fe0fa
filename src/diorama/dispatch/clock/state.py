"""State: the clocks of a view, and which process has which.

A process has the clock of the view unless it, or who made it, was given another.  What two processes have of
one clock is the same clock: it is set for both.  The native library reads clocks; it is told of each course
before anybody can see it, and no clock is read while a new course begins.  It forgets the clock of processes
that are all gone when there is another one to be told of: who finds out that nobody has a clock any more may
be anywhere, also where no clock can be read.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Final

from diorama.abi import time as abi
from diorama.dispatch.clock.following import Following
from diorama.engine.descent import relatives
from diorama.view.clock import Clock, Course, Kind, Moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from diorama.catalogue.model import Tracee
    from diorama.dispatch.files.state import Files
    from diorama.engine.decider import Decider
    from diorama.view.task import Task

__all__ = ["Clocks", "Timers", "host_moment"]

_SWEEP_AT: Final = 256

_IDS: Final = {
    Kind.WALL: abi.CLOCK_REALTIME,
    Kind.MONOTONIC: abi.CLOCK_MONOTONIC,
    Kind.RAW: abi.CLOCK_MONOTONIC_RAW,
    Kind.BOOTTIME: abi.CLOCK_BOOTTIME,
}


def host_moment() -> Moment:
    """What the clocks of the host show now."""
    return Moment(*[time.clock_gettime_ns(_IDS[kind]) for kind in Kind])


class Timers:
    """By which clock the timers of processes are (timer_create(2)).  Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_process: dict[int, dict[int, int]] = {}
        self._sweep_at = _SWEEP_AT

    def add(self, pid: int, timer: int, clock: int) -> None:
        """A process has made one."""
        with self._lock:
            if len(self._of_process) >= self._sweep_at:
                ended = [one for one in self._of_process if not os.path.exists(f"/proc/{one}")]
                for one in ended:
                    del self._of_process[one]
                self._sweep_at = max(_SWEEP_AT, 2 * len(self._of_process))
            self._of_process.setdefault(pid, {})[timer] = clock

    def find(self, pid: int, timer: int) -> int | None:
        """The clock of a timer; None for one that nobody has made."""
        with self._lock:
            return self._of_process.get(pid, {}).get(timer)


class Clocks:
    """The clocks of one view; `of_view` is that of all processes that have no other.  Any thread."""

    def __init__(self, files: Files, decider: Decider) -> None:
        self.files = files
        self._decider = decider
        self._numbers = count()
        self._unused: deque[int] = deque()
        """Of clocks that nobody has any more."""
        self.timers = Timers()
        self._following, self._follows = Following(host_moment), threading.Lock()
        self.of_view = self._enter(None)

    def _enter(self, course: Course | None) -> Clock:
        decider, number = self._decider, next(self._numbers)
        clock = Clock(number, host_moment, course)
        clock.holding = decider.no_clock_read
        clock.on_change = lambda clock: decider.clock(clock.number, clock.course)
        clock.after_change = self._follow
        clock.read_wall = lambda: decider.time(number, abi.CLOCK_REALTIME)
        weakref.finalize(clock, self._unused.append, number).atexit = False
        with decider.no_clock_read():
            while self._unused:
                decider.clock(self._unused.popleft(), None)
            decider.clock(number, clock.course)
        return clock

    def _follow(self, clock: Clock, before: Course) -> None:
        """Let timers that are set for a time of a clock follow it."""
        tasks = self.files.tasks
        known = {task.pid: self.of_task(task) for task in tasks.all()}
        pids = {pid for pid in relatives(known) if known.get(pid, self.of_view) is clock}
        with self._follows:
            self._following.follow(pids, before, clock.course)

    def of(self, tracee: Tracee) -> Clock:
        """The clock that a tracee has."""
        return self.of_task(self.files.task(tracee))

    def of_task(self, task: Task) -> Clock:
        """The clock that a task has."""
        return task.clock or self.of_view

    def shown(self, clock: Clock, id: int) -> int | None:
        """What a clock id shows now; None for what is left alone."""
        return self._decider.time(clock.number, id)

    def wall(self, clock: Clock) -> int:
        """What CLOCK_REALTIME shows now."""
        return self._decider.time(clock.number, abi.CLOCK_REALTIME) or 0

    def choose(self, tracee: Tracee, how: Callable[[Course, Moment], Course]) -> None:
        """Let a process have a clock of its own, which is what it had, changed."""
        task = self.files.task(tracee)
        clock = self._enter(self.of_task(task).begun())
        clock.change(how)
        for other in self.files.tasks.all():
            if other.pid == task.pid:
                other.clock = clock
        task.clock = clock
        self.files.changed(task)
