"""Inspection: who may look into the process of another, by /proc, proc(5).

On the host all processes of a view are of one user, whom the kernel lets look into each of them.  Where they
have identities, what Linux would check for files of /proc/PID is checked here: ptrace(2), "ptrace access mode
checking", by the ids that count for files.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Final

from diorama.abi.capability import CAP_SYS_PTRACE

if TYPE_CHECKING:
    from diorama.view.task import Task, Tasks

__all__ = ["INSIDE", "LINKS", "OPENED", "check_inspection"]

_PROCESS: Final = rb"/proc/(\d+)(?:/task/(\d+))?/"
INSIDE: Final = re.compile(_PROCESS + rb"(?:fd|fdinfo|map_files)")
"""Directories in which only such a process finds anything."""

LINKS: Final = re.compile(_PROCESS + rb"(?:cwd|root|exe|ns/[^/]+|fd/\d+|map_files/[^/]+)")
"""Links that only such a process follows, or reads."""

OPENED: Final = re.compile(
    _PROCESS
    + rb"(?:auxv|clear_refs|comm|coredump_filter|environ|fd|fdinfo|fdinfo/\d+|io|map_files|maps|mem|numa_maps"
    rb"|oom_adj|oom_score_adj|pagemap|personality|smaps|smaps_rollup|stack|syscall|timers)"
)
"""What only such a process opens, some of it for writing only."""

_PUBLIC: Final = re.compile(rb".*/(?:comm|coredump_filter|oom_adj|oom_score_adj)")


def check_inspection(tasks: Tasks, task: Task, path: bytes, names: re.Pattern[bytes], flags: int = 0) -> None:
    """EACCES if a task may not look at a path of the host: one of these names, of a process of others."""
    if task.identity is None and tasks.identity is None:
        return
    match = names.fullmatch(path)
    other = None if match is None else tasks.owner(int(match[1]), int(match[2] or match[1]))
    if other is None or other.pid == task.pid:
        return
    if flags & os.O_ACCMODE == os.O_RDONLY and _PUBLIC.fullmatch(path):
        return
    who, whom = task.identity or tasks.identity, other.identity or tasks.identity
    if who is None or whom is None or who.has(CAP_SYS_PTRACE):
        return
    if other.is_closed or not who.may_trace(whom, files=True):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)
