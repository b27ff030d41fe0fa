"""Signatures: which file system begins at a place, and how many bytes it says to have.

The types are named as mount(8) names them.  A signature that other data could have by chance counts only
with values beside it that make sense.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from diorama.interfaces.partitions import Read

__all__ = ["Found", "find_type"]

_EXT_COMPAT_JOURNAL: Final = 0x4
_EXT_INCOMPAT_EXT4: Final = 0x40 | 0x80 | 0x200
_EXT_INCOMPAT_64BIT: Final = 0x80
_OTHERS: Final = (
    (0, b"XFSB", "xfs"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (32, b"NXSB", "apfs"),
    (0, b"\x45\x3d\xcd\x28", "cramfs"),
    (1024, b"\xe2\xe1\xf5\xe0", "erofs"),
    (1024, b"H+", "hfsplus"),
    (1024, b"HX", "hfsplus"),
    (1024, b"\x10\x20\xf5\xf2", "f2fs"),
)
"""Those that are found by bytes at an offset."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file system: its type, and the bytes that it takes, 0 if that is not known."""

    type: str
    size: int = 0


def find_type(read: Read) -> Found | None:
    """The file system that begins at offset 0 of what is read."""
    start = read(0, 4096)
    for find in (_squashfs, _ext, _exfat, _ntfs, _fat):
        found = find(start)
        if found is not None:
            return found
    found = _iso(read(32768, 2048))
    if found is not None:
        return found
    for offset, signature, type in _OTHERS:
        if read(offset, len(signature)) == signature:
            return Found(type)
    return None


def _squashfs(start: bytes) -> Found | None:
    if start[:4] != b"hsqs" or len(start) < 96:
        return None
    (used,) = struct.unpack_from("<Q", start, 40)
    return Found("squashfs", used)


def _ext(start: bytes) -> Found | None:
    if len(start) < 2048 or start[1080:1082] != b"\x53\xef":
        return None
    (blocks,) = struct.unpack_from("<I", start, 1024 + 4)
    (shift,) = struct.unpack_from("<I", start, 1024 + 24)
    compat, incompat = struct.unpack_from("<II", start, 1024 + 92)
    if incompat & _EXT_INCOMPAT_64BIT:
        blocks |= struct.unpack_from("<I", start, 1024 + 0x150)[0] << 32
    if shift > 6 or not blocks:
        return None
    type = "ext4" if incompat & _EXT_INCOMPAT_EXT4 else "ext3" if compat & _EXT_COMPAT_JOURNAL else "ext2"
    return Found(type, blocks << (10 + shift))


def _exfat(start: bytes) -> Found | None:
    if start[3:11] != b"EXFAT   " or len(start) < 512:
        return None
    (sectors,) = struct.unpack_from("<Q", start, 72)
    shift = start[108]
    return Found("exfat", sectors << shift) if 9 <= shift <= 12 else None


def _ntfs(start: bytes) -> Found | None:
    if start[3:11] != b"NTFS    " or len(start) < 512:
        return None
    (size,) = struct.unpack_from("<H", start, 11)
    (sectors,) = struct.unpack_from("<Q", start, 40)
    return Found("ntfs", sectors * size) if size in (512, 1024, 2048, 4096) else None


def _fat(start: bytes) -> Found | None:
    """A FAT has no signature of its own: its parameters must make sense (fs/fat/inode.c)."""
    if len(start) < 512 or start[0] not in (0xE9, 0xEB) or start[510:512] != b"\x55\xaa":
        return None
    size, cluster, reserved, fats, _, small, media = struct.unpack_from("<HBHBHHB", start, 11)
    (large,) = struct.unpack_from("<I", start, 32)
    sectors = small or large
    sane = size in (512, 1024, 2048, 4096) and cluster and not cluster & (cluster - 1)
    if not (sane and reserved and fats in (1, 2) and sectors and (media == 0xF0 or media >= 0xF8)):
        return None
    return Found("vfat", sectors * size)


def _iso(descriptor: bytes) -> Found | None:
    """The primary volume descriptor (ECMA-119, 8.4), or what begins a UDF without one (ECMA-167, 2/9.1)."""
    if len(descriptor) < 2048:
        return None
    if descriptor[1:6] == b"CD001" and descriptor[0] in (1, 2, 3):
        (blocks,) = struct.unpack_from("<I", descriptor, 80)
        (size,) = struct.unpack_from("<H", descriptor, 128)
        return Found("iso9660", blocks * size)
    return Found("udf") if descriptor[1:6] == b"BEA01" else None
