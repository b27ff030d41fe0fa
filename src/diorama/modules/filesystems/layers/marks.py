"""Marks: how the upper of several directories says that a name below it is gone.

As the kernel's overlayfs with the option `userxattr` (Documentation/filesystems/overlayfs.rst): a whiteout is
a character device 0/0, and where that cannot be made an empty file with an extended attribute, in a directory
that is marked to contain such; a directory that hides those of the same path below it is marked opaque.

One mark is ours: owner and permissions of a file that was copied up by somebody who may not reproduce them.
Its name begins as overlayfs's own, so that the kernel's overlay does not show it either.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Final, NamedTuple

from diorama.view.layers import PRIVATE_XATTRS

__all__ = [
    "PREFIX",
    "Marks",
    "Owner",
    "has_marked_files",
    "is_opaque",
    "is_whiteout",
    "owner_of",
    "record_owner",
    "set_opaque",
]

PREFIX: Final = PRIVATE_XATTRS
_OPAQUE: Final = b"user.overlay.opaque"
_WHITEOUT: Final = b"user.overlay.whiteout"
_OWNER: Final = b"user.overlay.diorama.owner"
_ABSENT: Final = (errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.ENOENT, errno.ELOOP)
_REFUSED: Final = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


class Owner(NamedTuple):
    """What a copied-up file should be, where its copy cannot be that: owner, group, permission bits."""

    uid: int
    gid: int
    mode: int


def _get(path: bytes, name: bytes) -> bytes | None:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def is_whiteout(status: os.stat_result, path: bytes) -> bool:
    """Whether what is at `path`, with this status, says that there is nothing."""
    if stat.S_ISCHR(status.st_mode):
        return status.st_rdev == 0
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        return _get(path, _WHITEOUT) is not None
    return False


def is_opaque(directory: bytes) -> bool:
    """Whether a directory hides those of the same path below it."""
    return _get(directory, _OPAQUE) == b"y"


def has_marked_files(directory: bytes) -> bool:
    """Whether whiteouts in a directory may be marked files."""
    return _get(directory, _OPAQUE) == b"x"


def set_opaque(directory: bytes) -> None:
    """Let a directory hide those of the same path below it.

    It can say only one thing of itself, so it keeps no whiteouts that are marked files: they would be files.
    """
    if has_marked_files(directory):
        _drop_marked(directory)
    os.setxattr(directory, _OPAQUE, b"y")


def _drop_marked(directory: bytes) -> None:
    with os.scandir(directory) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and is_whiteout(status, entry.path):
                os.unlink(entry.path)


def owner_of(path: bytes, mode: int) -> Owner | None:
    """What a copied-up file should be, if that was recorded; `mode` tells its type."""
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return None
    value = _get(path, _OWNER)
    if value is None:
        return None
    try:
        uid, gid, bits, *_ = value.split()  # where owners are remembered, there may be more
        return Owner(int(uid), int(gid), int(bits, 8))
    except ValueError:
        return None


def record_owner(path: bytes, owner: Owner | None) -> None:
    """Record what a file should be, or that it is that."""
    if owner is not None:
        os.setxattr(path, _OWNER, b"%d %d %o" % owner, follow_symlinks=False)
        return
    with contextlib.suppress(OSError):
        os.removexattr(path, _OWNER, follow_symlinks=False)


class Marks:
    """How whiteouts are made on one file system; `devices` forces the form."""

    def __init__(self, work: bytes, *, devices: bool | None = None) -> None:
        self.devices = self._may_make_devices(work) if devices is None else devices

    @staticmethod
    def _may_make_devices(work: bytes) -> bool:
        path = work + b"/probe"
        try:
            os.mknod(path, stat.S_IFCHR, 0)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            return False
        os.unlink(path)
        return True

    def make_whiteout(self, path: bytes) -> None:
        """Make one, at a place of its own; it is for the directory that `admit` is asked about."""
        if self.devices:
            os.mknod(path, stat.S_IFCHR, 0)
            return
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        os.setxattr(path, _WHITEOUT, b"y")

    def admit(self, directory: bytes) -> None:
        """Mark a directory that is to contain a whiteout, if that is needed."""
        if not self.devices and _get(directory, _OPAQUE) is None:
            os.setxattr(directory, _OPAQUE, b"x")
