"""Polling: waiting for descriptors, and the descriptors that report events."""

from typing import Annotated

from diorama.abi import io, signal, time
from diorama.abi.io import EpollEvent
from diorama.abi.signal import SigSet
from diorama.abi.time import ITimer, Timespec
from diorama.catalogue.handles import Array, In, InOut, Out
from diorama.catalogue.kinds import (
    Address,
    Choice,
    DirFd,
    Fd,
    Flags,
    Int,
    PathKind,
    Size,
    UInt,
    WideFlags,
    lacking,
)
from diorama.catalogue.model import Request, request
from diorama.catalogue.names import Names
from diorama.catalogue.pointers import ArrayKind, PollFds
from diorama.catalogue.time import ClockId, TimerFlags

EventFlags = Annotated[int, Flags(Names(io, "EFD_"))]
SignalFdFlags = Annotated[int, Flags(Names(signal, "SFD_"))]
EpollFlags = Annotated[int, Flags(Names(io, "EPOLL_CLOEXEC"))]
EpollOperation = Annotated[int, Choice(Names(io, "EPOLL_CTL_"))]
EpollEvents = Annotated[Array[EpollEvent], ArrayKind("out", EpollEvent)]
TimerFdFlags = Annotated[int, Flags(Names(time, "TFD_NONBLOCK", "TFD_CLOEXEC"))]
NotifyFlags = Annotated[int, Flags(Names(io, "IN_NONBLOCK", "IN_CLOEXEC"))]
NotifyMask = Annotated[int, Flags(Names(io, "IN_", without=("IN_NONBLOCK", "IN_CLOEXEC")))]
_MARKS = tuple([name for name in vars(io) if name.startswith("FAN_MARK_")])
FanotifyMarks = Annotated[int, Flags(Names(io, "FAN_MARK_"))]
FanotifyMask = Annotated[int, WideFlags(Names(io, "FAN_", without=_MARKS))]


@request(man="poll(2)", classes="desc", forms={"poll(fds, count, timeout)": {}})
class Poll(Request):
    """Wait for descriptors, at most `timeout` milliseconds."""

    fds: PollFds
    count: UInt
    timeout: Int


@request(man="poll(2)", classes="desc", forms={
    "ppoll(fds, count, timeout, mask, size)": {},
    "ppoll_time64(fds, count, timeout:timespec64, mask, size)": {},
})
class PPoll(Request):
    """Wait for descriptors, with another signal mask."""

    fds: PollFds
    count: UInt
    timeout: InOut[Timespec]
    mask: In[SigSet]
    size: Size


@request(man="select(2)", classes="desc", forms={
    "select(count, readable, writable, exceptional, timeout:timeval)": {},
    "select@i386*(count, readable, writable, exceptional, timeout:timeval)": {},
    "_newselect(count, readable, writable, exceptional, timeout:timeval)": {},
})
class Select(Request):
    """Wait for the descriptors of three bit sets."""

    count: Int
    readable: Address
    writable: Address
    exceptional: Address
    timeout: InOut[Timespec]


@request(man="select(2)", classes="desc", forms={
    "pselect6(count, readable, writable, exceptional, timeout, mask)": {},
    "pselect6_time64(count, readable, writable, exceptional, timeout:timespec64, mask)": {},
})
class PSelect6(Request):
    """Wait for the descriptors of three bit sets, with another signal mask."""

    count: Int
    readable: Address
    writable: Address
    exceptional: Address
    timeout: InOut[Timespec]
    mask: Address


@request(man="epoll_create(2)", classes="desc", returns="fd", forms={"epoll_create1(flags)": {}})
class EpollCreate1(Request):
    """Make an epoll descriptor."""

    flags: EpollFlags


@request(man="epoll_create(2)", classes="desc", returns="fd", forms={"epoll_create(size)": {}})
class EpollCreate(Request):
    """Make an epoll descriptor; the size only has to be positive."""

    size: Int


@request(man="epoll_ctl(2)", forms={"epoll_ctl(epfd, operation, fd, event)": {}})
class EpollCtl(Request):
    """Add, change or remove a descriptor that an epoll descriptor watches."""

    epfd: Fd
    operation: EpollOperation
    fd: Fd
    event: In[EpollEvent]


@request(man="epoll_wait(2)", forms={"epoll_wait(epfd, events, count, timeout)": {}})
class EpollWait(Request):
    """Wait for events, at most `timeout` milliseconds."""

    epfd: Fd
    events: EpollEvents
    count: Int
    timeout: Int


@request(man="epoll_wait(2)", forms={"epoll_pwait(epfd, events, count, timeout, mask, size)": {}})
class EpollPWait(Request):
    """Wait for events, with another signal mask."""

    epfd: Fd
    events: EpollEvents
    count: Int
    timeout: Int
    mask: In[SigSet]
    size: Size


@request(man="epoll_wait(2)", forms={
    "epoll_pwait2(epfd, events, count, timeout:timespec64, mask, size)": {},
})
class EpollPWait2(Request):
    """Wait for events, with another signal mask and a finer timeout."""

    epfd: Fd
    events: EpollEvents
    count: Int
    timeout: In[Timespec]
    mask: In[SigSet]
    size: Size


@request(man="eventfd(2)", classes="desc", returns="fd", forms={
    "eventfd2(value, flags)": {},
    "eventfd(value)": {"flags": 0},
})
class EventFd2(Request):
    """Make a descriptor that counts events."""

    value: UInt
    flags: EventFlags


@request(man="signalfd(2)", classes="signal", returns="fd", forms={
    "signalfd4(fd, mask, size, flags)": {},
    "signalfd(fd, mask, size)": {"flags": 0},
})
class SignalFd4(Request):
    """Make a descriptor that delivers signals."""

    fd: Fd
    mask: In[SigSet]
    size: Size
    flags: SignalFdFlags


@request(man="timerfd_create(2)", classes="desc", returns="fd", forms={"timerfd_create(clock, flags)": {}})
class TimerFdCreate(Request):
    """Make a descriptor that reports when a timer expires."""

    clock: ClockId
    flags: TimerFdFlags


@request(man="timerfd_create(2)", forms={
    "timerfd_settime(fd, flags, new, old)": {},
    "timerfd_settime64(fd, flags, new:itimerspec64, old:itimerspec64)": {},
})
class TimerFdSetTime(Request):
    """Start or stop the timer of a descriptor."""

    fd: Fd
    flags: TimerFlags
    new: In[ITimer]
    old: Out[ITimer]


@request(man="timerfd_create(2)", forms={
    "timerfd_gettime(fd, current)": {},
    "timerfd_gettime64(fd, current:itimerspec64)": {},
})
class TimerFdGetTime(Request):
    """Get the time until the timer of a descriptor expires."""

    fd: Fd
    current: Out[ITimer]


@request(man="inotify_init(2)", classes="desc", returns="fd", forms={
    "inotify_init1(flags)": {},
    "inotify_init()": {"flags": 0},
})
class InotifyInit1(Request):
    """Make a descriptor that reports changes of files."""

    flags: NotifyFlags


@request(man="inotify_add_watch(2)", forms={"inotify_add_watch(fd, path, mask)": {}})
class InotifyAddWatch(Request):
    """Watch a file."""

    fd: Fd
    path: Annotated[bytes, PathKind(follow=lacking("mask", io.IN_DONT_FOLLOW))]
    mask: NotifyMask


@request(man="inotify_rm_watch(2)", forms={"inotify_rm_watch(fd, watch)": {}})
class InotifyRmWatch(Request):
    """Watch a file no longer."""

    fd: Fd
    watch: Int


@request(man="fanotify_init(2)", classes="desc", returns="fd", forms={
    "fanotify_init(flags, event_flags)": {},
})
class FanotifyInit(Request):
    """Make a descriptor that reports, or asks about, accesses to file systems."""

    flags: UInt
    event_flags: UInt


@request(man="fanotify_mark(2)", forms={"fanotify_mark(fd, flags, mask:64, dirfd, path)": {}})
class FanotifyMark(Request):
    """Watch a file, a mount or a file system; a NULL path means what the directory descriptor refers to."""

    fd: Fd
    flags: FanotifyMarks
    mask: FanotifyMask
    dirfd: DirFd
    path: Annotated[
        bytes | None, PathKind(follow=lacking("flags", io.FAN_MARK_DONT_FOLLOW), nullable=True)
    ]


