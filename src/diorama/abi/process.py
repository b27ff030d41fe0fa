"""Processes: clone flags, limits, usage and what prctl(2) is asked."""

from __future__ import annotations

from diorama.abi.record import Record, record

__all__ = ["CloneArgs", "RLimit", "RUsage"]

CLONE_VM = 0x100
CLONE_FS = 0x200
CLONE_FILES = 0x400
CLONE_SIGHAND = 0x800
CLONE_PIDFD = 0x1000
CLONE_PTRACE = 0x2000
CLONE_VFORK = 0x4000
CLONE_PARENT = 0x8000
CLONE_THREAD = 0x10000
CLONE_NEWNS = 0x20000
CLONE_SYSVSEM = 0x40000
CLONE_SETTLS = 0x80000
CLONE_PARENT_SETTID = 0x100000
CLONE_CHILD_CLEARTID = 0x200000
CLONE_DETACHED = 0x400000
CLONE_UNTRACED = 0x800000
CLONE_CHILD_SETTID = 0x1000000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_IO = 0x80000000
CLONE_CLEAR_SIGHAND = 0x100000000
CLONE_INTO_CGROUP = 0x200000000

# Below CLONE_VM, in the byte where clone(2) has the exit signal, so these are for unshare(2) and clone3(2).
CLONE_NEWTIME = 0x80
CSIGNAL = 0xFF

WNOHANG = 1
WUNTRACED = 2
WEXITED = 4
WCONTINUED = 8
WNOWAIT = 0x1000000
WNOTHREAD = 0x20000000
WALL = 0x40000000
WCLONE = 0x80000000

P_ALL = 0
P_PID = 1
P_PGID = 2
P_PIDFD = 3

PRIO_PROCESS = 0
PRIO_PGRP = 1
PRIO_USER = 2

RLIMIT_CPU = 0
RLIMIT_FSIZE = 1
RLIMIT_DATA = 2
RLIMIT_STACK = 3
RLIMIT_CORE = 4
RLIMIT_RSS = 5
RLIMIT_NPROC = 6
RLIMIT_NOFILE = 7
RLIMIT_MEMLOCK = 8
RLIMIT_AS = 9
RLIMIT_LOCKS = 10
RLIMIT_SIGPENDING = 11
RLIMIT_MSGQUEUE = 12
RLIMIT_NICE = 13
RLIMIT_RTPRIO = 14
RLIMIT_RTTIME = 15

RUSAGE_CHILDREN = -1
RUSAGE_SELF = 0
RUSAGE_THREAD = 1

SCHED_OTHER = 0
SCHED_FIFO = 1
SCHED_RR = 2
SCHED_BATCH = 3
SCHED_IDLE = 5
SCHED_DEADLINE = 6
SCHED_EXT = 7

PIDFD_NONBLOCK = 0o4000
PIDFD_THREAD = 0o200

PR_SET_PDEATHSIG = 1
PR_GET_PDEATHSIG = 2
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_GET_UNALIGN = 5
PR_SET_UNALIGN = 6
PR_GET_KEEPCAPS = 7
PR_SET_KEEPCAPS = 8
PR_GET_FPEMU = 9
PR_SET_FPEMU = 10
PR_GET_FPEXC = 11
PR_SET_FPEXC = 12
PR_GET_TIMING = 13
PR_SET_TIMING = 14
PR_SET_NAME = 15
PR_GET_NAME = 16
PR_GET_SECCOMP = 21
PR_SET_SECCOMP = 22
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_GET_TSC = 25
PR_SET_TSC = 26
PR_GET_SECUREBITS = 27
PR_SET_SECUREBITS = 28
PR_SET_TIMERSLACK = 29
PR_GET_TIMERSLACK = 30
PR_TASK_PERF_EVENTS_DISABLE = 31
PR_TASK_PERF_EVENTS_ENABLE = 32
PR_MCE_KILL = 33
PR_MCE_KILL_GET = 34
PR_SET_MM = 35
PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_GET_TID_ADDRESS = 40
PR_SET_THP_DISABLE = 41
PR_GET_THP_DISABLE = 42
PR_CAP_AMBIENT = 47
PR_GET_SPECULATION_CTRL = 52
PR_SET_SPECULATION_CTRL = 53
PR_PAC_RESET_KEYS = 54
PR_SET_TAGGED_ADDR_CTRL = 55
PR_GET_TAGGED_ADDR_CTRL = 56
PR_SET_IO_FLUSHER = 57
PR_GET_IO_FLUSHER = 58
PR_SET_SYSCALL_USER_DISPATCH = 59
PR_SCHED_CORE = 62
PR_SET_MDWE = 65
PR_GET_MDWE = 66
PR_SET_MEMORY_MERGE = 67
PR_GET_MEMORY_MERGE = 68
PR_SET_VMA = 0x53564D41
PR_SET_PTRACER = 0x59616D61

ARCH_SET_GS = 0x1001
ARCH_SET_FS = 0x1002
ARCH_GET_FS = 0x1003
ARCH_GET_GS = 0x1004
ARCH_GET_CPUID = 0x1011
ARCH_SET_CPUID = 0x1012
ARCH_GET_XCOMP_SUPP = 0x1021
ARCH_GET_XCOMP_PERM = 0x1022
ARCH_REQ_XCOMP_PERM = 0x1023
ARCH_CET_STATUS = 0x3001
ARCH_SHSTK_ENABLE = 0x5001
ARCH_SHSTK_DISABLE = 0x5002
ARCH_SHSTK_LOCK = 0x5003
ARCH_SHSTK_UNLOCK = 0x5004
ARCH_SHSTK_STATUS = 0x5005


@record({
    "clone_args": (
        "u64 flags, u64 pidfd, u64 child_tid, u64 parent_tid, u64 exit_signal, u64 stack, u64 stack_size,"
        " u64 tls, u64 set_tid, u64 set_tid_size, u64 cgroup"
    )
})
class CloneArgs(Record):
    """What to share with the child and where to start it, clone3(2)."""

    flags: int = 0
    pidfd: int = 0
    child_tid: int = 0
    parent_tid: int = 0
    exit_signal: int = 0
    stack: int = 0
    stack_size: int = 0
    tls: int = 0
    set_tid: int = 0
    set_tid_size: int = 0
    cgroup: int = 0


@record({"rlimit": "ulong rlim_cur, ulong rlim_max", "rlimit64": "u64 rlim_cur, u64 rlim_max"})
class RLimit(Record):
    """A soft and a hard limit, getrlimit(2)."""

    rlim_cur: int = 0
    rlim_max: int = 0


@record({
    "rusage": (
        "long ru_utime, long ru_utime_nsec/1000, long ru_stime, long ru_stime_nsec/1000, long ru_maxrss,"
        " long[3] _, long ru_minflt, long ru_majflt, long ru_nswap, long ru_inblock, long ru_oublock,"
        " long[3] _, long ru_nvcsw, long ru_nivcsw"
    )
})
class RUsage(Record):
    """What a process has used, getrusage(2)."""

    ru_utime: int = 0
    ru_utime_nsec: int = 0
    ru_stime: int = 0
    ru_stime_nsec: int = 0
    ru_maxrss: int = 0
    ru_minflt: int = 0
    ru_majflt: int = 0
    ru_nswap: int = 0
    ru_inblock: int = 0
    ru_oublock: int = 0
    ru_nvcsw: int = 0
    ru_nivcsw: int = 0
