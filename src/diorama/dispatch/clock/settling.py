"""Settling: what the native library needs to know to tell the time, and to let waits run, by itself.

The other side of this is `native/decide_clock.c`.  What has no line here is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from diorama.catalogue.ipc import Futex, FutexWait, FutexWaitV, MqTimedReceive, MqTimedSend, SemTimedOp
from diorama.catalogue.polling import (
    EpollPWait,
    EpollPWait2,
    EpollWait,
    Poll,
    PPoll,
    PSelect6,
    Select,
    TimerFdGetTime,
    TimerFdSetTime,
)
from diorama.catalogue.rings import IoGetEvents, IoPGetEvents
from diorama.catalogue.signals import RtSigTimedWait
from diorama.catalogue.sockets import RecvMMsg
from diorama.catalogue.time import (
    Alarm,
    ClockGetTime,
    ClockNanoSleep,
    GetITimer,
    GetTimeOfDay,
    NanoSleep,
    SetITimer,
    Time,
    TimerGetTime,
    TimerSetTime,
)
from diorama.engine.decider import NO_ARG, Decision, Settle, TimeForm, Wait

if TYPE_CHECKING:
    from diorama.catalogue.model import Request, Spelling

__all__ = ["decision_of_clock"]

_WAITS: Final[dict[type[Request], Wait]] = {
    Alarm: Wait.DURATION,
    ClockNanoSleep: Wait.CLOCK,
    EpollPWait: Wait.MILLISECONDS,
    EpollPWait2: Wait.DURATION,
    EpollWait: Wait.MILLISECONDS,
    Futex: Wait.FUTEX,
    FutexWait: Wait.TIMER,
    FutexWaitV: Wait.TIMER,
    GetITimer: Wait.DURATION,
    IoGetEvents: Wait.DURATION,
    IoPGetEvents: Wait.DURATION,
    MqTimedReceive: Wait.WALL,
    MqTimedSend: Wait.WALL,
    NanoSleep: Wait.DURATION,
    Poll: Wait.MILLISECONDS,
    PPoll: Wait.DURATION,
    PSelect6: Wait.DURATION,
    RecvMMsg: Wait.DURATION,
    RtSigTimedWait: Wait.DURATION,
    Select: Wait.DURATION,
    SemTimedOp: Wait.DURATION,
    SetITimer: Wait.DURATION,
    TimerFdGetTime: Wait.DURATION,
    TimerFdSetTime: Wait.TIMER,
    TimerGetTime: Wait.DURATION,
    TimerSetTime: Wait.TIMER,
}
_FIRST: Final = {Wait.CLOCK: "clock", Wait.FUTEX: "operation", Wait.MILLISECONDS: "timeout"}


def decision_of_clock(spelling: Spelling) -> Decision | None:
    """How a call about time is settled; None for one that is about something else."""
    request, abi, nr = spelling.request, spelling.abi.audit, spelling.number
    if request in (ClockGetTime, GetTimeOfDay, Time):
        return _reading(spelling)
    wait = _WAITS.get(request)
    if wait is None:
        return None
    if request in (FutexWait, FutexWaitV):
        return Decision(abi, nr)
    first = spelling.position(_FIRST[wait]) if wait in _FIRST else None
    flags = spelling.position("flags") if wait in (Wait.CLOCK, Wait.TIMER) else None
    return Decision(
        abi,
        nr,
        Settle.WAIT,
        arg=NO_ARG if first is None else first,
        flags_arg=NO_ARG if flags is None else flags,
        fixed_flags=wait,
    )


def _reading(spelling: Spelling) -> Decision:
    clock, zone, time = (spelling.position(name) for name in ("clock", "zone", "time"))
    assert time is not None
    narrow = spelling.abi.word < 8 and not spelling.name.endswith("64")
    if spelling.request is ClockGetTime:
        form = TimeForm.SPEC_32 if narrow else TimeForm.SPEC
    elif spelling.request is GetTimeOfDay:
        form = TimeForm.VALUE_32 if narrow else TimeForm.VALUE
    else:
        form = TimeForm.SECONDS_32 if narrow else TimeForm.SECONDS
    return Decision(
        spelling.abi.audit,
        spelling.number,
        Settle.TIME,
        arg=NO_ARG if clock is None else clock,
        arg2=NO_ARG if zone is None else zone,
        buffer_arg=time,
        fixed_flags=form,
    )
