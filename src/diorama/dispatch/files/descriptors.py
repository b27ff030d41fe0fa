"""Descriptors: calls on virtual files by descriptor that would show or change what stands for them."""

from __future__ import annotations

import errno
import stat
from typing import Final

from diorama.abi.fcntl import O_PATH
from diorama.catalogue.dirs import GetDents, GetDents64, ReadDir
from diorama.catalogue.files import FChMod, FChOwn, FileGetAttr, FStat, NameToHandleAt, UTimeNsAt
from diorama.catalogue.model import Request
from diorama.catalogue.mounts import FStatfs, FStatfs64
from diorama.catalogue.polling import InotifyAddWatch
from diorama.catalogue.xattr import (
    FGetXattr,
    FListXattr,
    FRemoveXattr,
    FSetXattr,
    GetXattr,
    GetXattrAt,
    LGetXattr,
    ListXattr,
    ListXattrAt,
    LListXattr,
)
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.objections import check_arguments
from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.translation import at_host, translate
from diorama.view.mounts import Place
from diorama.view.task import Task

LISTING: Final = frozenset({GetDents, GetDents64, ReadDir})
"""What concerns only directories of virtual objects, and those of the host with mount points of ours."""

LOOKING: Final = frozenset({FStat, FGetXattr, FListXattr}) | LISTING
"""What concerns only descriptors of virtual objects, of which there are none without such a file system."""

CHANGING: Final = frozenset({FChMod, FChOwn, FSetXattr, FRemoveXattr})
"""What concerns only descriptors on read-only mounts."""

TELLING: Final = frozenset({FStatfs, FStatfs64})
"""What concerns only descriptors of virtual objects and on read-only mounts."""


@answers(FChMod, FChOwn, FSetXattr, FRemoveXattr)
def change(files: Files, call: FChMod | FChOwn | FSetXattr | FRemoveXattr) -> Outcome:
    """Nothing changes on a read-only mount."""
    _refuse(files, call, call.fd)
    return None


@answers(UTimeNsAt)
def set_times(files: Files, call: UTimeNsAt) -> Outcome:
    """A NULL path means the descriptor."""
    if call.path is not None:
        return translate(files, call)
    _refuse(files, call, call.dirfd)
    return None


def _refuse(files: Files, call: Request, fd: int) -> None:
    task = files.task(call.tracee)
    mount = files.mount_of(task, fd)
    # That an O_PATH descriptor is not enough is said first, and by the kernel.
    if mount is not None and mount.read_only and not files.tasks.flags(task, fd) & O_PATH:
        check_arguments(call)
        raise fail(errno.EROFS)


@answers(FGetXattr)
def get_attribute(files: Files, call: FGetXattr) -> Outcome:
    """File systems of ours have no extended attributes."""
    if files.tasks.virtual(files.task(call.tracee), call.fd) is not None:
        raise fail(errno.EOPNOTSUPP)
    return None


@answers(FListXattr)
def list_attributes(files: Files, call: FListXattr) -> Outcome:
    """File systems of ours have no extended attributes."""
    return None if files.tasks.virtual(files.task(call.tracee), call.fd) is None else 0


@answers(GetXattr, LGetXattr, GetXattrAt, FileGetAttr, NameToHandleAt)
def get_attribute_at(files: Files, call: Request) -> Outcome:
    """As by descriptor; neither are there inode attributes and handles."""
    place = files.locate(call, call.PATHS[0])
    if place is not None and place.filesystem is not None:
        raise fail(errno.ENOENT if place.missing else errno.EOPNOTSUPP)
    return None if place is None else at_host(call, call.PATHS[0], place)


@answers(ListXattr, LListXattr, ListXattrAt)
def list_attributes_at(files: Files, call: Request) -> Outcome:
    """As by descriptor."""
    place = files.locate(call, call.PATHS[0])
    if place is not None and place.filesystem is not None:
        if place.missing:
            raise fail(errno.ENOENT)
        return 0
    return None if place is None else at_host(call, call.PATHS[0], place)


@answers(InotifyAddWatch)
def watch(files: Files, call: InotifyAddWatch) -> Outcome:
    """What stands for a virtual file is watched: nothing happens to either."""
    place = files.locate(call, call.PATHS[0])
    if place is None or place.filesystem is None:
        return None if place is None else at_host(call, call.PATHS[0], place)
    if place.missing:
        raise fail(errno.ENOENT)
    return call.replace(path=_stand_in(files, files.task(call.tracee), place))


def _stand_in(files: Files, task: Task, place: Place) -> bytes:
    assert place.filesystem is not None
    attributes = place.filesystem.attributes(place.inode)
    if attributes.kind == stat.S_IFDIR:
        return files.standins.directory(place)
    if attributes.kind != stat.S_IFREG:
        raise fail(errno.EACCES)
    return files.content(task, place, attributes).path
