"""Renaming: rename(2) and renameat2(2) in file systems of ours."""

from __future__ import annotations

import errno
import os
from typing import Final

from diorama.abi.fcntl import RENAME_EXCHANGE, RENAME_NOREPLACE
from diorama.catalogue.paths import RenameAt2
from diorama.dispatch.files.answers import Outcome
from diorama.dispatch.files.entries import Victim, check_may_change, check_may_make, is_dots
from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.synthetic import whole_path
from diorama.view.mounts import Place, is_within
from diorama.view.renaming import Renaming

__all__ = ["rename"]

_FLAGS: Final = RENAME_NOREPLACE | RENAME_EXCHANGE


def rename(files: Files, call: RenameAt2, old: Place | None, new: Place | None) -> Outcome:
    """Give a file of ours another name; at least one of the places is in a file system of ours."""
    flags = call.flags
    if flags & ~_FLAGS:
        raise fail(errno.EINVAL)  # a whiteout is for overlays, which we have by other means
    if flags & RENAME_EXCHANGE and flags & RENAME_NOREPLACE:
        raise fail(errno.EINVAL)
    if old is None or new is None:
        raise files.reason(call, call.PATHS[old is not None])
    if not old.path or is_dots(old):
        raise fail(errno.EBUSY)
    if not new.path or is_dots(new):
        raise fail(errno.EEXIST if flags & RENAME_NOREPLACE else errno.EBUSY)
    if old.mount is not new.mount:
        raise fail(errno.EXDEV)
    check_may_change(old.mount)
    filesystem = old.filesystem
    assert filesystem is not None
    with files.synthetic.naming(filesystem):
        _rename(files, call, old, new)
    return 0


def _rename(files: Files, call: RenameAt2, old: Place, new: Place) -> None:
    task, exchange = files.task(call.tracee), bool(call.flags & RENAME_EXCHANGE)
    source, target = Victim(files, task, old), Victim(files, task, new)
    _check_names(call, source, target, exchange=exchange)
    if source.inode == target.inode:
        return
    source.check_removal(as_directory=source.is_directory)
    if target.status is None:
        check_may_make(files, task, target.filesystem, new.directory)
    else:
        target.check_removal(as_directory=target.is_directory if exchange else source.is_directory)
    if old.directory != new.directory:
        _check_parents(source, target, exchange=exchange)
    if source.is_mount_point or target.is_mount_point:
        raise fail(errno.EBUSY)
    _do(files, source, target, call.flags)


def _check_names(call: RenameAt2, source: Victim, target: Victim, *, exchange: bool) -> None:
    """What Linux looks at before it asks for permissions."""
    if source.status is None:
        raise fail(errno.ENOENT)
    if call.flags & RENAME_NOREPLACE and target.status is not None:
        raise fail(errno.EEXIST)
    if exchange:
        if target.status is None:
            raise fail(errno.ENOENT)
        if not target.is_directory and target.place.slash:
            raise fail(errno.ENOTDIR)
    if not source.is_directory and (source.place.slash or (target.place.slash and not exchange)):
        raise fail(errno.ENOTDIR)
    old, new = source.place.path, target.place.path
    if old != new and is_within(new, old) and source.is_directory:
        raise fail(errno.EINVAL)
    if old != new and is_within(old, new):
        raise fail(errno.EINVAL if exchange else errno.ENOTEMPTY)


def _check_parents(source: Victim, target: Victim, *, exchange: bool) -> None:
    """A directory that gets another parent is written to: its `..` changes."""
    for one in (source, target) if exchange else (source,):
        if one.status is not None and one.is_directory and not one.who.permits(one.status, os.W_OK):
            raise fail(errno.EACCES)


def _do(files: Files, source: Victim, target: Victim, flags: int) -> None:
    filesystem, old, new = source.filesystem, source.place, target.place
    exchange = bool(flags & RENAME_EXCHANGE)
    assert source.inode is not None
    if exchange:
        assert target.inode is not None
        filesystem.exchange(old.directory, source.name, new.directory, target.name)
        inodes: tuple[int, ...] = (source.inode, target.inode)
    else:
        files.synthetic.keep_for_holders(filesystem, target.inode)
        rename_by = filesystem.rename_apart if flags & RENAME_NOREPLACE else filesystem.rename
        rename_by(old.directory, source.name, new.directory, target.name)
        inodes = (source.inode,)
        if target.inode is not None and target.status is not None:
            files.synthetic.lost(filesystem, whole_path(new), target.inode, target.status)
    files.listings.changed(filesystem, old.directory)
    files.listings.changed(filesystem, new.directory)
    files.standins.name_moved(filesystem, old.directory, source.name, new.directory, target.name)
    renaming = Renaming(filesystem, whole_path(old), whole_path(new), exchange)
    directories = source.is_directory or (exchange and target.is_directory)
    files.synthetic.moved(renaming, inodes, directories=directories)
