"""Layered status: what stat(2) and access(2) say of files that were copied up.

A copy is the file that it was: it keeps device and inode number, and where an ordinary user's copy cannot
have the owner, what is to be seen was recorded.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from typing import Final

from diorama.abi.arch import Abi
from diorama.abi.fcntl import AT_EACCESS, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from diorama.abi.numbers import NUMBERS
from diorama.abi.stat import Stat, StatX, split_device
from diorama.catalogue.files import FAccessAt2, FStat, FStatAt, Statx
from diorama.dispatch.files.answers import Outcome
from diorama.dispatch.files.layered import may, whole
from diorama.dispatch.files.objections import check_arguments
from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.translation import at_host
from diorama.engine.ourcall import make_call
from diorama.view.layers import WholeLayers
from diorama.view.mounts import Place

__all__ = ["access_layered", "fstat_layered", "stat_layered", "statx_layered"]

_STATX: Final = NUMBERS[Abi.native()[0].title]["statx"]
_STATX_SIZE: Final = 256
_NSEC: Final = 10**9


def stat_layered(files: Files, call: FStatAt, place: Place) -> Outcome:
    """Status by path."""
    check_arguments(call)
    layers, path = whole(place)
    found = layers.find(path)
    ours = layers.is_changed(found) and files.has_our_rights(call.tracee)
    if not ours and not _is_patched(layers, found.real, found.status):
        return at_host(call, call.PATHS[0], place)
    call.status.write(_stat(layers, found.real, found.status))
    return 0


def statx_layered(call: Statx, place: Place) -> StatX | None:
    """Extended status by path; None where that is the kernel's own."""
    layers, path = whole(place)
    check_arguments(call)
    found = layers.find(path)
    if not _is_patched(layers, found.real, found.status):
        return None
    return _patched(layers, found.real, found.status, _statx(found.real, call))


def fstat_layered(files: Files, call: FStat | FStatAt | Statx, fd: int) -> Outcome:
    """Status of a descriptor; None where that is the kernel's own."""
    task = files.task(call.tracee)
    try:
        if fd == AT_FDCWD:
            place, link = files.tasks.cwd(task), b"/proc/%d/cwd" % task.tid
        else:
            place, link = files.tasks.descriptor(task, fd), b"/proc/%d/fd/%d" % (task.tid, fd)
        if place.mount.layers is None:
            return None
        status, real = os.stat(link), os.readlink(link)
    except OSError:
        return None
    layers, path = whole(place)
    real, status = _as_seen(layers, path, real, status)
    if not _is_patched(layers, real, status):
        return None
    if isinstance(call, Statx):
        call.status.write(_patched(layers, real, status, _statx(real, call)))
    else:
        call.status.write(_stat(layers, real, status))
    return 0


def access_layered(files: Files, call: FAccessAt2, place: Place) -> Outcome:
    """Permissions."""
    layers, path = whole(place)
    if call.flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW) or call.mode & ~7:
        return at_host(call, call.PATHS[0], place)
    found = layers.find(path)
    is_special = stat.S_IFMT(found.status.st_mode) not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
    if is_special or not call.mode:
        return at_host(call, call.PATHS[0], place)
    if not may(files, call.tracee, layers, found, call.mode):
        raise fail(errno.EACCES)
    return 0


def _as_seen(
    layers: WholeLayers, path: bytes, real: bytes, status: os.stat_result
) -> tuple[bytes, os.stat_result]:
    """What a descriptor's file is now: the copy, if it has been copied up since it was opened."""
    try:
        found = layers.find(path)
    except OSError:
        return real, status
    own = status.st_dev, status.st_ino
    if own != (found.status.st_dev, found.status.st_ino) and own == layers.original(found.status):
        return found.real, found.status
    return real, status


def _is_patched(layers: WholeLayers, real: bytes, status: os.stat_result) -> bool:
    own = status.st_dev, status.st_ino
    return layers.identity(status) != own or layers.real_owner(real, status.st_mode) is not None


def _stat(layers: WholeLayers, real: bytes, status: os.stat_result) -> Stat:
    device, inode = layers.identity(status)
    owner = layers.real_owner(real, status.st_mode)
    uid, gid, mode = (status.st_uid, status.st_gid, status.st_mode)
    if owner is not None:
        uid, gid, mode = owner.uid, owner.gid, stat.S_IFMT(mode) | owner.mode
    return Stat(
        st_dev=device,
        st_ino=inode,
        st_mode=mode,
        st_nlink=status.st_nlink,
        st_uid=uid,
        st_gid=gid,
        st_rdev=status.st_rdev,
        st_size=status.st_size,
        st_blksize=status.st_blksize,
        st_blocks=status.st_blocks,
        st_atime=status.st_atime_ns // _NSEC,
        st_atime_nsec=status.st_atime_ns % _NSEC,
        st_mtime=status.st_mtime_ns // _NSEC,
        st_mtime_nsec=status.st_mtime_ns % _NSEC,
        st_ctime=status.st_ctime_ns // _NSEC,
        st_ctime_nsec=status.st_ctime_ns % _NSEC,
    )


def _statx(real: bytes, call: Statx) -> StatX:
    """What the kernel says of a host path."""
    path = ctypes.create_string_buffer(real)
    room = ctypes.create_string_buffer(_STATX_SIZE)
    flags = call.flags & 0x6000 | AT_SYMLINK_NOFOLLOW
    make_call(_STATX, AT_FDCWD, ctypes.addressof(path), flags, call.mask, ctypes.addressof(room))
    return StatX.unpack(Abi.native()[0], room.raw)


def _patched(layers: WholeLayers, real: bytes, status: os.stat_result, found: StatX) -> StatX:
    device, inode = layers.identity(status)
    major, minor = split_device(device)
    owner = layers.real_owner(real, status.st_mode)
    changes: dict[str, int] = {}
    if owner is not None:
        mode = stat.S_IFMT(found.stx_mode) | owner.mode
        changes = {"stx_uid": owner.uid, "stx_gid": owner.gid, "stx_mode": mode}
    return found.replace(stx_dev_major=major, stx_dev_minor=minor, stx_ino=inode, **changes)
