"""Reading: calls that tell the time, where the native library has not answered (a handler asks, for one)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from diorama.abi.io import Number
from diorama.abi.time import Timespec
from diorama.catalogue.system import Sysinfo
from diorama.catalogue.time import ClockGetTime, GetTimeOfDay, Time, Times
from diorama.dispatch.clock.answers import Outcome, answers
from diorama.view.clock import NSEC, Kind

if TYPE_CHECKING:
    from diorama.dispatch.clock.state import Clocks

__all__ = ["narrowed", "tell"]

_TICK: Final = NSEC // 100
"""What times(2) counts in (USER_HZ of Linux)."""


@answers(ClockGetTime)
def clock_gettime(clocks: Clocks, call: ClockGetTime) -> Outcome:
    """By the clock of the process; those of processor time are the kernel's."""
    shown = clocks.shown(clocks.of(call.tracee), call.clock)
    if shown is None:
        return None
    tell(call.time, shown)
    return 0


@answers(GetTimeOfDay)
def gettimeofday(clocks: Clocks, call: GetTimeOfDay) -> Outcome:
    """The time is that of the view, the time zone the kernel's."""
    if not call.time:
        return None
    result = call.run() if call.zone else 0
    tell(call.time, clocks.wall(clocks.of(call.tracee)))
    return result


@answers(Time)
def time(clocks: Clocks, call: Time) -> Outcome:
    """In seconds, as the result and in memory."""
    word = call.tracee.abi.word
    seconds = narrowed(clocks.wall(clocks.of(call.tracee)) // NSEC, word)
    if call.time:
        call.time.write(Number(seconds))
    return seconds


def tell(pointer: Any, shown: int) -> None:
    """Write a time to where a program wants it, cut off where it has 32 bits for the seconds."""
    seconds, rest = divmod(shown, NSEC)
    word = 8 if pointer.layout == "timespec64" else pointer.abi.word
    pointer.write(Timespec(narrowed(seconds, word), rest))


def narrowed(seconds: int, word: int) -> int:
    """What the kernel makes of it for a word of so many bytes."""
    return seconds if word >= 8 else (seconds + (1 << 31)) % (1 << 32) - (1 << 31)


@answers(Times)
def times(clocks: Clocks, call: Times) -> Outcome:
    """Processor times are left alone; the result is of a clock that goes on as the monotonic one."""
    clock = clocks.of(call.tracee)
    now, course = clock.now(), clock.course
    ahead = course.at(Kind.MONOTONIC, now.monotonic) - now.monotonic
    return call.run() + ahead // _TICK


@answers(Sysinfo)
def sysinfo(clocks: Clocks, call: Sysinfo) -> Outcome:
    """How long the system has run, by the clock of the process."""
    result = call.run()
    shown = clocks.of(call.tracee).shown(Kind.BOOTTIME)
    call.info.write(call.info.read().replace(uptime=shown // NSEC))
    return result
