"""Owned listing: what stands for a device is listed as one.

The kernel lists a directory, and says of the file that stands for a device that it is one.  Where there may
be such files, a note at the directory says so.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import TYPE_CHECKING, Final

from diorama.abi.dirent import DIRENT64, OLD_DIRENT, unpack_entries
from diorama.dispatch.files.owned import open_place

if TYPE_CHECKING:
    from diorama.catalogue.dirs import GetDents, GetDents64, ReadDir
    from diorama.dispatch.files.state import Files
    from diorama.view.owning import Owners

__all__ = ["list_owned"]

_REGULAR: Final = stat.S_IFREG >> 12
_LENGTH_AT: Final = 16
_TYPE_AT: Final = 18


def list_owned(files: Files, call: GetDents64 | GetDents | ReadDir, layout: str) -> int | None:
    """Read entries of a directory that may have such files; None if it has none."""
    if layout == OLD_DIRENT:
        return None  # it tells no types
    place = open_place(files, files.task(call.tracee), call.fd)
    owners = None if place is None else place.mount.owners
    if place is None or owners is None or not owners.may_list_devices(place.link):
        return None
    size = call.run()
    memory, at = call.tracee.memory, call.buffer.address
    data = memory.read(at, size)
    offset = 0
    for entry in unpack_entries(data, call.tracee.abi, layout):
        length = struct.unpack_from("=H", data, offset + _length_at(call, layout))[0]
        kind = _device(owners, place.link + b"/" + entry.name) if entry.type == _REGULAR else 0
        if kind:
            memory.write(at + offset + (_TYPE_AT if layout == DIRENT64 else length - 1), bytes([kind]))
        offset += length
    return size


def _length_at(call: GetDents64 | GetDents | ReadDir, layout: str) -> int:
    return _LENGTH_AT if layout == DIRENT64 else 2 * call.tracee.abi.word


def _device(owners: Owners, path: bytes) -> int:
    """The type of a device in an entry, 0 for what is none."""
    try:
        seen = owners.look(path, os.lstat(path))
    except OSError:
        return 0
    return stat.S_IFMT(seen.mode) >> 12 if seen.is_device else 0


