"""Errors: what went wrong with writing a file is told once to each who had it open then, as since Linux 4.13.

The kernel notes in each open file up to which error it was told (errseq_t).  We note it there, too: which
descriptors of which processes are one open file can change at any time, and is nowhere to be read.  What an
open file has that a regular file makes no use of is the signal of F_SETSIG, which all its descriptors share
(fcntl(2)); so an open file with that of `UNTOLD` has an error to tell.  One that a program has set is left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import F_GETSIG, F_SETSIG, O_PATH
from diorama.dispatch.files.holders import processes
from diorama.engine.taking import descriptors_of, taken

if TYPE_CHECKING:
    from diorama.dispatch.files.content import Content
    from diorama.dispatch.files.state import Files
    from diorama.view.task import Task

__all__ = ["UNTOLD", "failed", "untold"]

UNTOLD: Final = signal.SIGRTMAX


def failed(files: Files, content: Content, error: OSError) -> None:
    """Something could not be written: whoever has it open is to be told."""
    if error.errno == errno.EINTR:
        return  # nobody has waited for it
    content.error = error
    status = os.fstat(content.fd)
    for pid in processes(files):
        for fd in _open_as(pid, (status.st_dev, status.st_ino)):
            if pid == os.getpid() and fd == content.fd:
                continue
            if not _note(pid, fd):
                content.failure = error  # for the next who asks, whoever it is


def untold(content: Content, task: Task, fd: int) -> OSError | None:
    """The error that an open file has to tell, which it has told now."""
    if content.error is None:
        return None
    try:
        with taken(task.tid, task.pid, fd) as ours:
            if fcntl.fcntl(ours, F_GETSIG) != UNTOLD:
                return None
            fcntl.fcntl(ours, F_SETSIG, 0)
    except OSError:
        return None
    return content.error


def _open_as(pid: int, identity: tuple[int, int]) -> Iterator[int]:
    """The descriptors of a process by which it has a file open."""
    for fd in descriptors_of(pid):
        try:
            status = os.stat(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == identity:
            yield fd


def _note(pid: int, fd: int) -> bool:
    """Note that it has something to tell; whether we may."""
    try:
        with taken(pid, pid, fd) as ours:
            if fcntl.fcntl(ours, fcntl.F_GETFL) & O_PATH:
                return True
            if not fcntl.fcntl(ours, F_GETSIG):
                fcntl.fcntl(ours, F_SETSIG, UNTOLD)
    except OSError as error:
        return error.errno in (errno.EBADF, errno.ESRCH)  # closed meanwhile
    return True
