"""Waiting: calls that wait for a time or for as long as a duration, which for the host is another.

Whatever a call waits for is made a *deadline* on a clock of the program, and waited for in slices of the
host's time, between which the clock is looked at: it may have been changed, and where time stands still the
deadline never comes.  So a change is noticed within a slice.  What the kernel waits for by itself (a duration
that is the same for the host) was settled before (`native/decide_clock.c`), and ends when it would have; who
waits for a time of the wall clock always comes here, since that can be set.

A wait that is cut into slices begins again in each: who was woken in between finds out by what he waits for
(a futex word that has another value, a descriptor that is ready), as after a signal.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Final

from diorama.abi import futex
from diorama.abi import time as abi
from diorama.abi.time import Timespec
from diorama.catalogue.ipc import Futex, FutexWait, FutexWaitV, MqTimedReceive, MqTimedSend, SemTimedOp
from diorama.catalogue.model import Request
from diorama.catalogue.polling import EpollPWait, EpollPWait2, EpollWait, Poll, PPoll, PSelect6, Select
from diorama.catalogue.rings import IoGetEvents, IoPGetEvents
from diorama.catalogue.signals import RtSigTimedWait
from diorama.catalogue.sockets import RecvMMsg
from diorama.catalogue.time import ClockNanoSleep, NanoSleep
from diorama.dispatch.clock.answers import Outcome, answers
from diorama.view.clock import NSEC, Clock, Kind, kind_of

if TYPE_CHECKING:
    from diorama.dispatch.clock.state import Clocks

__all__ = ["SLICE", "Deadline"]

SLICE: Final = NSEC
"""The longest time of the host after which a wait looks at the clock again."""
_LAST: Final = (1 << 63) - 1
"""Nothing is later (KTIME_MAX of Linux)."""
_MSEC: Final = 1_000_000
_MOST_MSEC: Final = (1 << 31) - 1
_LONG: Final = 8 * 4


@dataclass(frozen=True, slots=True)
class Deadline:
    """A time on a clock of a program."""

    clock: Clock
    kind: Kind
    shown: int

    @classmethod
    def after(cls, clock: Clock, duration: int) -> Deadline:
        """When a duration from now on is over."""
        return cls(clock, Kind.MONOTONIC, min(clock.shown(Kind.MONOTONIC) + duration, _LAST))

    def left(self) -> int:
        """How much is left for the program; not more than 0 when it has come."""
        return self.shown - self.clock.read(self.kind)

    def next(self) -> tuple[int, int]:
        """How long the host is to wait now, and until when by the host's clock of this kind."""
        now = self.clock.now()[self.kind]
        if self.left() <= 0:
            return 0, now
        when = self.clock.course.when(self.kind, self.shown)
        wait = SLICE if when is None or when <= now else min(when - now, SLICE)
        return wait, now + wait


Run = Callable[[int, int], int]
"""Makes the call, for a duration or until a time of the host: its result."""


def _wait(deadline: Deadline, run: Run, *, expires: int, between: Callable[[], None] | None = None) -> int:
    """Wait: the result; `expires` is what the call gives when its time is over, 0 or -errno.

    Some give that at once too, since they are not to wait (IPC_NOWAIT): then it is the result.
    """
    while True:
        duration, until = deadline.next()
        began = monotonic_ns()
        try:
            result = run(duration, until)
        except OSError as error:
            if error.errno != -expires or deadline.left() <= 0 or monotonic_ns() - began < duration // 2:
                raise
        else:
            if result != expires or deadline.left() <= 0:
                return result
        if between is not None:
            between()


# -- durations ------------------------------------------------------------------------------------


@answers(Poll, EpollWait, EpollPWait)
def wait_milliseconds(clocks: Clocks, call: Any) -> Outcome:
    """Poll and its like; a fraction of a millisecond is one for the host."""
    if call.timeout <= 0 or clocks.of(call.tracee).course.pace == 1:
        return None
    deadline = Deadline.after(clocks.of(call.tracee), call.timeout * _MSEC)

    def run(duration: int, _until: int) -> int:
        return int(call.replace(timeout=min(-(-duration // _MSEC), _MOST_MSEC)).run())

    return _wait(deadline, run, expires=0)


_EXPIRES: Final[dict[type[Request], int]] = {
    EpollPWait2: 0,
    IoGetEvents: 0,
    IoPGetEvents: 0,
    PPoll: 0,
    PSelect6: 0,
    RecvMMsg: -errno.EAGAIN,
    RtSigTimedWait: -errno.EAGAIN,
    Select: 0,
    SemTimedOp: -errno.EAGAIN,
}
"""What calls with a duration in memory give when it is over."""
_WHOLE: Final = (IoGetEvents, IoPGetEvents, RecvMMsg)
"""Those that gather several things: what they have when a slice is over would be all that they give."""
_NEVER: Final = 60 * 366 * 86400 * NSEC
"""For the host, in the place of never; not too long for 32 bits."""
_TELLS: Final = (PPoll, PSelect6, RecvMMsg, Select)
"""Those that tell what is left of it."""


@answers(*_EXPIRES)
def wait_duration(clocks: Clocks, call: Any) -> Outcome:
    """Calls whose timeout is a structure."""
    clock = clocks.of(call.tracee)
    duration = _duration(call.timeout) if call.timeout else None
    if not duration or clock.course.pace == 1:
        return None
    deadline = Deadline.after(clock, duration)
    slot = _Slot(call, call.timeout)
    sets = _Sets(call) if isinstance(call, (Select, PSelect6)) else None
    changed = call.replace(timeout=slot.pointer)

    def run(duration: int, _until: int) -> int:
        slot.put(duration)
        return int(changed.run())

    try:
        if isinstance(call, _WHOLE):
            lasts = clock.course.lasts(duration)
            return run(_NEVER if lasts is None else min(lasts, _NEVER), 0)
        between = None if sets is None else sets.restore
        return _wait(deadline, run, expires=_EXPIRES[type(call)], between=between)
    finally:
        if isinstance(call, _TELLS):
            with suppress(OSError):  # read-only memory is no error to the kernel
                call.timeout.write(_timespec(max(deadline.left(), 0)))


def _duration(pointer: Any) -> int | None:
    """A duration that a program gives; None for one that the kernel is to refuse."""
    try:
        time = pointer.read()
    except OSError:
        return None
    if time.tv_sec < 0 or not 0 <= time.tv_nsec < (1 << 63 if pointer.layout == "timeval" else NSEC):
        return None
    return int(time.tv_sec * NSEC + time.tv_nsec)


def _timespec(time: int) -> Timespec:
    return Timespec(*divmod(time, NSEC))


class _Slot:
    """A time in the arena of a tracee, which is put there for each slice."""

    def __init__(self, call: Request, like: Any) -> None:
        memory = call.tracee.memory
        self._layout = like.layout
        room = Timespec().pack(like.abi, like.layout)
        address = memory.place(room)
        self.pointer = type(like)(address, Timespec, like.abi, like.layout, memory=memory)

    def put(self, time: int) -> None:
        """What the kernel is to find there; what has no microsecond is rounded up to one."""
        if self._layout == "timeval":
            time = -(-time // 1000) * 1000
        self.pointer.write(_timespec(time))


class _Sets:
    """The sets of select(2), which are empty when its time is over."""

    def __init__(self, call: Select | PSelect6) -> None:
        self._memory = call.tracee.memory
        word = call.tracee.abi.word
        size = -(-min(max(call.count, 0), _room_for_descriptors(call.tracee.tid)) // (word * 8)) * word
        addresses = [one for one in (call.readable, call.writable, call.exceptional) if one and size]
        self._saved = [(address, self._memory.read(address, size)) for address in addresses]

    def restore(self) -> None:
        """Fill them as they were."""
        for address, data in self._saved:
            self._memory.write(address, data)


def _room_for_descriptors(tid: int) -> int:
    """How many the table of a process has room for: the kernel looks at no more of a set (proc(5))."""
    with open(f"/proc/{tid}/status", "rb") as file:
        return next(int(line[7:]) for line in file if line.startswith(b"FDSize:"))


# -- sleeps ---------------------------------------------------------------------------------------


@answers(NanoSleep)
def nanosleep(clocks: Clocks, call: NanoSleep) -> Outcome:
    """For a duration."""
    return _sleep(clocks, call, call.duration)


@answers(ClockNanoSleep)
def clock_nanosleep(clocks: Clocks, call: ClockNanoSleep) -> Outcome:
    """For a duration, or until a time of a clock."""
    kind = kind_of(call.clock)
    if kind is None or not call.duration:
        return None
    if not call.flags & abi.TIMER_ABSTIME:
        return _sleep(clocks, call, call.duration)
    until = _duration(call.duration)
    if until is None:
        return None
    slot = _Slot(call, call.duration)
    changed = call.replace(duration=slot.pointer)

    def run(_duration: int, until: int) -> int:
        slot.put(until + _tai(call.clock))
        return int(changed.run())

    return _wait(Deadline(clocks.of(call.tracee), kind, until - _tai(call.clock)), run, expires=0)


def _tai(clock: int) -> int:
    """By how much a clock is ahead of the one that it follows."""
    import time

    if clock != abi.CLOCK_TAI:
        return 0
    ahead = time.clock_gettime_ns(abi.CLOCK_TAI) - time.time_ns()
    return round(ahead / NSEC) * NSEC


def _sleep(clocks: Clocks, call: Any, given: Any) -> Outcome:
    clock = clocks.of(call.tracee)
    duration = _duration(given) if given else None
    if not duration or clock.course.pace == 1:
        return None
    deadline = Deadline.after(clock, duration)
    slot, rest = _Slot(call, given), _Slot(call, given)
    changed = call.replace(duration=slot.pointer, remaining=rest.pointer)

    def run(duration: int, _until: int) -> int:
        slot.put(duration)
        return int(changed.run())

    try:
        return _wait(deadline, run, expires=0)
    except OSError as error:
        if error.errno == errno.EINTR and call.remaining:
            call.remaining.write(_timespec(max(deadline.left(), 0)))
        raise


# -- times ----------------------------------------------------------------------------------------


@answers(MqTimedReceive, MqTimedSend)
def wait_wall(clocks: Clocks, call: Any) -> Outcome:
    """Message queues wait until a time of CLOCK_REALTIME (mq_receive(2))."""
    return _until(clocks, call, Kind.WALL)


@answers(FutexWait, FutexWaitV)
def wait_clock(clocks: Clocks, call: Any) -> Outcome:
    """The newer futex calls say by which clock (futex_waitv(2))."""
    return _until(clocks, call, kind_of(call.clock))


def _until(clocks: Clocks, call: Any, kind: Kind | None) -> Outcome:
    until = _duration(call.timeout) if call.timeout else None
    if until is None or kind is None:
        return None
    slot = _Slot(call, call.timeout)
    changed = call.replace(timeout=slot.pointer)

    def run(_duration: int, until: int) -> int:
        slot.put(until)
        return int(changed.run())

    return _wait(Deadline(clocks.of(call.tracee), kind, until), run, expires=-errno.ETIMEDOUT)


_BY_MONOTONIC: Final = (futex.FUTEX_WAIT_BITSET, futex.FUTEX_WAIT_REQUEUE_PI, futex.FUTEX_LOCK_PI2)


@answers(Futex)
def wait_futex(clocks: Clocks, call: Futex) -> Outcome:
    """FUTEX_WAIT is for a duration; all others wait until a time, of CLOCK_REALTIME if they say so."""
    operation = call.operation & ~(futex.FUTEX_PRIVATE_FLAG | futex.FUTEX_CLOCK_REALTIME)
    by_wall = bool(call.operation & futex.FUTEX_CLOCK_REALTIME) or operation == futex.FUTEX_LOCK_PI
    waits = operation == futex.FUTEX_WAIT or operation == futex.FUTEX_LOCK_PI or operation in _BY_MONOTONIC
    pointer = _futex_pointer(call) if waits and call.timeout else None
    time = None if pointer is None else _duration(pointer)
    if pointer is None or time is None:
        return None
    clock = clocks.of(call.tracee)
    is_duration = operation == futex.FUTEX_WAIT
    kind = Kind.WALL if by_wall else Kind.MONOTONIC
    deadline = Deadline.after(clock, time) if is_duration else Deadline(clock, kind, time)
    slot = _Slot(call, pointer)
    changed = call.replace(timeout=slot.pointer.address)

    def run(duration: int, until: int) -> int:
        slot.put(duration if is_duration else until)
        return int(changed.run())

    return _wait(deadline, run, expires=-errno.ETIMEDOUT)


def _futex_pointer(call: Futex) -> Any:
    from diorama.catalogue.handles import In

    spelling = call.spelling
    layout = "timespec64" if spelling is not None and spelling.name == "futex_time64" else "timespec"
    return In(call.timeout, Timespec, call.tracee.abi, layout, memory=call.tracee.memory)
