"""Loose: mounts that a program has as a descriptor, open_tree(2), move_mount(2) and mount_setattr(2).

The descriptor is one of a directory of ours, or an empty file, that stands for the root of the mount,
whatever that is a mount of.  So paths that begin at it are walked in the mount before it is put anywhere and
after; and when the last such descriptor is closed, and it is nowhere else, it is gone.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from diorama.abi import mount as abi
from diorama.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_NO_AUTOMOUNT, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW
from diorama.abi.mount import MountAttr
from diorama.catalogue.files import OpenAt
from diorama.catalogue.model import PathRule, Request
from diorama.catalogue.mounts import MountSetAttr, MoveMount, OpenTree, OpenTreeAttr
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.mounting import is_mounted
from diorama.dispatch.files.mounts import (
    OPTIONS,
    change_propagation,
    check_locked,
    set_flags,
    sources_of,
)
from diorama.dispatch.files.opening import open_at
from diorama.dispatch.files.sources import kind_of
from diorama.dispatch.files.state import Files, fail
from diorama.errors import Unsupported
from diorama.view.mounts import Mount, Place, below

__all__ = ["attributes_of", "give_root"]

_AT: Final = AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW
_ATIME: Final = abi.MOUNT_ATTR_NOATIME | abi.MOUNT_ATTR_STRICTATIME
_ATTRIBUTES: Final = (
    abi.MOUNT_ATTR_RDONLY
    | abi.MOUNT_ATTR_NOSUID
    | abi.MOUNT_ATTR_NODEV
    | abi.MOUNT_ATTR_NOEXEC
    | abi.MOUNT_ATTR_NODIRATIME
    | abi.MOUNT_ATTR_NOSYMFOLLOW
    | _ATIME
)
_SIZE_MIN: Final = 32
_SIZE_MAX: Final = 4096


def attributes_of(bits: int) -> tuple[list[str], bool]:
    """The options that stand for MOUNT_ATTR_* bits, and whether it is read-only; EINVAL."""
    if bits & ~_ATTRIBUTES or bits & _ATIME == _ATIME:
        raise fail(errno.EINVAL)
    return [name for _, attribute, name in OPTIONS if bits & attribute], bool(bits & abi.MOUNT_ATTR_RDONLY)


def give_root(files: Files, call: Request, mount: Mount, flags: int) -> Request:
    """Have the program get a descriptor of the root of a loose mount, with O_CLOEXEC or not."""
    path = files.standins.mark(mount.root._replace(touched=True, stands=True), mount.kind)
    files.mounting.hand_out(files.task(call.tracee), mount)
    # Its directory may be the first of ours that there is.
    files.mounting.on_change()
    return call.instead(OpenAt(AT_FDCWD, path, os.O_PATH | os.O_NOFOLLOW | flags & os.O_CLOEXEC, 0))


def _place(files: Files, call: Request, rule: PathRule, *, missing: bool = False) -> Place:
    path, dirfd = getattr(call, rule.field), rule.dirfd(call)
    follow, empty = rule.follows(call), rule.accepts_empty(call)
    return sources_of(files, call).find(path, dirfd, follow=follow, accepts_empty=empty, missing=missing)


@answers(OpenTree)
def open_tree(files: Files, call: OpenTree) -> Outcome:
    """A descriptor of what is at a path, or of a copy of what is mounted there."""
    if call.flags & ~(_AT | abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC):
        raise fail(errno.EINVAL)
    if call.flags & (AT_RECURSIVE | abi.OPEN_TREE_CLONE) == AT_RECURSIVE:
        raise fail(errno.EINVAL)
    return _copied(files, call) if call.flags & abi.OPEN_TREE_CLONE else _opened(files, call)


@answers(OpenTreeAttr)
def open_tree_attr(files: Files, call: OpenTreeAttr) -> Outcome:
    """As open_tree, with other attributes."""
    if not call.flags & abi.OPEN_TREE_CLONE:
        raise Unsupported(call.NAME, "without a copy is not supported in a view with mounts", errno.EINVAL)
    asked = _asked(call)
    return _copied(files, call, asked)


def _opened(files: Files, call: OpenTree) -> Outcome:
    flags = os.O_PATH | (call.flags & abi.OPEN_TREE_CLOEXEC)
    if call.flags & AT_SYMLINK_NOFOLLOW:
        flags |= os.O_NOFOLLOW
    if not call.path:
        if not call.flags & AT_EMPTY_PATH:
            raise fail(errno.ENOENT)
        return None  # a descriptor of what is open here already, which the kernel makes
    return open_at(files, call.instead(OpenAt(call.dirfd, call.path, flags, 0)))


def _copied(
    files: Files, call: OpenTree | OpenTreeAttr, asked: tuple[MountAttr, int] | None = None
) -> Outcome:
    recursive = bool(call.flags & AT_RECURSIVE)
    place = _place(files, call, call.PATHS[0])
    made = files.mounting.bind(place, sources_of(files, call), recursive=recursive)
    try:
        if asked is not None:
            _change(files, made, asked, recursive=recursive)
        return give_root(files, call, made, call.flags)
    except BaseException:
        files.mounting.discard(made)
        raise


@answers(MoveMount)
def move_mount(files: Files, call: MoveMount) -> Outcome:
    """Put a mount on a place: one that is nowhere yet, or from elsewhere.

    Where there is nothing, a device can be put, which mknod(2) would make.
    """
    known = abi.MOVE_MOUNT_SET_GROUP | abi.MOVE_MOUNT_BENEATH
    for name in ("SYMLINKS", "AUTOMOUNTS", "EMPTY_PATH"):
        known |= getattr(abi, f"MOVE_MOUNT_F_{name}") | getattr(abi, f"MOVE_MOUNT_T_{name}")
    if call.flags & ~known:
        raise fail(errno.EINVAL)
    if call.flags & (abi.MOVE_MOUNT_SET_GROUP | abi.MOVE_MOUNT_BENEATH):
        raise Unsupported(call.NAME, "groups, and beneath a mount, are not supported in a view", errno.EINVAL)
    task = files.task(call.tracee)
    source = _place(files, call, call.PATHS[0])
    mount = source.mount
    is_loose = is_mounted(source) and mount.is_loose
    is_device = mount.filesystem is not None and stat.S_IFMT(mount.kind) in (stat.S_IFCHR, stat.S_IFBLK)
    target = _place(files, call, call.PATHS[1], missing=is_loose and is_device)
    if target.missing:
        files.mounting.attach_new(task.tree, mount, target)
    elif is_loose:
        if stat.S_ISDIR(mount.kind) != stat.S_ISDIR(kind_of(files, target)):
            raise fail(errno.EINVAL)
        files.mounting.attach(task.tree, mount, target)
    else:
        files.mounting.move(task.tree, source, target)
    files.mounting.settled(task)
    return 0


@answers(MountSetAttr)
def set_attributes(files: Files, call: MountSetAttr) -> Outcome:
    """Change what a mount lets do."""
    if call.flags & ~_AT:
        raise fail(errno.EINVAL)
    asked = _asked(call)
    place = _place(files, call, call.PATHS[0])
    recursive = bool(call.flags & AT_RECURSIVE)
    attr = asked[0]
    if attr.propagation:
        change_propagation(place, attr.propagation)
    if not (attr.attr_set or attr.attr_clr):
        return 0
    if not (is_mounted(place) and place.mount.is_loose):
        files.mounting.check_own(files.task(call.tracee).tree, call.NAME, place)
    _change(files, place.mount, asked, recursive=recursive)
    return 0


def _asked(call: MountSetAttr | OpenTreeAttr) -> tuple[MountAttr, int]:
    """What is to be set, and what to be kept of the attributes; E2BIG, EINVAL."""
    if call.size > _SIZE_MAX:
        raise fail(errno.E2BIG)
    if call.size < _SIZE_MIN:
        raise fail(errno.EINVAL)
    data = call.tracee.memory.read(call.attributes.address, call.size)
    if data[_SIZE_MIN:].strip(b"\0"):
        raise fail(errno.E2BIG)
    attr = MountAttr.unpack(call.tracee.abi, data[:_SIZE_MIN])
    if (attr.attr_set | attr.attr_clr) & abi.MOUNT_ATTR_IDMAP:
        raise Unsupported(call.NAME, "mapped ids are not supported in a view with mounts", errno.EINVAL)
    if attr.attr_set & ~_ATTRIBUTES or attr.attr_clr & ~_ATTRIBUTES:
        raise fail(errno.EINVAL)
    # The times of access are one choice of several, which is made anew or not at all.
    if attr.attr_clr & _ATIME not in (0, _ATIME) or (attr.attr_set & _ATIME and not attr.attr_clr & _ATIME):
        raise fail(errno.EINVAL)
    return attr, ~attr.attr_clr


def _change(files: Files, top: Mount, asked: tuple[MountAttr, int], *, recursive: bool) -> None:
    attr, kept = asked
    names, read_only = attributes_of(attr.attr_set)
    mounts = list(below(top)) if recursive else [top]
    flags = [(mount, _flags(mount, names, kept)) for mount in mounts]
    for mount, now in flags:
        check_locked(mount, now)
    if read_only or not kept & abi.MOUNT_ATTR_RDONLY:
        files.mounting.set_read_only(mounts, read_only=read_only)
    for mount, now in flags:
        set_flags(mount, now)


def _flags(mount: Mount, names: list[str], kept: int) -> list[str]:
    old = [name for _, bit, name in OPTIONS if name in mount.options and kept & bit]
    return [*old, *(name for name in names if name not in old)]
