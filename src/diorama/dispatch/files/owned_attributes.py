"""Owned attributes: chmod(2), chown(2), utimensat(2) and truncate(2) of what is remembered."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from diorama.abi.time import UTIME_NOW, UTIME_OMIT
from diorama.catalogue.files import FChMod, FChModAt2, FChOwn, FChOwnAt, Truncate, UTimeNsAt
from diorama.dispatch.files.answers import Outcome
from diorama.dispatch.files.attributes import may_give, number
from diorama.dispatch.files.objections import check_arguments
from diorama.dispatch.files.owned import GOES_ON, GoesOn, Remembered, check, look, on_owned
from diorama.dispatch.files.state import Files, fail
from diorama.view.credentials import CAP_FSETID, Credentials
from diorama.view.mounts import Place

if TYPE_CHECKING:
    from diorama.catalogue.model import Request

__all__ = ["drop_privileges"]

_CAPABILITY = b"security.capability"


def _begin(files: Files, call: Request, place: Place) -> tuple[Credentials, Remembered] | None:
    """Who asks, and what is there; None if that is not for us to change."""
    if place.missing or place.mount.read_only:
        return None
    if call.PATHS:
        check_arguments(call)
    return files.tasks.credentials(files.task(call.tracee)), look(place)


@on_owned(FChModAt2, FChMod)
def change_mode(files: Files, call: FChModAt2 | FChMod, place: Place) -> Outcome | GoesOn:
    """Remember permission bits."""
    begun = _begin(files, call, place)
    if begun is None:
        return GOES_ON
    who, found = begun
    if stat.S_ISLNK(found.status.st_mode):
        raise fail(errno.EOPNOTSUPP)
    if not who.owns(found.attributes):
        raise fail(errno.EPERM)
    mode = call.mode & 0o7777
    if not who.keeps_group_bit(found.seen.gid):
        mode &= ~stat.S_ISGID
    found.owners.change(found.path, found.status, mode=mode)
    return 0


@on_owned(FChOwnAt, FChOwn)
def change_owner(files: Files, call: FChOwnAt | FChOwn, place: Place) -> Outcome | GoesOn:
    """Remember owner and group."""
    begun = _begin(files, call, place)
    if begun is None:
        return GOES_ON
    who, found = begun
    was, uid, gid = found.attributes, number(call.owner), number(call.group)
    lost = who.drops(was)
    if not may_give(who, was, uid, gid) or (lost and not who.owns(was)):
        raise fail(errno.EPERM)
    if found.seen.marked:
        _drop_capability(found)
    found.owners.change(found.path, found.status, uid=uid, gid=gid, drops=lost)
    return 0


@on_owned(UTimeNsAt)
def change_times(files: Files, call: UTimeNsAt, place: Place) -> GoesOn:
    """Any times are the owner's to set, the present also that of who may write."""
    begun = _begin(files, call, place)
    if begun is None:
        return GOES_ON
    who, found = begun
    times = call.times.read() if call.times else None
    if times is not None and times.atime_nsec == times.mtime_nsec == UTIME_OMIT:
        return GOES_ON
    if who.owns(found.attributes):
        return GOES_ON
    if times is not None and not times.atime_nsec == times.mtime_nsec == UTIME_NOW:
        raise fail(errno.EPERM)
    check(files, call, found.attributes, os.W_OK)
    return GOES_ON


@on_owned(Truncate)
def truncate(files: Files, call: Truncate, place: Place) -> GoesOn:
    """Who may write may truncate."""
    begun = _begin(files, call, place)
    if begun is None or not stat.S_ISREG(begun[1].seen.mode):
        return GOES_ON
    who, found = begun
    check(files, call, found.attributes, os.W_OK)
    drop_privileges(who, found)
    return GOES_ON


def drop_privileges(who: Credentials, found: Remembered) -> None:
    """Clear what a file loses when it is written to; the host has never had it."""
    lost = 0 if who.has(CAP_FSETID) else who.drops(found.attributes)
    if found.seen.marked:
        _drop_capability(found)
    if lost:
        found.owners.change(found.path, found.status, drops=lost)


def _drop_capability(found: Remembered) -> None:
    found.owners.set_attribute(found.path, found.status, _CAPABILITY, None)
