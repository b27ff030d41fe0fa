"""Setting: calls that set the clock, and those of `diorama clock`.

Everybody may: what is set is the view's clock, or the process's, and never the host's.  Whoever has the same
clock sees it too.  A clock is not slewed: what adjtime(3) would bring in slowly is refused.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from diorama.abi import time as abi
from diorama.abi.time import Timespec
from diorama.catalogue.time import AdjTimeX, ClockAdjTime, ClockSetTime, SetTimeOfDay, STime
from diorama.dispatch.clock.answers import Outcome, answers, fail
from diorama.errors import Unsupported, UsageError
from diorama.view.clock import NSEC, WALL_MAX
from diorama.view.clockspec import CALL, CHANGE, OWN, parse

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.clock.state import Clocks
    from diorama.view.clock import Clock

_ADJ_SETOFFSET: Final = 0x0100
_ADJ_NANO: Final = 0x2000
_ADJ_OFFSET_SS_READ: Final = 0xA001
_STA_NANO: Final = 0x2000
_SLEWING: Final = "a clock of a view is set, but not slewed or tuned"
_ZONE: Final = "the time zone of the kernel is the host's"


@answers(ClockSetTime)
def clock_settime(clocks: Clocks, call: ClockSetTime) -> Outcome:
    """Only CLOCK_REALTIME can be set; the kernel refuses all others."""
    if call.clock != abi.CLOCK_REALTIME:
        return None
    _set(clocks.of(call.tracee), call.time.read(), NSEC)
    return 0


@answers(SetTimeOfDay)
def settimeofday(clocks: Clocks, call: SetTimeOfDay) -> Outcome:
    """The time; the kernel's time zone stays the host's."""
    if call.zone:
        raise Unsupported("settimeofday", _ZONE, errno.EPERM)
    if call.time:
        time = call.time.read()
        _set(clocks.of(call.tracee), time, NSEC)
    return 0


@answers(STime)
def stime(clocks: Clocks, call: STime) -> Outcome:
    """As in seconds."""
    _set(clocks.of(call.tracee), Timespec(call.time.read().value), NSEC)
    return 0


def _set(clock: Clock, time: Timespec, most: int) -> None:
    """EINVAL for what no clock can show (settimeofday(2))."""
    shown = time.tv_sec * NSEC + time.tv_nsec
    if not 0 <= time.tv_nsec < most or not 0 <= shown <= WALL_MAX:
        raise fail(errno.EINVAL)
    clock.change(lambda course, now: course.with_wall(now, shown))


# -- adjtimex -------------------------------------------------------------------------------------


class _Timex(NamedTuple):
    """Where things are in a `struct timex`: its status, its time, and the format of a word."""

    status: int
    time: int
    word: str


_WIDE: Final = _Timex(40, 72, "q")
_NARROW: Final = _Timex(20, 36, "i")


@answers(AdjTimeX)
def adjtimex(clocks: Clocks, call: AdjTimeX) -> Outcome:
    """Of CLOCK_REALTIME."""
    return _adjust(clocks, call)


@answers(ClockAdjTime)
def clock_adjtime(clocks: Clocks, call: ClockAdjTime) -> Outcome:
    """The same, of a clock; with an id that the kernel does not know, what `diorama clock` asks for."""
    if call.clock == CALL:
        return _asked(clocks, call.tracee, call.buffer)
    return _adjust(clocks, call) if call.clock == abi.CLOCK_REALTIME else None


def _adjust(clocks: Clocks, call: Any) -> Outcome:
    """What it tells is the kernel's but for the time."""
    tracee, at = call.tracee, call.buffer
    form = _NARROW if tracee.abi.word < 8 and call.spelling.name != "clock_adjtime64" else _WIDE
    modes = struct.unpack("<I", _read(tracee, at, 4))[0]
    clock = clocks.of(tracee)
    reads = modes == _ADJ_OFFSET_SS_READ
    if modes & ~(_ADJ_SETOFFSET | _ADJ_NANO) and not reads:
        raise Unsupported(call.spelling.name, _SLEWING, errno.EPERM)
    if modes & _ADJ_SETOFFSET and not reads:
        seconds, rest = struct.unpack(f"<2{form.word}", _read(tracee, at + form.time, _size(form)))
        _step(clock, seconds, rest, modes)
    tracee.memory.write(at, struct.pack("<I", modes if reads else 0))
    try:
        result: int = call.run()
    finally:
        tracee.memory.write(at, struct.pack("<I", modes))
    status = struct.unpack("<i", _read(tracee, at + form.status, 4))[0]
    seconds, rest = divmod(clocks.wall(clock), NSEC)
    rest = rest if status & _STA_NANO else rest // 1000
    if form.word == "i":
        seconds = (seconds + (1 << 31)) % (1 << 32) - (1 << 31)
    tracee.memory.write(at + form.time, struct.pack(f"<2{form.word}", seconds, rest))
    return result


def _size(form: _Timex) -> int:
    return struct.calcsize(f"<2{form.word}")


def _step(clock: Clock, seconds: int, rest: int, modes: int) -> None:
    unit = 1 if modes & _ADJ_NANO else 1000
    if not 0 <= rest * unit < NSEC:
        raise fail(errno.EINVAL)
    by = seconds * NSEC + rest * unit
    moment = clock.begun().shown.wall + by
    if not 0 <= moment <= WALL_MAX:
        raise fail(errno.EINVAL)
    clock.change(lambda course, now: course.with_wall(now, course.begun(now).shown.wall + by))


def _read(tracee: Tracee, address: int, size: int) -> bytes:
    data = tracee.memory.read(address, size)
    if len(data) < size:
        raise fail(errno.EFAULT)
    return data


# -- diorama clock --------------------------------------------------------------------------------


def _asked(clocks: Clocks, tracee: Tracee, address: int) -> int:
    """A change in words, of the clock that the process has, or for one of its own."""
    how, _, words = tracee.memory.read_string(address).decode("ascii", "replace").partition(":")
    if how not in (CHANGE, OWN):
        raise fail(errno.EINVAL)
    try:
        change = parse(words)
        if how == OWN:
            clocks.choose(tracee, change)
        else:
            clocks.of(tracee).change(change)
    except UsageError:
        raise fail(errno.ERANGE) from None
    return 0
