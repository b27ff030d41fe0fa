"""Left alone: system calls that are no requests, each with the reason.

A program may make them; no handler sees them and no view changes them.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["REASONS", "LeftAlone", "reason_for"]


class LeftAlone(NamedTuple):
    """A system call that is no request, and why."""

    name: str
    reason: str


_RESTART = "the kernel's own means of going on with an interrupted call or returning from a signal handler"
_NEVER = "reserved for a call that Linux never had; the kernel answers ENOSYS"
_REMOVED = "removed from the kernel; it answers ENOSYS"
_REGISTERS = "changes only the registers and segments of the calling thread"
_THREAD = "tells the kernel where in its own memory the calling thread keeps data for it"
_PROBE = "made by code that the kernel itself put into the program; elsewhere it raises SIGILL or SIGSYS"

REASONS: dict[str, str] = {
    **dict.fromkeys(("restart_syscall", "rt_sigreturn", "sigreturn"), _RESTART),
    **dict.fromkeys(("afs_syscall", "break", "ftime", "getpmsg", "gtty", "lock", "mpx", "prof"), _NEVER),
    **dict.fromkeys(("epoll_ctl_old", "epoll_wait_old", "profil", "putpmsg", "security", "stty"), _NEVER),
    **dict.fromkeys(("tuxcall", "ulimit", "vserver"), _NEVER),
    **dict.fromkeys(("_sysctl", "bdflush", "create_module", "get_kernel_syms", "idle"), _REMOVED),
    **dict.fromkeys(("lookup_dcookie", "nfsservctl", "query_module"), _REMOVED),
    **dict.fromkeys(("get_thread_area", "modify_ldt", "set_thread_area", "vm86", "vm86old"), _REGISTERS),
    **dict.fromkeys(("rseq", "set_robust_list", "set_tid_address"), _THREAD),
    "map_shadow_stack": "makes a shadow stack for the calling thread, in its own memory",
    "riscv_flush_icache": "synchronises the caches of the calling process with its own memory",
    "riscv_hwprobe": "tells which instructions the processor has",
    **dict.fromkeys(("uprobe", "uretprobe"), _PROBE),
}


def reason_for(name: str) -> LeftAlone | None:
    """The reason for leaving a call of that name alone; None when it is not."""
    reason = REASONS.get(name)
    return None if reason is None else LeftAlone(name, reason)
