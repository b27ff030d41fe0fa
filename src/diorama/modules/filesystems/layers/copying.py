"""Copying: one file of any type, with all that belongs to it, to a new name.

Content keeps its holes, and its blocks where the file system can share them.  What the caller may not
reproduce (an owner, a security attribute) is left out; the owner is told to the caller, who records it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from typing import Final

from diorama.modules.filesystems.layers.marks import PREFIX, Owner, owner_of

__all__ = ["attributes", "bits_of_copy", "copy_file", "set_status", "wanted_owner"]

_FICLONE: Final = 0x40049409
_CHUNK: Final = 1 << 24
_UNSHARED: Final = (errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENOTTY, errno.EBADF)
_LEFT_OUT: Final = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENODATA, errno.EINVAL)


def copy_file(source: bytes, target: bytes, status: os.stat_result, *, content: bool = True) -> Owner | None:
    """Make `target` what `source`, with this status, is: not what a directory contains.

    `content=False` leaves a regular file empty.  Returns owner and permissions that the copy should have
    and cannot; such a copy can be read and written by us.
    """
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFREG:
        _copy_regular(source, target, content=content)
    elif kind == stat.S_IFDIR:
        os.mkdir(target, 0o700)
    elif kind == stat.S_IFLNK:
        os.symlink(os.readlink(source), target)
    else:
        os.mknod(target, kind | 0o600, status.st_rdev)
    for name, value in attributes(source).items():
        _set_attribute(target, name, value)
    return set_status(target, status, wanted_owner(source, status), times=content or kind != stat.S_IFREG)


def wanted_owner(path: bytes, status: os.stat_result) -> Owner:
    """Owner and permissions that a file is to be seen with."""
    known = owner_of(path, status.st_mode)
    return known or Owner(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))


def set_status(target: bytes, status: os.stat_result, owner: Owner, *, times: bool = True) -> Owner | None:
    """Give a file owner, permissions and times; what it should have if that cannot be."""
    kept: Owner | None = None
    mine = os.lstat(target)
    if (mine.st_uid, mine.st_gid) != (owner.uid, owner.gid):
        try:
            os.chown(target, owner.uid, owner.gid, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _LEFT_OUT:
                raise
            kept = owner
            with contextlib.suppress(OSError):
                os.chown(target, -1, owner.gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(target, owner.mode if kept is None else bits_of_copy(status.st_mode, owner.mode))
    if times:
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
    return kept


def bits_of_copy(kind: int, mode: int) -> int:
    """The permission bits of a copy that cannot have the owner it should: we can read and write it.

    That a program is set-user-ID would mean us.
    """
    return mode & 0o7777 | 0o700 if stat.S_ISDIR(kind) else mode & 0o1777 | 0o600


def attributes(path: bytes) -> dict[bytes, bytes]:
    """The extended attributes of a file that belong to it, and not to its layer."""
    found: dict[bytes, bytes] = {}
    try:
        names = [os.fsencode(name) for name in os.listxattr(path, follow_symlinks=False)]
    except OSError as error:
        if error.errno in _LEFT_OUT:
            return found
        raise
    for name in names:
        if not name.startswith(PREFIX):
            with contextlib.suppress(OSError):
                found[name] = os.getxattr(path, name, follow_symlinks=False)
    return found


def _set_attribute(target: bytes, name: bytes, value: bytes) -> None:
    try:
        os.setxattr(target, name, value, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _LEFT_OUT:
            raise


def _copy_regular(source: bytes, target: bytes, *, content: bool) -> None:
    into = os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not content:
            return
        out_of = _open_source(source)
        try:
            size = os.fstat(out_of).st_size
            if not _share(out_of, into):
                _copy_data(out_of, into, size)
                os.ftruncate(into, size)
        finally:
            os.close(out_of)
    finally:
        os.close(into)


def _open_source(path: bytes) -> int:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(path, flags | os.O_NOATIME)
    except PermissionError:
        return os.open(path, flags)


def _share(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def _copy_data(source: int, target: int, size: int) -> None:
    at = 0
    while at < size:
        try:
            start = os.lseek(source, at, os.SEEK_DATA)
            end = os.lseek(source, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            start, end = at, size  # a file system that knows of no holes
        _copy_range(source, target, start, end)
        at = end


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        room = min(_CHUNK, end - start)
        try:
            done = os.copy_file_range(source, target, room, start, start)
        except OSError as error:
            if error.errno not in _UNSHARED:
                raise
            done = _copy_by_hand(source, target, start, min(room, 1 << 20))
        if not done:
            return
        start += done


def _copy_by_hand(source: int, target: int, at: int, room: int) -> int:
    data = os.pread(source, room, at)
    done = 0
    while done < len(data):
        done += os.pwrite(target, data[done:], at + done)
    return done
