"""Processes: making them, replacing their programs, waiting for them, and what they are told by others."""

from typing import Annotated

from diorama.abi import process
from diorama.abi.fcntl import AT_FDCWD
from diorama.abi.io import Number
from diorama.abi.process import CSIGNAL, CloneArgs, RLimit, RUsage
from diorama.abi.signal import signal_name
from diorama.catalogue.handles import In, Out
from diorama.catalogue.kinds import (
    Address,
    AtFlags,
    AtPath,
    Choice,
    DirFd,
    Fd,
    Flags,
    Int,
    Long,
    Path,
    Pid,
    Shown,
    Size,
    UInt,
    ULong,
    WideFlags,
)
from diorama.catalogue.model import Request, request
from diorama.catalogue.names import Names
from diorama.catalogue.pointers import Argv, Envp, InIoVecs, OutIoVecs

_CLONE_FLAGS = Names(process, "CLONE_")


class CloneFlagsKind(WideFlags):
    """Flags of clone(2), with the signal that the child sends when it ends in the low byte."""

    __slots__ = ()

    def text(self, value: int, shown: Shown) -> str:
        """The flags, then the signal."""
        flags, number = value & ~CSIGNAL, value & CSIGNAL
        parts = [self.names.many(flags)] if flags or not number else []
        return "|".join([*parts, signal_name(number)] if number else parts)


CloneFlags = Annotated[int, CloneFlagsKind(_CLONE_FLAGS)]
NamespaceFlags = Annotated[int, Flags(_CLONE_FLAGS)]
WaitOptions = Annotated[int, Flags(Names(process, "W"))]
WaitType = Annotated[int, Choice(Names(process, "P_"))]
LimitResource = Annotated[int, Choice(Names(process, "RLIMIT_"))]
UsageWho = Annotated[int, Choice(Names(process, "RUSAGE_"))]
PriorityWhich = Annotated[int, Choice(Names(process, "PRIO_"))]
PidFdFlags = Annotated[int, Flags(Names(process, "PIDFD_"))]
PrctlOption = Annotated[int, Choice(Names(process, "PR_"))]
ArchOption = Annotated[int, Choice(Names(process, "ARCH_"))]


@request(man="clone(2)", classes="process", returns="pid", forms={
    "clone(flags, stack, parent_tid, tls, child_tid)": {},
    "clone@x86-64(flags, stack, parent_tid, child_tid, tls)": {},
})
class Clone(Request):
    """Make a thread or a process."""

    flags: CloneFlags
    stack: Address
    parent_tid: Address
    child_tid: Address
    tls: Address


@request(man="clone(2)", classes="process", returns="pid", forms={"clone3(arguments, size)": {}})
class Clone3(Request):
    """Make a thread or a process."""

    arguments: In[CloneArgs]
    size: Size


@request(man="fork(2)", classes="process", returns="pid", forms={"fork()": {}})
class Fork(Request):
    """Make a process."""


@request(man="vfork(2)", classes="process", returns="pid", forms={"vfork()": {}})
class VFork(Request):
    """Make a process that borrows the caller's memory until it executes a program or ends."""


@request(man="execve(2)", classes="process", forms={
    "execveat(dirfd, path, argv, envp, flags)": {},
    "execve(path, argv, envp)": {"dirfd": AT_FDCWD, "flags": 0},
})
class ExecveAt(Request):
    """Execute a program."""

    dirfd: DirFd
    path: AtPath
    argv: Argv
    envp: Envp
    flags: AtFlags


@request(man="uselib(2)", forms={"uselib(path)": {}})
class UseLib(Request):
    """Load a shared library of the a.out days."""

    path: Path


@request(man="exit(2)", classes="process", forms={"exit(status)": {}})
class Exit(Request):
    """End the thread."""

    status: Int


@request(man="exit_group(2)", classes="process", forms={"exit_group(status)": {}})
class ExitGroup(Request):
    """End the process."""

    status: Int


@request(man="wait(2)", classes="process", returns="pid", forms={
    "wait4(pid, status, options, usage)": {},
    "waitpid(pid, status, options)": {"usage": None},
})
class Wait4(Request):
    """Wait for a child process."""

    pid: Pid
    status: Out[Number]
    options: WaitOptions
    usage: Out[RUsage]


@request(man="wait(2)", classes="process", forms={"waitid(type, id, info, options, usage)": {}})
class WaitId(Request):
    """Wait for a child process; the info is a `siginfo_t`."""

    type: WaitType
    id: Pid
    info: Address
    options: WaitOptions
    usage: Out[RUsage]


@request(man="getpid(2)", classes="pure", returns="pid", forms={"getpid()": {}})
class GetPid(Request):
    """Get the process id."""


@request(man="getpid(2)", classes="pure", returns="pid", forms={"getppid()": {}})
class GetPPid(Request):
    """Get the process id of the parent."""


@request(man="gettid(2)", classes="pure", returns="pid", forms={"gettid()": {}})
class GetTid(Request):
    """Get the thread id."""


@request(man="getpgid(2)", returns="pid", forms={"getpgid(pid)": {}})
class GetPGid(Request):
    """Get the process group id of a process."""

    pid: Pid


@request(man="getpgid(2)", classes="pure", returns="pid", forms={"getpgrp()": {}})
class GetPGrp(Request):
    """Get the process group id."""


@request(man="setpgid(2)", forms={"setpgid(pid, group)": {}})
class SetPGid(Request):
    """Put a process into a process group."""

    pid: Pid
    group: Pid


@request(man="getsid(2)", returns="pid", forms={"getsid(pid)": {}})
class GetSid(Request):
    """Get the session id of a process."""

    pid: Pid


@request(man="setsid(2)", returns="pid", forms={"setsid()": {}})
class SetSid(Request):
    """Begin a session."""


@request(man="pidfd_open(2)", classes="desc process", returns="fd", forms={"pidfd_open(pid, flags)": {}})
class PidFdOpen(Request):
    """Get a descriptor that refers to a process."""

    pid: Pid
    flags: PidFdFlags


@request(man="pidfd_getfd(2)", returns="fd", forms={"pidfd_getfd(pidfd, fd, flags)": {}})
class PidFdGetFd(Request):
    """Get a copy of a descriptor of another process; `fd` is a number in that process."""

    pidfd: Fd
    fd: Int
    flags: UInt


@request(man="ptrace(2)", forms={"ptrace(operation, pid, address, data)": {}})
class Ptrace(Request):
    """Trace a process."""

    operation: Long
    pid: Pid
    address: Address
    data: Address


@request(man="prctl(2)", forms={"prctl(option, second, third, fourth, fifth)": {}})
class Prctl(Request):
    """Ask or tell something about the process; what the arguments are depends on the option."""

    option: PrctlOption
    second: ULong
    third: ULong
    fourth: ULong
    fifth: ULong


@request(man="arch_prctl(2)", forms={"arch_prctl(option, address)": {}})
class ArchPrctl(Request):
    """Ask or tell something about the thread that is peculiar to the architecture."""

    option: ArchOption
    address: Address


@request(man="personality(2)", forms={"personality(persona)": {}})
class Personality(Request):
    """Set the execution domain."""

    persona: UInt


@request(man="getrlimit(2)", forms={
    "prlimit64(pid, resource, new:rlimit64, old:rlimit64)": {},
})
class PrLimit64(Request):
    """Get and set a resource limit of a process."""

    pid: Pid
    resource: LimitResource
    new: In[RLimit]
    old: Out[RLimit]


@request(man="getrlimit(2)", forms={
    "getrlimit(resource, limit)": {},
    "ugetrlimit(resource, limit)": {},
})
class GetRLimit(Request):
    """Get a resource limit."""

    resource: LimitResource
    limit: Out[RLimit]


@request(man="getrlimit(2)", forms={"setrlimit(resource, limit)": {}})
class SetRLimit(Request):
    """Set a resource limit."""

    resource: LimitResource
    limit: In[RLimit]


@request(man="getrusage(2)", forms={"getrusage(who, usage)": {}})
class GetRUsage(Request):
    """Get what a process has used."""

    who: UsageWho
    usage: Out[RUsage]


@request(man="getpriority(2)", forms={"getpriority(which, who)": {}})
class GetPriority(Request):
    """Get a scheduling priority; the result is 20 minus the nice value."""

    which: PriorityWhich
    who: Pid


@request(man="getpriority(2)", forms={"setpriority(which, who, nice)": {}})
class SetPriority(Request):
    """Set a scheduling priority."""

    which: PriorityWhich
    who: Pid
    nice: Int


@request(man="nice(2)", forms={"nice(increment)": {}})
class Nice(Request):
    """Change the scheduling priority. i386 only."""

    increment: Int


@request(man="unshare(2)", forms={"unshare(flags)": {}})
class Unshare(Request):
    """Share no longer what the flags name."""

    flags: NamespaceFlags


@request(man="setns(2)", forms={"setns(fd, type)": {}})
class SetNs(Request):
    """Enter a namespace."""

    fd: Fd
    type: NamespaceFlags


@request(man="listns(2)", forms={"listns(request, ids, count, flags)": {}})
class ListNs(Request):
    """List namespaces."""

    request: Address
    ids: Address
    count: Size
    flags: UInt


@request(man="kcmp(2)", forms={"kcmp(first_pid, second_pid, type, first, second)": {}})
class KCmp(Request):
    """Ask whether two processes share a kernel object."""

    first_pid: Pid
    second_pid: Pid
    type: Int
    first: ULong
    second: ULong


@request(man="process_vm_readv(2)", forms={
    "process_vm_readv(pid, pieces, count, remote, remote_count, flags)": {},
})
class ProcessVmReadV(Request):
    """Read the memory of another process."""

    pid: Pid
    pieces: OutIoVecs
    count: Size
    remote: Address
    remote_count: Size
    flags: ULong


@request(man="process_vm_readv(2)", forms={
    "process_vm_writev(pid, pieces, count, remote, remote_count, flags)": {},
})
class ProcessVmWriteV(Request):
    """Write the memory of another process."""

    pid: Pid
    pieces: InIoVecs
    count: Size
    remote: Address
    remote_count: Size
    flags: ULong


@request(man="process_madvise(2)", forms={"process_madvise(pidfd, pieces, count, advice, flags)": {}})
class ProcessMAdvise(Request):
    """Give advice about the memory of another process."""

    pidfd: Fd
    pieces: Address
    count: Size
    advice: Int
    flags: UInt


@request(man="process_mrelease(2)", forms={"process_mrelease(pidfd, flags)": {}})
class ProcessMRelease(Request):
    """Free the memory of a dying process."""

    pidfd: Fd
    flags: UInt


@request(man="get_robust_list(2)", forms={"get_robust_list(pid, head, size)": {}})
class GetRobustList(Request):
    """Get the list of robust futexes of a thread."""

    pid: Pid
    head: Address
    size: Address
