"""Statmount: what statmount(2) and listmount(2) are asked and tell, `linux/mount.h` (Linux 6.8)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from diorama.abi.mountinfo import MountLine

__all__ = ["LSMT_ROOT", "MountRequest", "StatMountTold", "pack_statmount"]

LSMT_ROOT: Final = (1 << 64) - 1
LISTMOUNT_REVERSE: Final = 1
MNT_UNIQUE_ID_OFFSET: Final = 1 << 31
"""Ids up to here are none of these calls."""

STATMOUNT_SB_BASIC: Final = 0x1
STATMOUNT_MNT_BASIC: Final = 0x2
STATMOUNT_PROPAGATE_FROM: Final = 0x4
STATMOUNT_MNT_ROOT: Final = 0x8
STATMOUNT_MNT_POINT: Final = 0x10
STATMOUNT_FS_TYPE: Final = 0x20
STATMOUNT_MNT_NS_ID: Final = 0x40
STATMOUNT_MNT_OPTS: Final = 0x80
STATMOUNT_SB_SOURCE: Final = 0x200
STATMOUNT_OPT_ARRAY: Final = 0x400
STATMOUNT_SUPPORTED_MASK: Final = 0x1000

_REQUEST: Final = struct.Struct("<IIQQ")
FIXED_SIZE: Final = 512
_PLAIN: Final = (
    STATMOUNT_SB_BASIC | STATMOUNT_MNT_BASIC | STATMOUNT_PROPAGATE_FROM | STATMOUNT_MNT_NS_ID
    | STATMOUNT_SUPPORTED_MASK
)  # fmt: skip
_ATTRIBUTES: Final = {
    b"ro": 0x1, b"nosuid": 0x2, b"nodev": 0x4, b"noexec": 0x8, b"noatime": 0x10, b"strictatime": 0x20,
    b"nodiratime": 0x80, b"nosymfollow": 0x200000,
}  # fmt: skip
_FLAGS: Final = {b"ro": 0x1, b"sync": 0x10, b"dirsync": 0x80, b"lazytime": 1 << 25}
_PRIVATE: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class MountRequest:
    """A `struct mnt_id_req`: a mount by its unique id, and the parameter of the call."""

    id: int
    param: int
    namespace: int = 0

    SIZE = 24

    def pack(self) -> bytes:
        """In memory, in the first version."""
        return _REQUEST.pack(self.SIZE, 0, self.id, self.param)

    @classmethod
    def parse(cls, data: bytes) -> MountRequest:
        """From memory; ValueError for what the kernel does not take."""
        size, spare, id, param = _REQUEST.unpack_from(data)
        if size < cls.SIZE or spare or len(data) < min(size, cls.SIZE + 8):
            raise ValueError("not a request for a mount")
        return cls(id, param, int.from_bytes(data[24:32], "little") if size >= cls.SIZE + 8 else 0)


@dataclass(frozen=True, slots=True)
class StatMountTold:
    """What there is to tell of a mount besides its line in mountinfo."""

    line: MountLine
    id: int
    parent: int
    magic: int
    namespace: int


def pack_statmount(told: StatMountTold, mask: int) -> bytes:
    """A `struct statmount` with what `mask` asks for and there is, and its strings behind."""
    line = told.line
    options = [option for option in line.super_options[1:] if option not in _FLAGS]
    texts = {
        STATMOUNT_MNT_OPTS: b",".join(options),
        STATMOUNT_FS_TYPE: line.type,
        STATMOUNT_MNT_ROOT: line.root,
        STATMOUNT_MNT_POINT: line.point,
        STATMOUNT_SB_SOURCE: line.source,
        STATMOUNT_OPT_ARRAY: b"\0".join(options),
    }
    asked = {bit: text for bit, text in texts.items() if mask & bit and text}
    strings, at = b"", dict.fromkeys(texts, 0)
    for bit, text in asked.items():
        at[bit] = len(strings) + 1
        strings += b"\0" + text
    strings += b"\0\0" if strings else b""
    given = sum(asked) | mask & _PLAIN
    data = b"".join([
        struct.pack("<IQ", at[STATMOUNT_MNT_OPTS], given),
        _super(told) if mask & STATMOUNT_SB_BASIC else bytes(20),
        struct.pack("<I", at[STATMOUNT_FS_TYPE]),
        _own(told) if mask & STATMOUNT_MNT_BASIC else bytes(56),
        struct.pack("<QII", 0, at[STATMOUNT_MNT_ROOT], at[STATMOUNT_MNT_POINT]),
        struct.pack("<QII", told.namespace if mask & STATMOUNT_MNT_NS_ID else 0, 0, at[STATMOUNT_SB_SOURCE]),
        struct.pack("<II", len(options) if mask & STATMOUNT_OPT_ARRAY else 0, at[STATMOUNT_OPT_ARRAY]),
        struct.pack("<IIQ", 0, 0, sum(texts) | _PLAIN if mask & STATMOUNT_SUPPORTED_MASK else 0),
    ])
    return (struct.pack("<I", FIXED_SIZE + len(strings)) + data).ljust(FIXED_SIZE, b"\0") + strings


def _super(told: StatMountTold) -> bytes:
    """About its file system."""
    flags = sum(_FLAGS.get(option, 0) for option in told.line.super_options)
    return struct.pack("<IIQI", *told.line.device, told.magic, flags)


def _own(told: StatMountTold) -> bytes:
    """About the mount itself; it is private."""
    line = told.line
    attributes = sum(_ATTRIBUTES.get(option, 0) for option in line.options)
    ids = (told.id, told.parent, line.id, line.parent)
    return struct.pack("<QQIIQQQQ", *ids, attributes, _PRIVATE, 0, 0)
