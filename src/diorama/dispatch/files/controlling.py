"""Controlling: ioctl(2) that changes a file which is open for reading only, and that of a FUSE device.

A clone is another descriptor of the same connection (fuse(4)): the kernel keeps one queue of requests for
all.  So it becomes a duplicate of the one that it is to be a clone of.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from diorama.abi import ioctl
from diorama.abi.fcntl import O_PATH
from diorama.catalogue.io import Ioctl
from diorama.dispatch.files.answers import Outcome, answers, fail
from diorama.dispatch.files.layered import whole
from diorama.dispatch.files.state import Files
from diorama.engine.taking import taken
from diorama.errors import Unsupported
from diorama.view.filesystem import OpenFile
from diorama.view.special import Argument

if TYPE_CHECKING:
    from diorama.dispatch.files.direct import DirectFile

__all__ = ["CHANGES_FILE", "CONCERNS_US"]

CHANGES_FILE: Final = (
    ioctl.FS_IOC_SETFLAGS,
    ioctl.FS_IOC32_SETFLAGS,
    ioctl.FS_IOC_FSSETXATTR,
    ioctl.FS_IOC_SETVERSION,
    ioctl.FS_IOC32_SETVERSION,
    ioctl.FS_IOC_ENABLE_VERITY,
    ioctl.FS_IOC_SET_ENCRYPTION_POLICY,
)
"""The requests; all others that change a file need it open for writing."""

CONCERNS_US: Final = (
    *CHANGES_FILE,
    ioctl.FUSE_DEV_IOC_CLONE,
    ioctl.FUSE_DEV_IOC_BACKING_OPEN,
    ioctl.FUSE_DEV_IOC_BACKING_CLOSE,
)
_DESCRIPTOR: Final = 4
_INT: Final = 4
_OF_DESCRIPTORS: Final = (ioctl.FIONBIO, ioctl.FIONCLEX, ioctl.FIOCLEX, ioctl.FIOASYNC)
"""What the kernel does for every file."""


@answers(Ioctl)
def control(files: Files, call: Ioctl) -> Outcome:
    """As of a file system without: ENOTTY for files of ours, and those in a lower layer."""
    task = files.task(call.tracee)
    if call.command == ioctl.FUSE_DEV_IOC_CLONE:
        return _clone(files, call)
    direct = files.direct.find(task, call.fd)
    if direct is not None and direct.special is not None:
        files.direct.settle()
        return _by_device(call, direct)
    done = None if direct is not None else _by_terminal(files, call)
    if done is not None:
        return done
    if call.command not in CHANGES_FILE:
        return _by_file_system(files, call)
    try:
        if files.tasks.flags(task, call.fd) & O_PATH:
            return None
        mount = files.mount_of(task, call.fd)
    except OSError:
        return None  # EBADF
    if mount is not None and mount.read_only:
        raise fail(errno.EROFS)
    if files.tasks.virtual(task, call.fd) is not None:
        raise fail(errno.ENOTTY)
    if files.has_layers and _is_below(files, call):
        raise Unsupported(call.NAME, "that changes attributes of a file in a lower layer", errno.ENOTTY)
    return None


def _clone(files: Files, call: Ioctl) -> Outcome:
    """ENOTTY for what is no device of ours, EINVAL for a clone of something else."""
    task = files.task(call.tracee)
    place = files.tasks.virtual(task, call.fd)
    if place is None:
        return None
    filesystem = place.filesystem
    assert filesystem is not None
    if filesystem.attributes(place.inode).kind != stat.S_IFCHR:
        raise fail(errno.ENOTTY)
    of = int.from_bytes(call.tracee.memory.read(call.argument, _DESCRIPTOR), "little", signed=True)
    other = files.tasks.virtual(task, of)
    if other is None or (other.filesystem, other.inode) != (filesystem, place.inode):
        raise fail(errno.EINVAL)
    if of != call.fd:
        call.tracee.syscall.dup3(of, call.fd, files.tasks.flags(task, call.fd) & os.O_CLOEXEC)
    return 0


def _by_device(call: Ioctl, file: DirectFile) -> Outcome:
    """What a device is asked, with the memory of the program, which many structures have addresses in."""
    memory, special = call.tracee.memory, file.special
    assert special is not None
    if call.command == ioctl.FIONBIO:
        is_set = any(memory.read(call.argument, _DESCRIPTOR))
        file.change_flags(file.flags | os.O_NONBLOCK if is_set else file.flags & ~os.O_NONBLOCK)
        return 0
    if call.command in _OF_DESCRIPTORS:
        return None
    return special.ioctl(call.command, Argument(call.argument, memory, call.tracee.abi.word))


def _by_terminal(files: Files, call: Ioctl) -> int | None:
    """What a device is asked of which the program has a descriptor of the kernel's."""
    place = files.tasks.virtual(files.task(call.tracee), call.fd)
    if place is None or place.filesystem is None or call.command in _OF_DESCRIPTORS:
        return None
    status = files.tasks.status(files.task(call.tracee), call.fd)
    file = status.st_dev, status.st_ino
    word = call.tracee.abi.word
    argument = Argument(call.argument, call.tracee.memory, word, file, partial(_take, files, call))
    return place.filesystem.control_device(place.inode, call.command, argument)


def _take(files: Files, call: Ioctl, number: int) -> tuple[int, bool]:
    """As `Argument.take`: nothing is written behind the back of layers, or of a mount that is read-only."""
    task = files.task(call.tracee)
    if not files.has_our_rights(call.tracee):
        raise fail(errno.EPERM)
    place = files.tasks.descriptor(task, number)
    with taken(call.tracee.tid, call.tracee.pid, number) as fd:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise fail(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL)
        if place.filesystem is not None or place.mount.layers is not None or place.mount.owners is not None:
            raise fail(errno.ELOOP)
        return os.dup(fd), not place.mount.read_only


def _by_file_system(files: Files, call: Ioctl) -> Outcome:
    """What a file system may know of its own open files (fuse_do_ioctl() of Linux, restricted)."""
    if call.command == ioctl.FIONREAD:
        return _tell_left(files, call)
    with ExitStack() as using:
        opened = None if call.command in _OF_DESCRIPTORS else _opened(files, call, using)
        return None if opened is None else _control(call, opened)


def _control(call: Ioctl, opened: OpenFile) -> int:
    direction, _, _, size = ioctl.split_request(call.command)
    data = call.tracee.memory.read(call.argument, size) if "_IOC_WRITE" in direction and size else b""
    room = size if "_IOC_READ" in direction else 0
    result, answer = opened.control(call.command, call.argument, data, room)
    if answer:
        call.tracee.memory.write(call.argument, answer)
    if result < 0:
        raise fail(errno.ENOTTY if result == -errno.ENOSYS else -result)
    return result


def _tell_left(files: Files, call: Ioctl) -> Outcome:
    """What is left to read of a regular file: Linux asks no file system for it."""
    direct = files.direct.find(files.task(call.tracee), call.fd)
    if direct is None:
        return None
    left = (direct.size - direct.position) % (1 << 8 * _INT)
    call.tracee.memory.write(call.argument, left.to_bytes(_INT, "little"))
    return 0


def _opened(files: Files, call: Ioctl, using: ExitStack) -> OpenFile | None:
    task = files.task(call.tracee)
    direct = files.direct.find(task, call.fd)
    if direct is not None:
        return direct.opened
    place = files.tasks.virtual(task, call.fd)
    if place is None or place.filesystem is None or not place.filesystem.tells_at_close:
        return None
    content = using.enter_context(files.synthetic.contents.kept(place.filesystem, place.inode))
    if content is None or files.tasks.flags(task, call.fd) & O_PATH:
        return None
    return content.opened[-1] if content.opened else None


def _is_below(files: Files, call: Ioctl) -> bool:
    """Whether a descriptor is of something in layers that is not in the writable one."""
    task = files.task(call.tracee)
    try:
        place = files.tasks.descriptor(task, call.fd)
        real = os.readlink(b"/proc/%d/fd/%d" % (task.tid, call.fd))
    except OSError:
        return False
    if place.mount.layers is None:
        return False
    return not whole(place)[0].in_upper(real)
