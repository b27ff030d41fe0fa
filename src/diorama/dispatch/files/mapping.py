"""Mapping: mmap(2) of files in mounts from which nothing may be executed, and of devices."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from diorama.abi.memory import MAP_PRIVATE, PROT_EXEC, PROT_WRITE
from diorama.dispatch.files.state import Files, fail

if TYPE_CHECKING:
    from diorama.catalogue.memory import MMap
    from diorama.dispatch.files.direct import DirectFile

__all__ = ["map_device", "refuse_execution"]

_SHARING = 0x0F


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


def map_device(files: Files, call: MMap, file: DirectFile) -> int:
    """Map what a device has its bytes in, if that is a file, in the place of what stands for it."""
    special = file.special
    assert special is not None
    is_private = call.flags & _SHARING == MAP_PRIVATE
    if not file.reads or (call.protection & PROT_WRITE and not (is_private or file.writes)):
        raise fail(errno.EACCES)
    fd, offset = special.mapping(call.offset, call.length)
    try:
        status = os.fstat(fd)
        files.direct.mapped.add((status.st_dev, status.st_ino))
        number = call.tracee.give(fd, cloexec=True)
    finally:
        os.close(fd)
    try:
        return call.replace(fd=number, offset=offset).run()
    finally:
        call.tracee.syscall.close(number)
