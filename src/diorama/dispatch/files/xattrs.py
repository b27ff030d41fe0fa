"""Xattrs: extended attributes in file systems of ours; xattr(7)."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, XATTR_CREATE, XATTR_REPLACE
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
    LRemoveXattr,
    LSetXattr,
    RemoveXattr,
    RemoveXattrAt,
    SetXattr,
    SetXattrAt,
)
from diorama.dispatch.files.answers import Outcome, on_synthetic
from diorama.dispatch.files.entries import check_may_change
from diorama.dispatch.files.lists import LISTS, judge_list, list_of
from diorama.dispatch.files.state import Files, fail
from diorama.view.acl import ACCESS, Acl
from diorama.view.credentials import CAP_SYS_ADMIN, Credentials
from diorama.view.filesystem import Attributes, Changes, FileSystem
from diorama.view.mounts import Place

if TYPE_CHECKING:
    from diorama.catalogue.handles import Buffer
    from diorama.catalogue.model import Request

__all__ = ["arguments_of", "fill", "put_value"]

_NAME_MAX: Final = 255
_SIZE_MAX: Final = 65536
_LIST_MAX: Final = 65536
_ARGS_SIZE: Final = 16
_PAGE: Final = 4096
_AT_FLAGS: Final = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH

_Call = (
    SetXattr
    | LSetXattr
    | FSetXattr
    | SetXattrAt
    | GetXattr
    | LGetXattr
    | FGetXattr
    | GetXattrAt
    | RemoveXattr
    | LRemoveXattr
    | FRemoveXattr
    | RemoveXattrAt
)


@on_synthetic(SetXattr, LSetXattr, FSetXattr)
def set_attribute(files: Files, call: SetXattr | LSetXattr | FSetXattr, place: Place) -> Outcome:
    """Set an attribute."""
    return _set(files, call, place, call.value.address, call.size, call.flags)


@on_synthetic(SetXattrAt)
def set_attribute_at(files: Files, call: SetXattrAt, place: Place) -> Outcome:
    """Set an attribute whose value stands in a structure."""
    return _set(files, call, place, *arguments_of(call))


@on_synthetic(GetXattr, LGetXattr, FGetXattr)
def get_attribute(files: Files, call: GetXattr | LGetXattr | FGetXattr, place: Place) -> Outcome:
    """Get an attribute."""
    return _get(files, call, place, call.value.address, call.size)


@on_synthetic(GetXattrAt)
def get_attribute_at(files: Files, call: GetXattrAt, place: Place) -> Outcome:
    """Get an attribute into what a structure points at."""
    address, size, flags = arguments_of(call)
    if flags:
        raise fail(errno.EINVAL)
    return _get(files, call, place, address, size)


@on_synthetic(ListXattr, LListXattr, FListXattr, ListXattrAt)
def list_attributes(
    files: Files, call: ListXattr | LListXattr | FListXattr | ListXattrAt, place: Place
) -> Outcome:
    """List the attributes that the caller may know of."""
    if isinstance(call, ListXattrAt) and call.flags & ~_AT_FLAGS:
        raise fail(errno.EINVAL)
    filesystem, _ = _look(files, place)
    who = files.tasks.credentials(files.task(call.tracee))
    shown = [
        name
        for name in filesystem.list_xattrs(place.inode)
        if not name.startswith(b"trusted.") or who.has(CAP_SYS_ADMIN)
    ]
    return fill(call.names, b"".join([name + b"\0" for name in shown]), min(call.size, _LIST_MAX))


@on_synthetic(RemoveXattr, LRemoveXattr, FRemoveXattr, RemoveXattrAt)
def remove_attribute(
    files: Files, call: RemoveXattr | LRemoveXattr | FRemoveXattr | RemoveXattrAt, place: Place
) -> Outcome:
    """Remove an attribute."""
    if isinstance(call, RemoveXattrAt) and call.flags & ~_AT_FLAGS:
        raise fail(errno.EINVAL)
    _check_name(call)
    check_may_change(place.mount)
    filesystem, attributes = _look(files, place)
    if call.name in LISTS and _keeps_lists(filesystem):
        return _set_list(files, call, place, attributes, None)
    _check_permission(files, call, place, attributes, os.W_OK)
    if not filesystem.judges_xattrs:
        filesystem.get_xattr(place.inode, call.name)  # ENODATA
    filesystem.remove_xattr(place.inode, call.name)
    files.synthetic.attributes_changed(place)
    return 0


def _set(files: Files, call: _Call, place: Place, address: int, size: int, flags: int) -> int:
    if flags & ~(XATTR_CREATE | XATTR_REPLACE):
        raise fail(errno.EINVAL)
    _check_name(call)
    if size > _SIZE_MAX:
        raise fail(errno.E2BIG)
    value = call.tracee.memory.read(address, size) if size else b""
    if len(value) < size:
        raise fail(errno.EFAULT)
    check_may_change(place.mount)
    filesystem, attributes = _look(files, place)
    if call.name in LISTS and _keeps_lists(filesystem):
        return _set_list(files, call, place, attributes, value)
    _check_permission(files, call, place, attributes, os.W_OK)
    if flags:
        _check_presence(filesystem, place.inode, call.name, flags)
    filesystem.set_xattr(place.inode, call.name, value)
    files.synthetic.attributes_changed(place)
    return 0


def _set_list(files: Files, call: _Call, place: Place, was: Attributes, value: bytes | None) -> int:
    who = files.tasks.credentials(files.task(call.tracee))
    acl, mode = judge_list(who, replace(was, unchecked=False), call.name, value)
    filesystem = place.filesystem
    assert filesystem is not None
    if acl is not None:
        filesystem.set_xattr(place.inode, call.name, acl.pack())
    elif _may_have_list(filesystem, was, call.name):
        filesystem.remove_xattr(place.inode, call.name)
    if mode is not None and filesystem.has_acls:
        files.synthetic.change(place, Changes(mode=mode))
    files.synthetic.attributes_changed(place)
    return 0


def _may_have_list(filesystem: FileSystem, was: Attributes, name: bytes) -> bool:
    if not filesystem.has_acls:
        return name == ACCESS or was.kind == stat.S_IFDIR  # a server is asked
    return (was.acl if name == ACCESS else was.default_acl) is not None


def _check_presence(filesystem: FileSystem, inode: int, name: bytes, flags: int) -> None:
    try:
        filesystem.get_xattr(inode, name)
    except OSError as error:
        if error.errno != errno.ENODATA or flags & XATTR_REPLACE:
            raise
        return
    if flags & XATTR_CREATE:
        raise fail(errno.EEXIST)


def _get(files: Files, call: _Call, place: Place, address: int, size: int) -> int:
    _check_name(call)
    filesystem, attributes = _look(files, place)
    if call.name in LISTS and filesystem.has_acls:
        return put_value(call, list_of(attributes, call.name), address, size)
    if call.name in LISTS and _keeps_lists(filesystem):
        return put_value(call, _list_from(filesystem, place.inode, attributes, call.name), address, size)
    _check_permission(files, call, place, attributes, os.R_OK)
    return put_value(call, filesystem.get_xattr(place.inode, call.name), address, size)


def _keeps_lists(filesystem: FileSystem) -> bool:
    """Whether access control lists are for it, or for a server that has them as any other attribute."""
    return filesystem.has_acls or filesystem.judges_xattrs


def _list_from(filesystem: FileSystem, inode: int, attributes: Attributes, name: bytes) -> bytes:
    """What a server says of a list; an empty one is none."""
    if stat.S_ISLNK(attributes.mode):
        raise fail(errno.EOPNOTSUPP)
    value = filesystem.get_xattr(inode, name)
    acl = Acl.unpack(value) if value else None
    if acl is None:
        raise fail(errno.ENODATA)
    return acl.pack()


def put_value(call: Request, value: bytes, address: int, size: int) -> int:
    """Give a program the value of an attribute, if it has room; ERANGE.  The length."""
    if not size:
        return len(value)
    if len(value) > size:
        raise fail(errno.ERANGE)
    if value:
        call.tracee.memory.write(address, value)
    return len(value)


def fill(buffer: Buffer, data: bytes, size: int) -> int:
    """Give a program a list, if it has room; ERANGE.  The length."""
    if not size:
        return len(data)
    if len(data) > size:
        raise fail(errno.ERANGE)
    return buffer.write(data)


def _look(files: Files, place: Place) -> tuple[FileSystem, Attributes]:
    if place.missing:
        raise fail(errno.ENOENT)
    filesystem = place.filesystem
    assert filesystem is not None
    return filesystem, filesystem.attributes(place.inode)


def _check_name(call: _Call) -> None:
    if not 0 < len(call.name) <= _NAME_MAX:
        raise fail(errno.ERANGE)


def _check_permission(files: Files, call: _Call, place: Place, attributes: Attributes, wanted: int) -> None:
    """xattr_permission() of fs/xattr.c, and what security(7) asks for besides."""
    who: Credentials = files.tasks.credentials(files.task(call.tracee))
    writes, name = wanted == os.W_OK, call.name
    if name.startswith(b"security."):
        if writes and not who.has(CAP_SYS_ADMIN):
            raise fail(errno.EPERM)
        return
    if name.startswith(b"system."):
        _check_kind(place, name)
        return
    if name.startswith(b"trusted."):
        if not who.has(CAP_SYS_ADMIN):
            raise fail(errno.EPERM if writes else errno.ENODATA)
        return
    if name.startswith(b"user.") and attributes.kind not in (stat.S_IFREG, stat.S_IFDIR):
        raise fail(errno.EPERM if writes else errno.ENODATA)
    if name.startswith(b"user.") and writes and _is_sticky(attributes) and not who.owns(attributes):
        raise fail(errno.EPERM)
    if not who.permits(attributes, wanted):
        raise fail(errno.EACCES)
    if not name.startswith(b"user."):
        _check_kind(place, name)


def _check_kind(place: Place, name: bytes) -> None:
    """Whether a file system knows attributes but those of users, of administrators and for security."""
    judges = place.filesystem is not None and place.filesystem.judges_xattrs
    if not judges or name in LISTS:
        raise fail(errno.EOPNOTSUPP)


def _is_sticky(attributes: Attributes) -> bool:
    return attributes.kind == stat.S_IFDIR and bool(attributes.mode & stat.S_ISVTX)


def arguments_of(call: SetXattrAt | GetXattrAt) -> tuple[int, int, int]:
    """A `struct xattr_args`: where the value is, its size, and flags."""
    if call.flags & ~_AT_FLAGS or call.size < _ARGS_SIZE:
        raise fail(errno.EINVAL)
    if call.size > _PAGE:
        raise fail(errno.E2BIG)
    data = call.arguments.read()
    if any(data[_ARGS_SIZE:]):
        raise fail(errno.E2BIG)
    parts = (data[:8], data[8:12], data[12:16])
    address, size, flags = (int.from_bytes(part, "little") for part in parts)
    return address, size, flags
