"""Owned names: making, linking, renaming and removing what is remembered.

What is made belongs to the task that makes it; what the host cannot say is noted before the call returns.  A
device appears with its note, by one link(2) of a file without a name.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import AT_REMOVEDIR, RENAME_EXCHANGE, RENAME_NOREPLACE
from diorama.catalogue.paths import LinkAt, MkDirAt, MkNodAt, RenameAt2, SymlinkAt, UnlinkAt
from diorama.catalogue.sockets import Bind
from diorama.dispatch.files.answers import Outcome
from diorama.dispatch.files.lists import give_lists
from diorama.dispatch.files.making import may_link
from diorama.dispatch.files.objections import parent_of
from diorama.dispatch.files.owned import GOES_ON, GoesOn, check, look, on_owned, parent_attributes
from diorama.dispatch.files.state import Files, fail
from diorama.view.credentials import CAP_MKNOD
from diorama.view.mounts import Place

if TYPE_CHECKING:
    from diorama.catalogue.model import Request
    from diorama.view.filesystem import Attributes

__all__ = ["bind_owned", "make_file", "note_made"]

_CHANGING: Final = os.W_OK | os.X_OK
_DEVICES: Final = (stat.S_IFCHR, stat.S_IFBLK)
_NODES: Final = (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, *_DEVICES)
_DOTS: Final = (b"/.", b"/..")
_UNSUPPORTED: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT)


def _may_make(place: Place) -> bool:
    """Whether there can be a new name: if not, what is wrong is said as for any mount."""
    is_free = place.missing and not place.path.endswith(_DOTS)
    return is_free and parent_of(place) is place and not place.mount.read_only


def note_made(
    files: Files, call: Request, place: Place, mode: int, directory: Attributes, device: int | None = None
) -> None:
    """Let what was made, with this mode and type, belong to who has made it."""
    who = files.tasks.maker(files.task(call.tracee))
    seen, uid, gid = who.make(mode, directory)
    path, owners = place.mount.real(place.path), place.mount.owners
    assert owners is not None
    owners.change(path, os.lstat(path), uid=uid, gid=gid, mode=seen, device=device)
    give_lists(owners, path, os.lstat(path), directory, mode)


@on_owned(MkDirAt, MkNodAt, SymlinkAt)
def make(files: Files, call: MkDirAt | MkNodAt | SymlinkAt, place: Place) -> Outcome | GoesOn:
    """Make a directory, a file, a device or a link."""
    if not _may_make(place) or (place.slash and not isinstance(call, MkDirAt)):
        return GOES_ON
    kind = stat.S_IFMT(call.mode) or stat.S_IFREG if isinstance(call, MkNodAt) else 0
    if isinstance(call, MkNodAt) and kind not in _NODES:
        raise fail(errno.EPERM if kind == stat.S_IFDIR else errno.EINVAL)
    directory = parent_attributes(place)
    who = check(files, call, directory, _CHANGING)
    path = place.mount.real(place.path)
    if isinstance(call, MkDirAt):
        os.mkdir(path, 0o700)
        note_made(files, call, place, stat.S_IFDIR | call.mode & 0o1777, directory)
    elif isinstance(call, SymlinkAt):
        os.symlink(call.target, path)
        note_made(files, call, place, stat.S_IFLNK | 0o777, directory)
    elif kind in _DEVICES:
        if not who.has(CAP_MKNOD):
            raise fail(errno.EPERM)
        _make_device(files, call, place, kind, directory)
    else:
        os.mknod(path, kind | 0o600)
        note_made(files, call, place, kind | call.mode & 0o7777, directory)
    return 0


def make_file(files: Files, call: Request, place: Place, mode: int) -> None:
    """Make a regular file, for who may; EEXIST."""
    directory = parent_attributes(place)
    check(files, call, directory, _CHANGING)
    os.mknod(place.mount.real(place.path), stat.S_IFREG | 0o600)
    note_made(files, call, place, stat.S_IFREG | mode & 0o7777, directory)


def _make_device(files: Files, call: MkNodAt, place: Place, kind: int, directory: Attributes) -> None:
    """Make what stands for a device: an empty file with a note."""
    who = files.tasks.maker(files.task(call.tracee))
    mode, uid, gid = who.make(kind | call.mode & 0o7777, directory)
    path, owners = place.mount.real(place.path), place.mount.owners
    assert owners is not None
    above = os.path.dirname(path)
    owners.will_list_devices(above)
    try:
        fd = os.open(above, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        os.mknod(path, stat.S_IFREG | 0o600)
        owners.change(path, os.lstat(path), uid=uid, gid=gid, mode=mode, device=call.device)
        give_lists(owners, path, os.lstat(path), directory, kind | call.mode & 0o7777)
        return
    try:
        link = b"/proc/self/fd/%d" % fd
        owners.change(link, os.fstat(fd), uid=uid, gid=gid, mode=mode, device=call.device)
        give_lists(owners, link, os.fstat(fd), directory, kind | call.mode & 0o7777)
        # Only with a descriptor the library makes the call that follows links.
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.link(link, path, src_dir_fd=root, follow_symlinks=True)
        finally:
            os.close(root)
    finally:
        os.close(fd)


# -- removing and renaming ------------------------------------------------------------------------


def _check_victim(files: Files, call: Request, place: Place) -> None:
    """may_delete() of fs/namei.c."""
    directory = parent_attributes(place)
    who = check(files, call, directory, _CHANGING)
    if not who.may_replace(directory, look(place).attributes):
        raise fail(errno.EPERM)


def _is_name(place: Place) -> bool:
    return bool(place.path) and not place.path.endswith(_DOTS) and not place.mount.read_only


@on_owned(UnlinkAt)
def remove(files: Files, call: UnlinkAt, place: Place) -> GoesOn:
    """Who may write to a directory removes names in it."""
    if not place.missing and _is_name(place) and not call.flags & ~AT_REMOVEDIR:
        _check_victim(files, call, place)
    return GOES_ON


@on_owned(RenameAt2)
def rename(files: Files, call: RenameAt2, old: Place) -> GoesOn:
    """Both directories are written to, and a directory that gets another parent is, too."""
    new = files.find(call, call.PATHS[1], parent=True)
    if old.missing or new is None or new.mount.owners is not old.mount.owners:
        return GOES_ON
    if not (_is_name(old) and _is_name(new)):
        return GOES_ON
    if call.flags & RENAME_NOREPLACE and not new.missing:
        raise fail(errno.EEXIST)
    if _is_below(old, new) or _is_below(new, old):
        return GOES_ON  # which cannot be
    _check_victim(files, call, old)
    if new.missing:
        check(files, call, parent_attributes(new), _CHANGING)
    else:
        _check_victim(files, call, new)
    _mark(old, new)
    exchanges = bool(call.flags & RENAME_EXCHANGE)
    if not (new.missing or exchanges) and _is_directory(old) != _is_directory(new):
        return GOES_ON
    moved = [old, new] if exchanges and not new.missing else [old]
    if os.path.dirname(old.path) != os.path.dirname(new.path):
        for one in moved:
            found = look(one)
            if stat.S_ISDIR(found.status.st_mode):
                check(files, call, found.attributes, os.W_OK)
    return GOES_ON


def _is_below(place: Place, other: Place) -> bool:
    return place.path.startswith(other.path + b"/")


def _is_directory(place: Place) -> bool:
    return stat.S_ISDIR(look(place).status.st_mode)


@on_owned(LinkAt)
def link(files: Files, call: LinkAt, old: Place) -> GoesOn:
    """Another name for a file: its directory is written to."""
    new = None if old.missing else files.find(call, call.PATHS[1], parent=True)
    if new is None or new.mount.owners is not old.mount.owners or not _may_make(new):
        return GOES_ON
    who = files.tasks.credentials(files.task(call.tracee))
    if not may_link(who, look(old).attributes):
        raise fail(errno.EPERM)
    check(files, call, parent_attributes(new), _CHANGING)
    _mark(old, new)
    return GOES_ON


def _mark(old: Place, new: Place) -> None:
    """What stands for a device is about to get a name in another directory, or two are to change places."""
    for one, other in ((old, new), (new, old)):
        if not one.missing and (found := look(one)).seen.is_device:
            found.owners.will_list_devices(os.path.dirname(other.mount.real(other.path)))


# -- sockets --------------------------------------------------------------------------------------


def bind_owned(files: Files, call: Bind, place: Place, changed: Outcome) -> Outcome:
    """Bind a socket, whose name is to belong to who binds it; `changed` is the call to be made."""
    if not _may_make(place):
        return changed
    directory = parent_attributes(place)
    check(files, call, directory, _CHANGING)
    result = (changed if isinstance(changed, Bind) else call).run()
    with suppress(FileNotFoundError):
        note_made(files, call, place, stat.S_IFSOCK | 0o777, directory)
    return result
