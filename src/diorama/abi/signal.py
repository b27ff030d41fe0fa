"""Signals: their numbers and the structures of rt_sigaction(2)."""

from __future__ import annotations

from diorama.abi.record import Record, record

__all__ = ["SigAction", "SigSet", "SigStack", "signal_name"]

SIGHUP = 1
SIGINT = 2
SIGQUIT = 3
SIGILL = 4
SIGTRAP = 5
SIGABRT = 6
SIGBUS = 7
SIGFPE = 8
SIGKILL = 9
SIGUSR1 = 10
SIGSEGV = 11
SIGUSR2 = 12
SIGPIPE = 13
SIGALRM = 14
SIGTERM = 15
SIGSTKFLT = 16
SIGCHLD = 17
SIGCONT = 18
SIGSTOP = 19
SIGTSTP = 20
SIGTTIN = 21
SIGTTOU = 22
SIGURG = 23
SIGXCPU = 24
SIGXFSZ = 25
SIGVTALRM = 26
SIGPROF = 27
SIGWINCH = 28
SIGIO = 29
SIGPWR = 30
SIGSYS = 31

SIG_BLOCK = 0
SIG_UNBLOCK = 1
SIG_SETMASK = 2

SA_NOCLDSTOP = 0x1
SA_NOCLDWAIT = 0x2
SA_SIGINFO = 0x4
SA_UNSUPPORTED = 0x400
SA_EXPOSE_TAGBITS = 0x800
SA_RESTORER = 0x04000000
SA_ONSTACK = 0x08000000
SA_RESTART = 0x10000000
SA_NODEFER = 0x40000000
SA_RESETHAND = 0x80000000

SFD_NONBLOCK = 0o4000
SFD_CLOEXEC = 0o2000000

_FIRST_REAL_TIME = 32
_LAST_REAL_TIME = 64

SIG_DFL = 0
SIG_IGN = 1

_NAMES = {
    number: name
    for name, number in list(globals().items())
    if name.startswith("SIG") and not name.startswith("SIG_") and isinstance(number, int)
}


def signal_name(number: int) -> str:
    """The name of a signal, "SIGINT" or "SIGRT_2", or the number itself when it is none."""
    if _FIRST_REAL_TIME <= number <= _LAST_REAL_TIME:
        return f"SIGRT_{number - _FIRST_REAL_TIME}"
    return _NAMES.get(number, str(number))


@record({
    "sigaction": "pointer sa_handler, ulong sa_flags, pointer sa_restorer, u64 sa_mask",
    "sigaction@riscv64": "pointer sa_handler, ulong sa_flags, u64 sa_mask",
    "old_sigaction": "pointer sa_handler, ulong sa_mask, ulong sa_flags, pointer sa_restorer",
})
class SigAction(Record):
    """What to do on a signal, rt_sigaction(2)."""

    sa_handler: int = 0
    sa_flags: int = 0
    sa_restorer: int = 0
    sa_mask: int = 0


@record({"sigset": "u64 mask", "old_sigset": "ulong mask"})
class SigSet(Record):
    """A set of signals: bit `n - 1` stands for signal `n`."""

    mask: int = 0

    def signals(self) -> tuple[int, ...]:
        """The numbers of the signals in the set."""
        return tuple([bit + 1 for bit in range(64) if self.mask >> bit & 1])


@record({"stack": "pointer ss_sp, s32 ss_flags, ulong ss_size"})
class SigStack(Record):
    """The alternate signal stack, sigaltstack(2)."""

    ss_sp: int = 0
    ss_flags: int = 0
    ss_size: int = 0
