"""Shown: the status of a file of the host as programs are to see it, where the kernel says something else."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any, Final

from diorama.abi.arch import Abi
from diorama.abi.fcntl import AT_FDCWD, AT_SYMLINK_NOFOLLOW
from diorama.abi.numbers import NUMBERS
from diorama.abi.stat import Stat, StatX
from diorama.engine.ourcall import make_call

if TYPE_CHECKING:
    from diorama.catalogue.files import Statx

__all__ = ["stat_of", "statx_of"]

_STATX: Final = NUMBERS[Abi.native()[0].title]["statx"]
_STATX_SIZE: Final = 256
_SYNC: Final = 0x6000
_NSEC: Final = 10**9
_SAME: Final = ("dev", "ino", "mode", "nlink", "uid", "gid", "rdev", "size", "blksize", "blocks")


def stat_of(status: os.stat_result, **changes: int) -> Stat:
    """A `struct stat`, some of its fields changed."""
    fields: dict[str, Any] = {f"st_{name}": getattr(status, f"st_{name}") for name in _SAME}
    for one in "amc":
        whole, rest = divmod(getattr(status, f"st_{one}time_ns"), _NSEC)
        fields[f"st_{one}time"], fields[f"st_{one}time_nsec"] = whole, rest
    return Stat(**(fields | changes))


def statx_of(real: bytes, call: Statx, *, follow: bool = False) -> StatX:
    """What the kernel says of a host path to who makes this call."""
    path = ctypes.create_string_buffer(real)
    room = ctypes.create_string_buffer(_STATX_SIZE)
    flags = call.flags & _SYNC | (0 if follow else AT_SYMLINK_NOFOLLOW)
    make_call(_STATX, AT_FDCWD, ctypes.addressof(path), flags, call.mask, ctypes.addressof(room))
    return StatX.unpack(Abi.native()[0], room.raw)
