"""Identities: ids of mounts and inode numbers, of which stat(2), fdinfo, maps and mount tables tell alike."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from diorama.abi.stat import STATX_ATTR_MOUNT_ROOT, STATX_MNT_ID_UNIQUE

if TYPE_CHECKING:
    from diorama.abi.stat import StatX
    from diorama.catalogue.files import Statx
    from diorama.dispatch.files.state import Files
    from diorama.view.filesystem import Attributes
    from diorama.view.mounts import Place

__all__ = ["mount_id", "mount_id_of", "number_of", "unique_id", "write_with_ids"]

_MOUNT: Final = re.compile(rb"^mnt_id:\t(\d+)$", re.MULTILINE)
_UNIQUE: Final = 1 << 62


def number_of(place: Place, attributes: Attributes | None = None) -> int:
    """The inode number that programs see of a file in a file system of ours."""
    filesystem = place.filesystem
    assert filesystem is not None
    if attributes is None:
        try:
            attributes = filesystem.attributes(place.inode)
        except OSError:  # it is gone, or its server
            return place.inode
    return place.inode if attributes.number is None else attributes.number


def unique_id(id: int) -> int:
    """The id of a mount of the view that is not used again: far above those of the kernel."""
    return _UNIQUE | id


def mount_id_of(files: Files, place: Place, native: int | None = None) -> int:
    """The id of the mount that a place is in; `native` is what the kernel says of the object."""
    mount = place.mount
    if mount.host is None:
        return mount.id
    if native is None:
        native = mount_id(place.host_path)
    if mount.is_bottom:
        return native
    return mount.id if native == mount_id(mount.real(b"")) else files.table.inner_id(mount, native)


def mount_id(path: bytes) -> int:
    """The kernel's id of the mount that a file of the host is in, a symbolic link itself."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            found = _MOUNT.search(file.read())
    finally:
        os.close(fd)
    return int(found[1]) if found else 0


def write_with_ids(files: Files, call: Statx, place: Place, found: StatX) -> None:
    """Give a program the extended status of a file, with the id of the mount of the view that it is in."""
    id = mount_id_of(files, place)
    root = 0 if place.path else STATX_ATTR_MOUNT_ROOT
    call.status.write(
        found.replace(
            stx_mnt_id=unique_id(id) if found.stx_mask & STATX_MNT_ID_UNIQUE else id,
            stx_attributes=found.stx_attributes | root & found.stx_attributes_mask,
        )
    )
