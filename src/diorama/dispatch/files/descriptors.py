"""Descriptors: calls on virtual files by descriptor that would show or change what stands for them."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from diorama.abi.fcntl import O_PATH
from diorama.abi.io import IN_ACCESS, IN_CLOSE_NOWRITE, IN_CLOSE_WRITE, IN_MODIFY, IN_OPEN
from diorama.catalogue.dirs import GetDents, GetDents64, ReadDir
from diorama.catalogue.files import (
    FChMod,
    FChOwn,
    FileGetAttr,
    FileSetAttr,
    FStat,
    OpenByHandleAt,
    UTimeNsAt,
)
from diorama.catalogue.io import Ioctl
from diorama.catalogue.model import Request
from diorama.catalogue.mounts import FStatfs, FStatfs64
from diorama.catalogue.polling import InotifyAddWatch
from diorama.catalogue.xattr import FGetXattr, FListXattr, FRemoveXattr, FSetXattr
from diorama.dispatch.files.answers import SYNTHETIC, Outcome, answers
from diorama.dispatch.files.layered_descriptors import change_open_file
from diorama.dispatch.files.layered_xattrs import look_at_open_file
from diorama.dispatch.files.objections import check_arguments, refuse_writing
from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.translation import at_host, translate
from diorama.errors import warn_once
from diorama.view.mounts import Place
from diorama.view.task import Task

LISTING: Final = frozenset({GetDents, GetDents64, ReadDir})
"""What concerns only directories of virtual objects, and those of the host with mount points of ours."""

_UNSEEN: Final = IN_ACCESS | IN_MODIFY | IN_OPEN | IN_CLOSE_WRITE | IN_CLOSE_NOWRITE

SHOWING: Final[frozenset[type[Request]]] = frozenset({FStat, FGetXattr, FListXattr})
"""What concerns only descriptors of virtual objects, and where owners are remembered."""

LOOKING: Final = SHOWING | LISTING
"""What concerns only descriptors of virtual objects, of which there are none without such a file system."""

CHANGING: Final = frozenset({FChMod, FChOwn, FSetXattr, FRemoveXattr, Ioctl, OpenByHandleAt})
"""What concerns only descriptors on read-only mounts and of virtual objects."""

TELLING: Final = frozenset({FStatfs, FStatfs64})
"""What concerns only descriptors of virtual objects and on read-only mounts."""


@answers(FChMod, FChOwn, FSetXattr, FRemoveXattr)
def change(files: Files, call: FChMod | FChOwn | FSetXattr | FRemoveXattr) -> Outcome:
    """Nothing changes on a read-only mount."""
    _refuse(files, call, call.fd)
    outcome = _virtual(files, call, call.fd)
    return change_open_file(files, call, call.fd) if outcome is None and files.has_layers else outcome


@answers(UTimeNsAt)
def set_times(files: Files, call: UTimeNsAt) -> Outcome:
    """A NULL path means the descriptor."""
    if call.path is not None:
        return translate(files, call)
    _refuse(files, call, call.dirfd)
    outcome = None if call.flags else _virtual(files, call, call.dirfd)
    return change_open_file(files, call, call.dirfd) if outcome is None and files.has_layers else outcome


def _refuse(files: Files, call: Request, fd: int) -> None:
    task = files.task(call.tracee)
    mount = files.mount_of(task, fd)
    # That an O_PATH descriptor is not enough is said first, and by the kernel.
    if mount is not None and mount.read_only and not files.tasks.flags(task, fd) & O_PATH:
        check_arguments(call)
        raise fail(errno.EROFS)


@answers(FGetXattr, FListXattr)
def look(files: Files, call: FGetXattr | FListXattr) -> Outcome:
    """Extended attributes of an open file."""
    outcome = _virtual(files, call, call.fd)
    return look_at_open_file(files, call) if outcome is None and files.has_layers else outcome


def _virtual(files: Files, call: Request, fd: int) -> Outcome:
    """The answer for what a descriptor refers to, if that is in a file system of ours."""
    task = files.task(call.tracee)
    place = files.tasks.virtual(task, fd)
    if place is None:
        return None
    if files.tasks.flags(task, fd) & O_PATH:
        raise fail(errno.EBADF)
    return SYNTHETIC[type(call)](files, call, place)


@answers(FileGetAttr, FileSetAttr)
def refuse_at(files: Files, call: Request) -> Outcome:
    """There are no inode attributes and no handles of virtual files."""
    place = files.locate(call, call.PATHS[0])
    if place is None or place.filesystem is None:
        return translate(files, call)
    if call.writes:
        refuse_writing(files, call, call.PATHS[0], place)
    raise fail(errno.ENOENT if place.missing else errno.EOPNOTSUPP)


@answers(InotifyAddWatch)
def watch(files: Files, call: InotifyAddWatch) -> Outcome:
    """What stands for a virtual file is watched: what happens to that happens to both.

    In layers a directory is where it changes, which is in the writable one.
    """
    place = files.find(call, call.PATHS[0]) if files.has_layers else None
    if place is not None and place.mount.layers is not None and not place.mount.read_only:
        layers, path = place.mount.layers.whole(place.path)
        is_directory = stat.S_ISDIR(layers.look(path).st_mode)
        return call.replace(path=layers.raise_directory(path) if is_directory else layers.real(path))
    place = files.locate(call, call.PATHS[0])
    if place is None or place.filesystem is None:
        return None if place is None else at_host(call, call.PATHS[0], place)
    if place.missing:
        raise fail(errno.ENOENT)
    return call.replace(path=_stand_in(files, files.task(call.tracee), place, call.mask))


def _stand_in(files: Files, task: Task, place: Place, mask: int) -> bytes:
    filesystem = place.filesystem
    assert filesystem is not None
    attributes = filesystem.attributes(place.inode)
    if not files.permits(task, attributes, os.R_OK):
        raise fail(errno.EACCES)
    if attributes.kind == stat.S_IFDIR:
        if mask & _UNSEEN:
            warn_once("inotify_add_watch", "on a directory of ours tells only of names and attributes")
        return files.standins.watch(place, lambda: [one.name for one in filesystem.entries(place.inode)])
    if attributes.kind != stat.S_IFREG:
        return files.stand_in(place, attributes)
    content = files.content(task, place, attributes, whole=True)
    content.is_watched = True
    return content.path
