"""Mapping: mmap(2) of files in mounts from which nothing may be executed."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from diorama.abi.memory import PROT_EXEC
from diorama.dispatch.files.state import Files, fail

if TYPE_CHECKING:
    from diorama.catalogue.memory import MMap

__all__ = ["refuse_execution"]


def refuse_execution(files: Files, call: MMap) -> None:
    """EPERM for what is to be executed and must not.

    What was mapped otherwise may be made executable later (mprotect(2)), which Linux refuses: nobody is asked
    about that.
    """
    if not call.protection & PROT_EXEC:
        return
    task = files.task(call.tracee)
    mount = files.mount_of(task, call.fd)
    if mount is None or not mount.no_exec:
        return
    # EACCES comes first.
    is_open = files.tasks.flags(task, call.fd) & os.O_ACCMODE != os.O_WRONLY
    if is_open and stat.S_ISREG(files.tasks.status(task, call.fd).st_mode):
        raise fail(errno.EPERM)
