"""Time: clocks, timers and sleeping."""

from typing import Annotated

from diorama.abi import time
from diorama.abi.io import Number
from diorama.abi.time import ITimer, Timespec, Timezone, Tms
from diorama.catalogue.handles import In, Out
from diorama.catalogue.kinds import Address, Choice, Flags, Int, UInt
from diorama.catalogue.model import Request, request
from diorama.catalogue.names import Names

ClockId = Annotated[int, Choice(Names(time, "CLOCK_"))]
TimerFlags = Annotated[int, Flags(Names(time, "TIMER_ABSTIME"))]
ITimerWhich = Annotated[int, Choice(Names(time, "ITIMER_"))]


@request(man="clock_gettime(2)", classes="clock", forms={
    "clock_gettime(clock, time)": {},
    "clock_gettime64(clock, time:timespec64)": {},
})
class ClockGetTime(Request):
    """Get the time of a clock; without the vDSO, which answers most of these calls without the kernel."""

    clock: ClockId
    time: Out[Timespec]


@request(man="clock_settime(2)", classes="clock", forms={
    "clock_settime(clock, time)": {},
    "clock_settime64(clock, time:timespec64)": {},
})
class ClockSetTime(Request):
    """Set a clock."""

    clock: ClockId
    time: In[Timespec]


@request(man="clock_getres(2)", classes="clock", forms={
    "clock_getres(clock, resolution)": {},
    "clock_getres_time64(clock, resolution:timespec64)": {},
})
class ClockGetRes(Request):
    """Get the resolution of a clock."""

    clock: ClockId
    resolution: Out[Timespec]


@request(man="clock_adjtime(2)", classes="clock", forms={
    "clock_adjtime(clock, buffer)": {},
    "clock_adjtime64(clock, buffer)": {},
})
class ClockAdjTime(Request):
    """Tune a clock; the buffer is a `struct timex`."""

    clock: ClockId
    buffer: Address


@request(man="clock_nanosleep(2)", forms={
    "clock_nanosleep(clock, flags, duration, remaining)": {},
    "clock_nanosleep_time64(clock, flags, duration:timespec64, remaining:timespec64)": {},
})
class ClockNanoSleep(Request):
    """Sleep by a clock, for a duration or until a time."""

    clock: ClockId
    flags: TimerFlags
    duration: In[Timespec]
    remaining: Out[Timespec]


@request(man="nanosleep(2)", forms={"nanosleep(duration, remaining)": {}})
class NanoSleep(Request):
    """Sleep for a duration."""

    duration: In[Timespec]
    remaining: Out[Timespec]


@request(man="gettimeofday(2)", classes="clock", forms={"gettimeofday(time:timeval, zone)": {}})
class GetTimeOfDay(Request):
    """Get the time of day."""

    time: Out[Timespec]
    zone: Out[Timezone]


@request(man="gettimeofday(2)", classes="clock", forms={"settimeofday(time:timeval, zone)": {}})
class SetTimeOfDay(Request):
    """Set the time of day."""

    time: In[Timespec]
    zone: In[Timezone]


@request(man="time(2)", classes="clock", forms={"time(time:long)": {}})
class Time(Request):
    """Get the time of day in seconds, as the result and in memory."""

    time: Out[Number]


@request(man="stime(2)", classes="clock", forms={"stime(time:long)": {}})
class STime(Request):
    """Set the time of day in seconds. i386 only."""

    time: In[Number]


@request(man="adjtimex(2)", classes="clock", forms={"adjtimex(buffer)": {}})
class AdjTimeX(Request):
    """Tune the kernel's clock; the buffer is a `struct timex`."""

    buffer: Address


@request(man="times(2)", forms={"times(times)": {}})
class Times(Request):
    """Get the processor time used, and the time since an arbitrary point, in clock ticks."""

    times: Out[Tms]


@request(man="getitimer(2)", forms={"getitimer(which, current:itimerval)": {}})
class GetITimer(Request):
    """Get the time until an interval timer expires."""

    which: ITimerWhich
    current: Out[ITimer]


@request(man="getitimer(2)", forms={"setitimer(which, new:itimerval, old:itimerval)": {}})
class SetITimer(Request):
    """Start or stop an interval timer."""

    which: ITimerWhich
    new: In[ITimer]
    old: Out[ITimer]


@request(man="alarm(2)", forms={"alarm(seconds)": {}})
class Alarm(Request):
    """Ask for SIGALRM after some seconds."""

    seconds: UInt


@request(man="timer_create(2)", forms={"timer_create(clock, event, timer)": {}})
class TimerCreate(Request):
    """Make a timer of the process; the event is a `struct sigevent`."""

    clock: ClockId
    event: Address
    timer: Out[Number]


@request(man="timer_settime(2)", forms={
    "timer_settime(timer, flags, new, old)": {},
    "timer_settime64(timer, flags, new:itimerspec64, old:itimerspec64)": {},
})
class TimerSetTime(Request):
    """Start or stop a timer."""

    timer: Int
    flags: TimerFlags
    new: In[ITimer]
    old: Out[ITimer]


@request(man="timer_settime(2)", forms={
    "timer_gettime(timer, current)": {},
    "timer_gettime64(timer, current:itimerspec64)": {},
})
class TimerGetTime(Request):
    """Get the time until a timer expires."""

    timer: Int
    current: Out[ITimer]


@request(man="timer_getoverrun(2)", forms={"timer_getoverrun(timer)": {}})
class TimerGetOverrun(Request):
    """Ask how often a timer has expired unnoticed."""

    timer: Int


@request(man="timer_delete(2)", forms={"timer_delete(timer)": {}})
class TimerDelete(Request):
    """Delete a timer."""

    timer: Int


