"""Directory entries: what getdents64(2), getdents(2) and readdir(2) put into a buffer.

The entries are of variable length and each layout places the name and the type elsewhere, so this is code and
not a record. In every layout the entry's `d_off` is where reading goes on *after* that entry.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from diorama.abi.arch import Abi

__all__ = ["DIRENT", "DIRENT64", "OLD_DIRENT", "DirEntry", "pack_entries", "unpack_entries"]

DT_UNKNOWN = 0
DT_FIFO = 1
DT_CHR = 2
DT_DIR = 4
DT_BLK = 6
DT_REG = 8
DT_LNK = 10
DT_SOCK = 12

DIRENT64 = "linux_dirent64"
DIRENT = "linux_dirent"
OLD_DIRENT = "old_linux_dirent"


class DirEntry(NamedTuple):
    """One directory entry; `type` is a DT_* value, which is `st_mode >> 12`."""

    ino: int
    off: int
    type: int
    name: bytes


def _word(abi: Abi) -> str:
    return "Q" if abi.word == 8 else "I"


def _pack(entry: DirEntry, abi: Abi, layout: str) -> bytes:
    name = entry.name + b"\0"
    if layout == DIRENT64:
        length = -(-(19 + len(name)) // 8) * 8
        head = struct.pack("<QqHB", entry.ino, entry.off, length, entry.type)
        return (head + name).ljust(length, b"\0")
    form = f"<{_word(abi)}{_word(abi)}H"
    ino, off = entry.ino % 256**abi.word, entry.off % 256**abi.word
    if layout == OLD_DIRENT:
        return struct.pack(form, ino, off, len(entry.name)) + name
    length = -(-(2 * abi.word + 2 + len(name) + 1) // abi.word) * abi.word
    body = struct.pack(form, ino, off, length) + name
    return body.ljust(length - 1, b"\0") + bytes([entry.type])


def pack_entries(entries: Iterable[DirEntry], abi: Abi, layout: str, room: int) -> tuple[bytes, int]:
    """The bytes of as many entries as fit into `room`, and how many those are."""
    data, count = bytearray(), 0
    for entry in entries:
        packed = _pack(entry, abi, layout)
        if len(data) + len(packed) > room:
            break
        data += packed
        count += 1
        if layout == OLD_DIRENT:
            break
    return bytes(data), count


def unpack_entries(data: bytes, abi: Abi, layout: str) -> Iterator[DirEntry]:
    """The entries of a buffer that the kernel has filled, in any layout but `OLD_DIRENT`."""
    head = struct.Struct("<QqHB" if layout == DIRENT64 else f"<{_word(abi)}{_word(abi)}H")
    offset = 0
    while offset + head.size <= len(data):
        ino, off, length, *kind = head.unpack_from(data, offset)
        if length < head.size:
            return
        end = offset + length
        name = data[offset + head.size : end].partition(b"\0")[0]
        yield DirEntry(ino, off, kind[0] if kind else data[end - 1], name)
        offset = end
