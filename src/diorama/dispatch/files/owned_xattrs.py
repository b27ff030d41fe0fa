"""Owned xattrs: extended attributes of what is remembered.

Those that only administrators may set (trusted.*, and security.* with the capabilities of files) are
remembered; those of users are the host's own, if who asks has the permissions that are remembered.  Access
control lists are remembered; those of the host would be about its users, and are not shown.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from diorama.abi.fcntl import XATTR_CREATE, XATTR_REPLACE
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
from diorama.dispatch.files.answers import Outcome
from diorama.dispatch.files.lists import LISTS, judge_list, list_of
from diorama.dispatch.files.objections import check_arguments
from diorama.dispatch.files.owned import GOES_ON, GoesOn, Remembered, look, on_owned
from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.xattrs import arguments_of, fill, put_value
from diorama.view.acl import ACCESS
from diorama.view.credentials import CAP_SETFCAP, CAP_SYS_ADMIN, Credentials
from diorama.view.mounts import Place
from diorama.view.owning import HIDDEN_XATTRS

_CAPABILITY: Final = b"security.capability"
_REMEMBERED: Final = (b"trusted.", b"security.")
_VERSIONS: Final = {20: 0x02000000, 24: 0x03000000}
"""Sizes of the capabilities of a file, and their versions: `struct vfs_cap_data` in <linux/capability.h>."""
_LIST_MAX: Final = 65536

_Setting = SetXattr | LSetXattr | FSetXattr | SetXattrAt
_Getting = GetXattr | LGetXattr | FGetXattr | GetXattrAt
_Removing = RemoveXattr | LRemoveXattr | FRemoveXattr | RemoveXattrAt
_Listing = ListXattr | LListXattr | FListXattr | ListXattrAt


def _begin(
    files: Files, call: _Setting | _Getting | _Removing, place: Place, wanted: int
) -> tuple[Remembered, Credentials] | None:
    """What is there and who asks; None if the attribute is the host's, and may be asked for."""
    check_arguments(call)
    found, who = look(place), files.tasks.credentials(files.task(call.tracee))
    if _is_remembered(call.name):
        return found, who
    _check_user(who, found, call.name, wanted)
    return None


@on_owned(SetXattr, LSetXattr, FSetXattr, SetXattrAt)
def set_attribute(files: Files, call: _Setting, place: Place) -> Outcome | GoesOn:
    """Set an attribute."""
    if place.missing or place.mount.read_only:
        return GOES_ON
    begun = _begin(files, call, place, os.W_OK)
    if begun is None:
        return GOES_ON
    found, who = begun
    if call.name not in LISTS:
        _check_change(who, call.name)
    if isinstance(call, SetXattrAt):
        address, size, flags = arguments_of(call)
    else:
        address, size, flags = call.value.address, call.size, call.flags
    value = call.tracee.memory.read(address, size) if size else b""
    if len(value) < size:
        raise fail(errno.EFAULT)
    if call.name in LISTS:
        _set_list(who, found, call.name, value)
        return 0
    if call.name == _CAPABILITY and not _is_capability(value):
        raise fail(errno.EINVAL)
    is_there = call.name in found.owners.attributes(found.path, found.status)
    if flags & (XATTR_CREATE if is_there else XATTR_REPLACE):
        raise fail(errno.EEXIST if is_there else errno.ENODATA)
    found.owners.set_attribute(found.path, found.status, call.name, value)
    return 0


def _is_capability(value: bytes) -> bool:
    version = _VERSIONS.get(len(value))
    return version is not None and int.from_bytes(value[:4], "little") & 0xFF000000 == version


@on_owned(RemoveXattr, LRemoveXattr, FRemoveXattr, RemoveXattrAt)
def remove_attribute(files: Files, call: _Removing, place: Place) -> Outcome | GoesOn:
    """Remove an attribute."""
    if place.missing or place.mount.read_only:
        return GOES_ON
    begun = _begin(files, call, place, os.W_OK)
    if begun is None:
        return GOES_ON
    found, who = begun
    if call.name in LISTS:
        _set_list(who, found, call.name, None)
        return 0
    _check_change(who, call.name)
    found.owners.set_attribute(found.path, found.status, call.name, None)
    return 0


def _set_list(who: Credentials, found: Remembered, name: bytes, value: bytes | None) -> None:
    acl, mode = judge_list(who, found.attributes, name, value)
    has_list = (found.seen.acl if name == ACCESS else found.seen.default_acl) is not None
    if acl is not None:
        found.owners.set_attribute(found.path, found.status, name, acl.pack())
    elif has_list:
        found.owners.set_attribute(found.path, found.status, name, None)
    if mode is not None:
        found.owners.change(found.path, found.status, mode=mode)


@on_owned(GetXattr, LGetXattr, FGetXattr, GetXattrAt)
def get_attribute(files: Files, call: _Getting, place: Place) -> Outcome | GoesOn:
    """Get an attribute."""
    if place.missing:
        return GOES_ON
    begun = _begin(files, call, place, os.R_OK)
    if begun is None:
        return GOES_ON
    found, who = begun
    if call.name.startswith(b"trusted.") and not who.has(CAP_SYS_ADMIN):
        raise fail(errno.ENODATA)
    if call.name in LISTS:
        value: bytes | None = list_of(found.attributes, call.name)
    else:
        value = found.owners.attributes(found.path, found.status).get(call.name)
    if value is None:
        return GOES_ON if call.name.startswith(b"security.") and call.name != _CAPABILITY else _absent()
    if isinstance(call, GetXattrAt):
        address, size, _ = arguments_of(call)
    else:
        address, size = call.value.address, call.size
    return put_value(call, value, address, size)


@on_owned(ListXattr, LListXattr, FListXattr, ListXattrAt)
def list_attributes(files: Files, call: _Listing, place: Place) -> Outcome | GoesOn:
    """List the attributes that the caller may know of."""
    if place.missing:
        return GOES_ON
    check_arguments(call)
    found, who = look(place), files.tasks.credentials(files.task(call.tracee))
    try:
        names = [os.fsencode(name) for name in os.listxattr(found.path, follow_symlinks=bool(place.link))]
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
            raise
        names = []
    names = [name for name in names if not name.startswith(HIDDEN_XATTRS) and name not in LISTS]
    names += [name for name in found.owners.attributes(found.path, found.status) if name not in names]
    shown = [name for name in names if not name.startswith(b"trusted.") or who.has(CAP_SYS_ADMIN)]
    return fill(call.names, b"".join([name + b"\0" for name in shown]), min(call.size, _LIST_MAX))


def _absent() -> int:
    raise fail(errno.ENODATA)


def _is_remembered(name: bytes) -> bool:
    return name.startswith(_REMEMBERED) or name in LISTS


def _check_change(who: Credentials, name: bytes) -> None:
    """EPERM unless it may be set or removed: cap_inode_setxattr() of security/commoncap.c."""
    if not who.has(CAP_SETFCAP if name == _CAPABILITY else CAP_SYS_ADMIN):
        raise fail(errno.EPERM)


def _check_user(who: Credentials, found: Remembered, name: bytes, wanted: int) -> None:
    """xattr_permission() of fs/xattr.c, for what is not remembered."""
    writes, seen = wanted == os.W_OK, found.seen
    if name.startswith(b"system."):
        raise fail(errno.EOPNOTSUPP)
    kind = stat.S_IFMT(seen.mode)
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        raise fail(errno.EPERM if writes else errno.ENODATA)
    if writes and kind == stat.S_IFDIR and seen.mode & stat.S_ISVTX and not who.owns(found.attributes):
        raise fail(errno.EPERM)
    if not who.permits(found.attributes, wanted):
        raise fail(errno.EACCES)
    if name.startswith(HIDDEN_XATTRS):
        raise fail(errno.EOPNOTSUPP if writes else errno.ENODATA)
