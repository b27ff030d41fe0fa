"""Owned status: stat(2) and access(2) of what is remembered."""

from __future__ import annotations

import errno
import os
import stat

from diorama.abi.fcntl import AT_EACCESS, AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW
from diorama.abi.stat import split_device
from diorama.catalogue.files import FAccessAt2, FStat, FStatAt, Statx
from diorama.catalogue.paths import ChDir, ChRoot, FChDir
from diorama.catalogue.polling import InotifyAddWatch
from diorama.dispatch.files.answers import Outcome
from diorama.dispatch.files.identities import write_with_ids
from diorama.dispatch.files.objections import check_arguments
from diorama.dispatch.files.owned import GOES_ON, GoesOn, Remembered, check, look, on_owned
from diorama.dispatch.files.shown import stat_of, statx_of
from diorama.dispatch.files.state import Files, fail
from diorama.view.mounts import Place

_FLAGS = AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH


@on_owned(FStatAt, FStat)
def show(_files: Files, call: FStatAt | FStat, place: Place) -> Outcome | GoesOn:
    """Status."""
    if place.missing:
        return GOES_ON
    if isinstance(call, FStatAt):
        check_arguments(call)
    found = look(place)
    seen = found.seen
    call.status.write(
        stat_of(
            found.status, st_uid=seen.uid, st_gid=seen.gid, st_mode=seen.mode, st_rdev=seen.device
        )
    )
    return 0


@on_owned(Statx)
def show_extended(files: Files, call: Statx, place: Place) -> Outcome | GoesOn:
    """Extended status."""
    if place.missing:
        return GOES_ON
    check_arguments(call)
    found = look(place)
    seen = found.seen
    major, minor = split_device(seen.device)
    shown = statx_of(found.path, call, follow=bool(place.link)).replace(
        stx_uid=seen.uid, stx_gid=seen.gid, stx_mode=seen.mode, stx_rdev_major=major, stx_rdev_minor=minor
    )
    write_with_ids(files, call, place, shown)
    return 0


@on_owned(FAccessAt2)
def access(files: Files, call: FAccessAt2, place: Place) -> Outcome | GoesOn:
    """Permissions."""
    if place.missing or call.flags & ~_FLAGS or call.mode & ~7:
        return GOES_ON
    who = files.tasks.credentials(files.task(call.tracee))
    who = who if call.flags & AT_EACCESS else who.real()
    found = look(place)
    if not who.permits(found.attributes, call.mode):
        raise fail(errno.EACCES)
    return GOES_ON if place.mount.is_restricted else 0


@on_owned(ChDir, FChDir, ChRoot)
def enter(files: Files, call: ChDir | FChDir | ChRoot, place: Place) -> Outcome | GoesOn:
    """Only who may search a directory enters it."""
    if not place.missing and _is_directory(found := look(place)):
        check(files, call, found.attributes, os.X_OK)
    return GOES_ON


@on_owned(InotifyAddWatch)
def watch(files: Files, call: InotifyAddWatch, place: Place) -> Outcome | GoesOn:
    """Who may read a file may watch it."""
    if not place.missing:
        check(files, call, look(place).attributes, os.R_OK)
    return GOES_ON


def _is_directory(found: Remembered) -> bool:
    return stat.S_ISDIR(found.status.st_mode)
