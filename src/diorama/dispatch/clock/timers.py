"""Timers: what the kernel is to do after a time.

A timer is set for what its time is for the host at that moment, and goes off by itself.  So it keeps the
schedule that it was given when the clock is changed later, unless it is one of a descriptor that is set for a
time (`following`).  Set while time stands still, it never goes off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from diorama.abi import time as abi
from diorama.abi.time import ITimer
from diorama.catalogue.polling import TimerFdGetTime, TimerFdSetTime
from diorama.catalogue.time import Alarm, GetITimer, SetITimer, TimerCreate, TimerGetTime, TimerSetTime
from diorama.dispatch.clock.answers import Outcome, answers
from diorama.view.clock import NSEC, Clock, Kind, kind_of

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.clock.state import Clocks

_NEVER: Final = 100 * 366 * 86400 * NSEC
"""For the host, in the place of never; it takes no longer times in 32 bits."""
_NEVER_32: Final = 60 * 366 * 86400 * NSEC
_MOST_SECONDS: Final = (1 << 31) - 1


def _value(timer: ITimer) -> tuple[int, int]:
    return timer.value * NSEC + timer.value_nsec, timer.interval * NSEC + timer.interval_nsec


def _timer(value: int, interval: int) -> ITimer:
    seconds, rest = divmod(value, NSEC)
    period, part = divmod(interval, NSEC)
    return ITimer(period, part, seconds, rest)


def _is_valid(timer: ITimer, layout: str) -> bool:
    """Whether the kernel would take it."""
    parts = timer.value_nsec, timer.interval_nsec
    fine = all(0 <= part < NSEC for part in parts)
    return fine and timer.value >= 0 and timer.interval >= 0


def _for_host(clock: Clock, time: int, pointer: Any) -> int:
    """A duration of a program, at least one unit of what the kernel is told in."""
    unit = 1000 if pointer.layout == "itimerval" else 1
    most = _NEVER if pointer.abi.word >= 8 or pointer.layout.endswith("64") else _NEVER_32
    lasts = clock.course.lasts(time)
    return min(most if lasts is None else -(-lasts // unit) * unit, most)


def _told(clock: Clock, timer: ITimer) -> ITimer:
    """What the kernel tells, as it is for the program."""
    value, interval = _value(timer)
    counts = clock.course.counts
    return _timer(max(counts(value), 1 if value and clock.course.pace else 0), counts(interval))


def _tell(clock: Clock, pointer: Any) -> None:
    if pointer:
        pointer.write(_told(clock, pointer.read()))


@answers(SetITimer)
def setitimer(clocks: Clocks, call: SetITimer) -> Outcome:
    """Of the three, one is not by processor time."""
    clock = clocks.of(call.tracee)
    if call.which != abi.ITIMER_REAL or clock.course.pace == 1:
        return None
    changed = call
    if call.new:
        timer = call.new.read()
        if not _is_valid(timer, "itimerval"):
            return None
        value, interval = [_for_host(clock, time, call.new) for time in _value(timer)]
        changed = call.replace(new=_timer(value, interval))
    result = changed.run()
    _tell(clock, call.old)
    return result


@answers(GetITimer)
def getitimer(clocks: Clocks, call: GetITimer) -> Outcome:
    """The time that is left for the program."""
    clock = clocks.of(call.tracee)
    if call.which != abi.ITIMER_REAL or clock.course.pace == 1:
        return None
    result = call.run()
    _tell(clock, call.current)
    return result


@answers(Alarm)
def alarm(clocks: Clocks, call: Alarm) -> Outcome:
    """By setitimer(2), which knows fractions of a second."""
    clock = clocks.of(call.tracee)
    if clock.course.pace == 1:
        return None
    tracee, timer_abi = call.tracee, call.tracee.abi
    size = ITimer.size(timer_abi, "itimerval")
    old = tracee.memory.place(bytes(size))
    lasts = clock.course.lasts(min(call.seconds, _MOST_SECONDS) * NSEC)
    most = _NEVER if timer_abi.word >= 8 else _NEVER_32
    value = min(most if lasts is None else -(-lasts // 1000) * 1000, most)
    new = tracee.memory.place(_timer(value, 0).pack(timer_abi, "itimerval"))
    tracee.syscall.setitimer(abi.ITIMER_REAL, new, old)
    before = ITimer.unpack(timer_abi, tracee.memory.read(old, size), "itimerval")
    seconds, rest = divmod(_value(_told(clock, before))[0], NSEC)
    # As the kernel rounds (alarm_setitimer): never to 0 while there is something left.
    return seconds + 1 if rest >= NSEC // 2 or (rest and not seconds) else seconds


# -- timers with a clock --------------------------------------------------------------------------


@answers(TimerCreate)
def timer_create(clocks: Clocks, call: TimerCreate) -> Outcome:
    """Remember by which clock it is: the kernel does not tell."""
    result = call.run()
    clocks.timers.add(call.tracee.pid, call.timer.read().value, call.clock)
    return result


@answers(TimerSetTime)
def timer_settime(clocks: Clocks, call: TimerSetTime) -> Outcome:
    """By the clock that the timer was made with."""
    return _set(clocks, call, clocks.timers.find(call.tracee.pid, call.timer))


@answers(TimerGetTime)
def timer_gettime(clocks: Clocks, call: TimerGetTime) -> Outcome:
    """The time that is left for the program."""
    return _get(clocks, call, clocks.timers.find(call.tracee.pid, call.timer))


@answers(TimerFdSetTime)
def timerfd_settime(clocks: Clocks, call: TimerFdSetTime) -> Outcome:
    """By the clock that the descriptor was made with."""
    return _set(clocks, call, _clock_of_descriptor(call.tracee, call.fd))


@answers(TimerFdGetTime)
def timerfd_gettime(clocks: Clocks, call: TimerFdGetTime) -> Outcome:
    """The time that is left for the program."""
    return _get(clocks, call, _clock_of_descriptor(call.tracee, call.fd))


def _get(clocks: Clocks, call: Any, id: int | None) -> Outcome:
    clock = clocks.of(call.tracee)
    if id is None or kind_of(id) is None or clock.course.pace == 1:
        return None
    result: int = call.run()
    _tell(clock, call.current)
    return result


def _set(clocks: Clocks, call: Any, id: int | None) -> Outcome:
    kind = None if id is None else kind_of(id)
    if kind is None or not call.new:
        return None
    timer, clock = call.new.read(), clocks.of(call.tracee)
    if not _is_valid(timer, call.new.layout):
        return None
    value, interval = _value(timer)
    if call.flags & abi.TIMER_ABSTIME and value:
        value = _until(clock, kind, value, call.new)
    else:
        value = _for_host(clock, value, call.new)
    result: int = call.replace(new=_timer(value, _for_host(clock, interval, call.new))).run()
    _tell(clock, call.old)
    return result


def _until(clock: Clock, kind: Kind, shown: int, pointer: Any) -> int:
    """The host's time when a clock shows this; what is past is past for the host too."""
    course = clock.begun() if kind is Kind.WALL else clock.course  # steps have been made since it began
    is_wide = pointer.abi.word >= 8 or pointer.layout.endswith("64")
    most = clock.now()[kind] + _NEVER if is_wide else (1 << 31) * NSEC - 1
    when = course.when(kind, shown)
    return most if when is None else min(max(when, 1), most)


def _clock_of_descriptor(tracee: Tracee, fd: int) -> int | None:
    """The clock of a timer descriptor; None for what is none (proc(5), fdinfo)."""
    try:
        with open(f"/proc/{tracee.tid}/fdinfo/{fd}", "rb") as file:
            lines = dict(line.split(b":", 1) for line in file if b":" in line)
    except OSError:
        return None
    return int(lines[b"clockid"]) if b"clockid" in lines else None
