"""Layered status: what stat(2) and access(2) say of files that were copied up.

A copy is the file that it was: it keeps device and inode number, and where an ordinary user's copy cannot
have the owner, what is to be seen was recorded.
"""

from __future__ import annotations

import errno
import os
import stat

from diorama.abi.fcntl import AT_EACCESS, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from diorama.abi.stat import Stat, StatX, split_device
from diorama.catalogue.files import FAccessAt2, FStat, FStatAt, Statx
from diorama.dispatch.files.answers import Outcome
from diorama.dispatch.files.layered import may, whole
from diorama.dispatch.files.objections import check_arguments
from diorama.dispatch.files.shown import stat_of, statx_of
from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.translation import at_host
from diorama.view.layers import WholeLayers
from diorama.view.mounts import Place

__all__ = ["access_layered", "fstat_layered", "stat_layered", "statx_layered"]


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
    return _patched(layers, found.real, found.status, statx_of(found.real, call))


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
        call.status.write(_patched(layers, real, status, statx_of(real, call)))
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
    if owner is None:
        return stat_of(status, st_dev=device, st_ino=inode)
    mode = stat.S_IFMT(status.st_mode) | owner.mode
    return stat_of(status, st_dev=device, st_ino=inode, st_uid=owner.uid, st_gid=owner.gid, st_mode=mode)


def _patched(layers: WholeLayers, real: bytes, status: os.stat_result, found: StatX) -> StatX:
    device, inode = layers.identity(status)
    major, minor = split_device(device)
    owner = layers.real_owner(real, status.st_mode)
    changes: dict[str, int] = {}
    if owner is not None:
        mode = stat.S_IFMT(found.stx_mode) | owner.mode
        changes = {"stx_uid": owner.uid, "stx_gid": owner.gid, "stx_mode": mode}
    return found.replace(stx_dev_major=major, stx_dev_minor=minor, stx_ino=inode, **changes)
