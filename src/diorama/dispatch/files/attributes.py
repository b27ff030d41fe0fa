"""Attributes: chmod(2), chown(2), utimensat(2) and truncate(2) in file systems of ours."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW
from diorama.abi.time import UTIME_NOW, UTIME_OMIT
from diorama.catalogue.files import FChMod, FChModAt2, FChOwn, FChOwnAt, Truncate, UTimeNsAt
from diorama.dispatch.files.answers import Outcome, on_synthetic
from diorama.dispatch.files.entries import check_may_change
from diorama.dispatch.files.state import Files, fail
from diorama.view.asking import now
from diorama.view.credentials import CAP_CHOWN, CAP_FSETID, Credentials
from diorama.view.filesystem import Attributes, Changes
from diorama.view.mounts import Place

if TYPE_CHECKING:
    from diorama.abi.time import Times
    from diorama.catalogue.model import Request
    from diorama.view.task import Task

__all__ = ["drop_special_bits", "may_give", "number"]

_FLAGS: Final = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH
_NOBODY: Final = (-1, 0xFFFFFFFF)
_NSEC: Final = 10**9


def _look(files: Files, call: Request, place: Place, flags: int = 0) -> tuple[Credentials, Attributes]:
    """Who asks, and the status of what he wants to change."""
    if flags & ~_FLAGS:
        raise fail(errno.EINVAL)
    if place.missing:
        raise fail(errno.ENOENT)
    check_may_change(place.mount)
    assert place.filesystem is not None
    who = files.tasks.credentials(files.task(call.tracee))
    return who, files.synthetic.attributes(place.filesystem, place.inode)


@on_synthetic(FChModAt2, FChMod)
def change_mode(files: Files, call: FChModAt2 | FChMod, place: Place) -> Outcome:
    """Change permission bits."""
    who, was = _look(files, call, place, call.flags if isinstance(call, FChModAt2) else 0)
    if was.kind == stat.S_IFLNK:
        raise fail(errno.EOPNOTSUPP)
    if not who.owns(was):
        raise fail(errno.EPERM)
    mode = call.mode & 0o7777
    if not who.keeps_group_bit(was.gid):
        mode &= ~stat.S_ISGID
    files.synthetic.change(place, Changes(mode=mode))
    return 0


@on_synthetic(FChOwnAt, FChOwn)
def change_owner(files: Files, call: FChOwnAt | FChOwn, place: Place) -> Outcome:
    """Change owner and group."""
    who, was = _look(files, call, place, call.flags if isinstance(call, FChOwnAt) else 0)
    uid, gid = number(call.owner), number(call.group)
    lost = who.drops(was)
    if not may_give(who, was, uid, gid) or (lost and not who.owns(was)):
        raise fail(errno.EPERM)
    mode = stat.S_IMODE(was.mode) & ~lost if lost else None
    files.synthetic.change(place, Changes(mode=mode, uid=uid, gid=gid))
    return 0


def number(id: int) -> int | None:
    """A user or group as chown(2) takes it; None for the one that says that it stays."""
    return None if id in _NOBODY else id


def may_give(who: Credentials, was: Attributes, uid: int | None, gid: int | None) -> bool:
    """Whether a file may be given to this owner and group."""
    if who.has(CAP_CHOWN) or was.unchecked:
        return True
    if uid is not None and not who.uid == was.uid == uid:
        return False
    return gid is None or (who.uid == was.uid and (who.is_in_group(gid) or gid == was.gid))


@on_synthetic(UTimeNsAt)
def change_times(files: Files, call: UTimeNsAt, place: Place) -> Outcome:
    """Set the times: any to the owner, the present also to who may write."""
    times = call.times.read() if call.times else None
    if times is not None and times.atime_nsec == times.mtime_nsec == UTIME_OMIT:
        return 0
    who, was = _look(files, call, place, call.flags)
    time = now()
    if times is None or times.atime_nsec == times.mtime_nsec == UTIME_NOW:
        if not who.owns(was) and not who.permits(was, os.W_OK):
            raise fail(errno.EACCES)
        files.synthetic.change(place, Changes(accessed=time, modified=time))
        return 0
    changes = _explicit(times, time)
    if not who.owns(was):
        raise fail(errno.EPERM)
    files.synthetic.change(place, changes)
    return 0


def _explicit(times: Times, time: int) -> Changes:
    accessed = _chosen(times.atime, times.atime_nsec, time)
    return Changes(accessed=accessed, modified=_chosen(times.mtime, times.mtime_nsec, time))


def _chosen(seconds: int, nanoseconds: int, time: int) -> int | None:
    if nanoseconds == UTIME_OMIT:
        return None
    if nanoseconds == UTIME_NOW:
        return time
    if not 0 <= nanoseconds < _NSEC:
        raise fail(errno.EINVAL)
    return seconds * _NSEC + nanoseconds


@on_synthetic(Truncate)
def truncate(files: Files, call: Truncate, place: Place) -> Outcome:
    """Set the length of a file by its path; by descriptor the kernel does it."""
    if call.length < 0:
        raise fail(errno.EINVAL)
    if place.missing:
        raise fail(errno.ENOENT)
    filesystem = place.filesystem
    assert filesystem is not None
    kind = filesystem.attributes(place.inode).kind
    if kind != stat.S_IFREG:
        raise fail(errno.EISDIR if kind == stat.S_IFDIR else errno.EINVAL)
    who, was = _look(files, call, place)
    if not who.permits(was, os.W_OK):
        raise fail(errno.EACCES)
    with files.synthetic.contents.kept(filesystem, place.inode) as content:
        if content is not None:
            files.synthetic.contents.truncate(content, call.length)
        else:
            files.synthetic.change(place, Changes(size=call.length, modified=now()))
    drop_special_bits(files, files.task(call.tracee), place, was)
    return 0


def drop_special_bits(files: Files, task: Task, place: Place, was: Attributes) -> None:
    """Clear what a file loses when it is truncated by this task, for which the kernel would see us."""
    who = files.tasks.credentials(task)
    lost = 0 if who.has(CAP_FSETID) else who.drops(was)
    if lost:
        files.synthetic.change(place, Changes(mode=stat.S_IMODE(was.mode) & ~lost))
