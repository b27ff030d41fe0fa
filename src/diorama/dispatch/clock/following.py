"""Following: timers that are set for a time of a clock follow when that clock is set, as on Linux.

The kernel keeps such a timer for the host's time.  One with a descriptor (timerfd_create(2)) we can set:
what it is set for stands in /proc, and what that is for programs follows from the course before.  All are
looked at before one is set, since several processes may have the same timer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from diorama.abi import time as abi
from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.abi.time import ITimer
from diorama.engine.ourcall import OurMemory, make_call
from diorama.engine.taking import descriptors_of, taken
from diorama.view.clock import NSEC, Kind, kind_of

if TYPE_CHECKING:
    from diorama.view.clock import Course, Moment

__all__ = ["Following"]

_NEVER: Final = 100 * 366 * 86400 * NSEC
"""For the host, in the place of never."""
_SET: Final = NUMBERS[Abi.native()[0].title]["timerfd_settime"]
_LINK: Final = b"anon_inode:[timerfd]"
_STORY: Final = re.compile(
    rb"^clockid: (\d+)\n(?:.*\n)*?settime flags: 0*([0-7]+)\nit_value: \((\d+), (\d+)\)\n"
    rb"it_interval: \((\d+), (\d+)\)$",
    re.MULTILINE,
)
"""Of a timer in its fdinfo (proc_pid_fdinfo(5)); the flags are octal, the value is what is left."""


class _Timer(NamedTuple):
    """One that goes off when the host's clock of a kind shows `until`."""

    pid: int
    fd: int
    kind: Kind
    flags: int
    until: int
    interval: int


class Following:
    """The timers of one view.  One thread at a time."""

    def __init__(self, now: Callable[[], Moment]) -> None:
        self._now = now
        self._stand: dict[tuple[int, int], int] = {}
        """Of those that never go off as time goes now: for what of their clock they are set."""

    def follow(self, pids: Iterable[int], before: Course, after: Course) -> None:
        """Set what these processes have for what it was set for, by the course of their clock from now on."""
        found = [timer for pid in pids for timer in self._timers(pid)]
        stand, self._stand = self._stand, {}
        for timer in found:
            is_far = timer.until - self._now()[timer.kind] > _NEVER // 2
            place = timer.pid, timer.fd
            shown = stand.get(place) if is_far else before.at(timer.kind, timer.until)
            if shown is None:
                continue
            when = after.when(timer.kind, shown)
            if when is None:
                self._stand[place] = shown
                when = self._now()[timer.kind] + _NEVER
            _set(timer, max(when, 1))

    def _timers(self, pid: int) -> Iterator[_Timer]:
        """Those of a process that are set for a time, and wait."""
        for fd in filter(partial(_is_timer, pid), descriptors_of(pid)):
            try:
                with open(f"/proc/{pid}/fdinfo/{fd}", "rb") as file:
                    found = _STORY.search(file.read())
            except OSError:
                continue  # closed meanwhile
            if found is None:
                continue
            kind, flags = kind_of(int(found[1])), int(found[2], 8)
            left, interval = (int(found[at]) * NSEC + int(found[at + 1]) for at in (3, 5))
            if kind is not None and flags & abi.TFD_TIMER_ABSTIME and left:
                # The clock is read after what is left: so it never goes off early.
                yield _Timer(pid, fd, kind, flags, self._now()[kind] + left, interval)


def _is_timer(pid: int, fd: int) -> bool:
    try:
        return os.readlink(b"/proc/%d/fd/%d" % (pid, fd)) == _LINK
    except OSError:
        return False  # closed meanwhile


def _set(timer: _Timer, until: int) -> None:
    """Set it, if we may look into its process."""
    seconds, rest = divmod(until, NSEC)
    period, part = divmod(timer.interval, NSEC)
    memory = OurMemory()
    value = memory.place(ITimer(period, part, seconds, rest).pack(Abi.native()[0], "itimerspec"))
    flags = timer.flags & (abi.TFD_TIMER_ABSTIME | abi.TFD_TIMER_CANCEL_ON_SET)
    try:
        with taken(timer.pid, timer.pid, timer.fd) as fd:
            make_call(_SET, fd, flags, value, 0)
    except OSError:
        return  # it has ended, or is closed to us: then its timers keep their schedule
