"""Partitions: the tables that divide a disk, MBR and GPT.

Numbers are those that Linux gives: 1 to 4 are the entries of an MBR, logical partitions begin at 5, and a
GPT's are its entries from 1.  Nothing that a table says is believed before it is checked: a GPT has check
sums and a second copy at the end of the disk; the chain of an MBR's logical partitions may lead in a circle.
(UEFI 2.10, chapter 5.)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

__all__ = ["DamagedTable", "Partition", "Read", "found_in", "overlap", "partitions_of"]

Read = Callable[[int, int], bytes]
"""The bytes from an offset on; fewer at the end."""

_SECTORS: Final = (512, 4096)
_ENTRY: Final = struct.Struct("<B3sB3sII")
_HEADER: Final = struct.Struct("<8s4xII4xQ40xQIII")
_GPT_ENTRY: Final = struct.Struct("<16s16sQQ8x72s")
_EXTENDED: Final = frozenset({0x05, 0x0F, 0x85})
_PROTECTIVE: Final = 0xEE
_MAX_LOGICAL: Final = 128
_MAX_ENTRIES: Final = 1024
_MAX_ENTRY: Final = 4096


class DamagedTable(Exception):
    """What is wrong with a table."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A part of a disk, in bytes."""

    number: int
    start: int
    size: int
    name: str = ""
    is_extended: bool = False

    @property
    def end(self) -> int:
        """Where it is over."""
        return self.start + self.size


def partitions_of(read: Read, size: int) -> list[Partition]:
    """The partitions of a disk of `size` bytes, none if there is no table; `DamagedTable`.

    Without those that only have others in them.
    """
    return [one for one in _all_of(read, size, _SECTORS[0]) if not one.is_extended]


def found_in(read: Read, size: int, sector: int) -> tuple[list[Partition], str]:
    """As `partitions_of`, with extended ones, as far as a table can be read; what is wrong with the rest."""
    found: list[Partition] = []
    try:
        found.extend(_all_of(read, size, sector))
    except DamagedTable as error:
        return found, str(error)
    return found, ""


def _all_of(read: Read, size: int, unit: int) -> Iterator[Partition]:
    """With an MBR in which sectors have so many bytes; a GPT says it itself."""
    sector = read(0, 512)
    if len(sector) < 512 or sector[510:] != b"\x55\xaa":
        return iter(_backup(read, size))
    entries = _entries(sector)
    if any(kind == _PROTECTIVE for kind, _, _ in entries):
        return iter(_gpt(read, size))
    return _mbr(read, entries, unit)


def overlap(partitions: Sequence[Partition]) -> tuple[Partition, Partition] | None:
    """Two that have something in common."""
    for one, other in pairwise(sorted(partitions, key=lambda part: (part.start, part.end))):
        if other.start < one.end:
            return one, other
    return None


# -- MBR --------------------------------------------------------------------------------------


def _entries(sector: bytes) -> list[tuple[int, int, int]]:
    """Types, first sectors and counts of sectors of the four entries; no entries unless all make sense."""
    found: list[tuple[int, int, int]] = []
    for place in range(446, 510, 16):
        flag, _, kind, _, start, count = _ENTRY.unpack_from(sector, place)
        if flag not in (0, 0x80):
            return []
        found.append((kind, start, count))
    return found


def _mbr(read: Read, entries: list[tuple[int, int, int]], unit: int) -> Generator[Partition, None, None]:
    for number, (kind, start, count) in enumerate(entries, 1):
        if kind and count:
            yield Partition(number, start * unit, count * unit, is_extended=kind in _EXTENDED)
    for kind, start, count in entries:
        if kind in _EXTENDED and count:
            yield from _logical(read, start, unit)
            return


def _logical(read: Read, base: int, unit: int) -> Generator[Partition, None, None]:
    """Each logical partition has a table of its own, which leads to the next one."""
    place, seen = base, set[int]()
    while True:
        if place in seen or len(seen) > _MAX_LOGICAL:
            raise DamagedTable("its extended partitions lead in a circle")
        seen.add(place)
        sector = read(place * unit, 512)
        if sector[510:] != b"\x55\xaa":
            raise DamagedTable("the chain of its extended partitions is broken")
        following = 0
        for kind, start, count in _entries(sector):
            if kind in _EXTENDED and count:
                following = following or base + start
            elif kind and count:
                yield Partition(4 + len(seen), (place + start) * unit, count * unit)
        if not following:
            return
        place = following


# -- GPT --------------------------------------------------------------------------------------


def _gpt(read: Read, size: int) -> list[Partition]:
    reason = "there is no GPT where its MBR says so"
    for sector in _SECTORS:
        for place in (sector, size - size % sector - sector):
            try:
                return list(_gpt_at(read, place, sector))
            except DamagedTable as error:
                reason = str(error) or reason
    raise DamagedTable(reason)


def _backup(read: Read, size: int) -> list[Partition]:
    """Of a disk whose first sector was lost."""
    try:
        return _gpt(read, size) if size >= 4 * 512 else []
    except DamagedTable:
        return []


def _gpt_at(read: Read, place: int, sector: int) -> Generator[Partition, None, None]:
    header = read(place, 512)
    if header[:8] != b"EFI PART" or len(header) < 512:
        raise DamagedTable("")
    _, length, check, mine, first, count, each, check_entries = _HEADER.unpack_from(header)
    if not 92 <= length <= 512 or mine * sector != place:
        raise DamagedTable("its GPT is damaged")
    if zlib.crc32(header[:16] + bytes(4) + header[20:length]) != check:
        raise DamagedTable("the check sum of its GPT is wrong")
    if count > _MAX_ENTRIES or not 128 <= each <= _MAX_ENTRY:
        raise DamagedTable("its GPT has impossible entries")
    table = read(first * sector, count * each)
    if zlib.crc32(table) != check_entries or len(table) < count * each:
        raise DamagedTable("the check sum of its GPT's entries is wrong")
    for index in range(count):
        kind, _, start, last, name = _GPT_ENTRY.unpack_from(table, index * each)
        if not any(kind):
            continue
        if last < start:
            raise DamagedTable(f"its partition {index + 1} ends before it begins")
        text = name.decode("utf-16-le", "replace").partition("\0")[0]
        yield Partition(index + 1, start * sector, (last - start + 1) * sector, text)
