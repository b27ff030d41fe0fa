"""Signals: sending them, and what happens on them."""

from typing import Annotated

from diorama.abi import signal
from diorama.abi.signal import SigAction, SigSet, SigStack
from diorama.abi.time import Timespec
from diorama.catalogue.handles import In, Out
from diorama.catalogue.kinds import Address, Choice, Fd, Pid, Signal, Size, UInt, ULong
from diorama.catalogue.model import Request, request
from diorama.catalogue.names import Names

MaskHow = Annotated[int, Choice(Names(signal, "SIG_"))]


@request(man="kill(2)", classes="signal process", forms={"kill(pid, signal)": {}})
class Kill(Request):
    """Send a signal to a process or a process group."""

    pid: Pid
    signal: Signal


@request(man="tkill(2)", classes="signal process", forms={"tgkill(pid, tid, signal)": {}})
class TgKill(Request):
    """Send a signal to a thread of a process."""

    pid: Pid
    tid: Pid
    signal: Signal


@request(man="tkill(2)", classes="signal process", forms={"tkill(tid, signal)": {}})
class TKill(Request):
    """Send a signal to a thread."""

    tid: Pid
    signal: Signal


@request(man="pidfd_send_signal(2)", classes="signal process", forms={
    "pidfd_send_signal(pidfd, signal, info, flags)": {},
})
class PidFdSendSignal(Request):
    """Send a signal to the process that a descriptor refers to."""

    pidfd: Fd
    signal: Signal
    info: Address
    flags: UInt


@request(man="rt_sigqueueinfo(2)", classes="signal process", forms={"rt_sigqueueinfo(pid, signal, info)": {}})
class RtSigQueueInfo(Request):
    """Send a signal with a `siginfo_t` to a process."""

    pid: Pid
    signal: Signal
    info: Address


@request(man="rt_sigqueueinfo(2)", classes="signal process", forms={
    "rt_tgsigqueueinfo(pid, tid, signal, info)": {},
})
class RtTgSigQueueInfo(Request):
    """Send a signal with a `siginfo_t` to a thread."""

    pid: Pid
    tid: Pid
    signal: Signal
    info: Address


@request(man="sigaction(2)", classes="signal", forms={
    "rt_sigaction(signal, new, old, size)": {},
    "sigaction(signal, new:old_sigaction, old:old_sigaction)": {"size": 8},
})
class RtSigAction(Request):
    """Get and set what happens on a signal."""

    signal: Signal
    new: In[SigAction]
    old: Out[SigAction]
    size: Size


@request(man="signal(2)", classes="signal", forms={"signal(signal, handler)": {}})
class SignalHandler(Request):
    """Set what happens on a signal, as in the first Unix systems. i386 only."""

    signal: Signal
    handler: Address


@request(man="sigprocmask(2)", classes="signal", forms={
    "rt_sigprocmask(how, new, old, size)": {},
    "sigprocmask(how, new:old_sigset, old:old_sigset)": {"size": 8},
})
class RtSigProcMask(Request):
    """Get and set the mask of blocked signals."""

    how: MaskHow
    new: In[SigSet]
    old: Out[SigSet]
    size: Size


@request(man="sigpending(2)", classes="signal", forms={
    "rt_sigpending(set, size)": {},
    "sigpending(set:old_sigset)": {"size": 8},
})
class RtSigPending(Request):
    """Get the signals that are pending."""

    set: Out[SigSet]
    size: Size


@request(man="sigsuspend(2)", classes="signal", forms={"rt_sigsuspend(mask, size)": {}})
class RtSigSuspend(Request):
    """Wait for a signal with another mask."""

    mask: In[SigSet]
    size: Size


@request(man="sigsuspend(2)", classes="signal", forms={"sigsuspend(_, _, mask)": {}})
class SigSuspend(Request):
    """Wait for a signal with another mask, which is the argument itself. i386 only."""

    mask: ULong


@request(man="sigwaitinfo(2)", classes="signal", forms={
    "rt_sigtimedwait(set, info, timeout, size)": {},
    "rt_sigtimedwait_time64(set, info, timeout:timespec64, size)": {},
})
class RtSigTimedWait(Request):
    """Take a signal of a set, waiting for it."""

    set: In[SigSet]
    info: Address
    timeout: In[Timespec]
    size: Size


@request(man="sigaltstack(2)", classes="signal", forms={"sigaltstack(new, old)": {}})
class SigAltStack(Request):
    """Get and set the stack on which signal handlers run."""

    new: In[SigStack]
    old: Out[SigStack]


@request(man="sgetmask(2)", classes="signal", forms={"sgetmask()": {}})
class SGetMask(Request):
    """Get the mask of blocked signals as the result. i386 only."""


@request(man="sgetmask(2)", classes="signal", forms={"ssetmask(mask)": {}})
class SSetMask(Request):
    """Set the mask of blocked signals. i386 only."""

    mask: ULong


@request(man="pause(2)", classes="signal", forms={"pause()": {}})
class Pause(Request):
    """Wait for a signal."""


