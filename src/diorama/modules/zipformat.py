"""Zipformat: the records of a ZIP archive, and how the content of a member is unpacked.

Read here rather than with `zipfile`, which makes an object of half a kilobyte for each member before it tells
of the first.  The format is that of PKWARE's APPNOTE.TXT: an end record tells where the central directory is,
which has a record for each member; the member itself begins with a header of its own.  Sizes of 32 bits that
are all ones stand in an extra field of 64 bits (Zip64).
"""

from __future__ import annotations

import bz2
import errno
import lzma
import os
import stat
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any, Final

__all__ = ["DEFLATED", "STORED", "BadArchive", "Member", "Source", "members_of", "unpacked"]

STORED, DEFLATED, _BZIP2, _LZMA = 0, 8, 12, 14

_END: Final = struct.Struct("<4s4H2LH")
_END64_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_CENTRAL: Final = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_MAX_COMMENT: Final = 0xFFFF
_ALL_ONES: Final = 0xFFFFFFFF
_CHUNK: Final = 1 << 20
_WINDOW: Final = 4 << 20

_ENCRYPTED: Final = 0x01
_UNIX: Final = 3
_ZIP64: Final = 0x0001
_EXTENDED_TIMESTAMP: Final = 0x5455


class BadArchive(ValueError):
    """The archive is damaged, or none."""


class Source:
    """The file of an archive, read at offsets by any thread."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self._fd = file.fileno() if hasattr(file, "fileno") else -1
        self._lock = threading.Lock()
        with self._lock:
            self.size = file.seek(0, os.SEEK_END)

    def read(self, offset: int, size: int) -> bytes:
        """These bytes; less only at the end of the file."""
        if self._fd < 0:
            with self._lock:
                self.file.seek(offset)
                return self.file.read(size)
        found = os.pread(self._fd, size, offset)
        while 0 < len(found) < size and (more := os.pread(self._fd, size - len(found), offset + len(found))):
            found += more
        return found

    def exactly(self, offset: int, size: int) -> bytes:
        """These bytes; `BadArchive` if the file ends before."""
        found = self.read(offset, size)
        if len(found) != size:
            raise BadArchive("it ends too early")
        return found


@dataclass(frozen=True, slots=True)
class Member:
    """A record of the central directory; `at` is where it stands, `header` where the member begins."""

    at: int
    name: bytes
    method: int
    encrypted: bool
    mode: int
    modified: int
    crc: int
    packed: int
    size: int
    header: int
    length: int


def members_of(source: Source) -> Iterator[Member]:
    """All members, in the order of the central directory."""
    start, size, shift = _central_directory(source)
    at, end = start, start + size
    window, base = b"", start
    while at < end:
        if at - base + _CENTRAL.size + 3 * _MAX_COMMENT > len(window) and base + len(window) < end:
            base, window = at, source.exactly(at, min(_WINDOW, end - at))
        member = _parse(window, at - base, at, shift)
        yield member
        at += member.length


def member_at(source: Source, at: int, shift: int) -> Member:
    """The member whose central record stands there."""
    fixed = source.exactly(at, _CENTRAL.size)
    name, extra, comment = _CENTRAL.unpack(fixed)[12:15]
    return _parse(fixed + source.exactly(at + _CENTRAL.size, name + extra + comment), 0, at, shift)


def shift_of(source: Source) -> int:
    """How many bytes stand before the archive, which its offsets do not count."""
    return _central_directory(source)[2]


def data_of(source: Source, member: Member) -> int:
    """Where the packed bytes of a member begin."""
    fields = _LOCAL.unpack(source.exactly(member.header, _LOCAL.size))
    if fields[0] != b"PK\3\4":
        raise BadArchive("a member is not where the directory says")
    return member.header + _LOCAL.size + int(fields[-2]) + int(fields[-1])


# -- finding it -----------------------------------------------------------------------------------


def _central_directory(source: Source) -> tuple[int, int, int]:
    """Where it begins, its size, and what must be added to offsets in it."""
    tail_size = min(source.size, _END.size + _MAX_COMMENT)
    tail_at = source.size - tail_size
    tail = source.read(tail_at, tail_size)
    found = tail.rfind(b"PK\5\6", 0, len(tail) - _END.size + 4)
    if found < 0:
        raise BadArchive("it has no end record")
    size, offset = _END.unpack_from(tail, found)[5:7]
    end = tail_at + found
    locator_at = end - _END64_LOCATOR.size
    if locator_at >= 0:
        locator = _END64_LOCATOR.unpack(source.exactly(locator_at, _END64_LOCATOR.size))
        if locator[0] == b"PK\6\7":
            end, size, offset = _zip64_end(source, locator_at)
    start = end - size
    if start < 0 or start < offset:
        raise BadArchive("its end record leads nowhere")
    return start, size, start - offset


def _zip64_end(source: Source, locator_at: int) -> tuple[int, int, int]:
    at = locator_at - _END64.size  # as everybody writes it; the locator's own offset counts no prefix
    fields = _END64.unpack(source.exactly(max(at, 0), _END64.size))
    if fields[0] != b"PK\6\6":
        raise BadArchive("its 64-bit end record is not where it should be")
    return at, int(fields[8]), int(fields[9])


def _parse(data: bytes, offset: int, at: int, shift: int) -> Member:
    try:
        fields: Any = _CENTRAL.unpack_from(data, offset)
    except struct.error:
        raise BadArchive("its directory ends too early") from None
    (magic, _, system, _, _, flags, method, dos_time, dos_date, crc, packed, size, names, extras, comments,
     _, _, external, header) = fields  # fmt: skip
    length = _CENTRAL.size + names + extras + comments
    if magic != b"PK\1\2" or offset + length > len(data):
        raise BadArchive("its directory is damaged")
    begin = offset + _CENTRAL.size
    name = data[begin : begin + names].partition(b"\0")[0]
    extra = dict(_extras(data[begin + names : begin + names + extras]))
    size, packed, header = _wide(extra.get(_ZIP64, b""), size, packed, header)
    return Member(
        at=at,
        name=name,
        method=method,
        encrypted=bool(flags & _ENCRYPTED),
        mode=_mode(system, external, name),
        modified=_modified(extra.get(_EXTENDED_TIMESTAMP, b""), dos_date, dos_time),
        crc=crc,
        packed=packed,
        size=size,
        header=header + shift,
        length=length,
    )


def _extras(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        kind, size = struct.unpack_from("<HH", data)
        yield kind, data[4 : 4 + size]
        data = data[4 + size :]


def _wide(extra: bytes, *values: int) -> tuple[int, int, int]:
    """Values of 32 bits, or of 64 in the extra field, in order, for those that are all ones."""
    found: list[int] = []
    for value in values:
        if value == _ALL_ONES and len(extra) >= 8:
            value, extra = int.from_bytes(extra[:8], "little"), extra[8:]
        found.append(value)
    size, packed, header = found
    return size, packed, header


def _mode(system: int, external: int, name: bytes) -> int:
    mode = external >> 16 if system == _UNIX else 0
    is_directory = name.endswith(b"/")
    kind = stat.S_IFMT(mode) or (stat.S_IFDIR if is_directory else stat.S_IFREG)
    if is_directory:
        kind = stat.S_IFDIR
    elif kind not in (stat.S_IFREG, stat.S_IFLNK):
        kind = stat.S_IFREG
    return kind | (stat.S_IMODE(mode) or (0o755 if is_directory else 0o644))


def _modified(extended: bytes, date: int, clock: int) -> int:
    """Nanoseconds since the epoch: the exact time if the archive has one, else the local time of DOS."""
    if len(extended) >= 5 and extended[0] & 1:
        seconds: int = struct.unpack_from("<i", extended, 1)[0]
        return seconds * 10**9
    day = 1980 + (date >> 9), date >> 5 & 15, date & 31
    try:
        return int(time.mktime((*day, clock >> 11, clock >> 5 & 63, (clock & 31) * 2, 0, 0, -1))) * 10**9
    except (OverflowError, ValueError):
        return 0


# -- unpacking ------------------------------------------------------------------------------------


def unpacked(source: Source, member: Member) -> Iterator[bytes]:
    """The content of a member in pieces of bounded size, checked at the end; `OSError`."""
    if member.encrypted:
        raise PermissionError(errno.EACCES, f"{os.fsdecode(member.name)}: it is encrypted")
    try:
        yield from _checked(source, member, data_of(source, member))
    except (BadArchive, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        text = f"{os.strerror(errno.EIO)}: {os.fsdecode(member.name)}: {error}"
        raise OSError(errno.EIO, text) from error


def _checked(source: Source, member: Member, at: int) -> Iterator[bytes]:
    done, crc = 0, 0
    for piece in _pieces(source, member, at):
        done += len(piece)
        crc = zlib.crc32(piece, crc)
        if done > member.size:
            break
        yield piece
    if (done, crc) != (member.size, member.crc):
        raise BadArchive("its content is damaged")


def _pieces(source: Source, member: Member, at: int) -> Iterator[bytes]:
    packed = _packed(source, at, at + member.packed)
    if member.method == STORED:
        return packed
    if member.method == DEFLATED:
        return _inflated(packed)
    if member.method == _BZIP2:
        return _decompressed(bz2.BZ2Decompressor(), packed)
    if member.method == _LZMA:
        decompressor, begin = _lzma_decompressor(next(packed, b""))
        return _decompressed(decompressor, chain((begin,), packed))
    text = f"{os.fsdecode(member.name)}: compression method {member.method}"
    raise OSError(errno.EOPNOTSUPP, text)


def _packed(source: Source, at: int, end: int) -> Iterator[bytes]:
    while at < end:
        piece = source.exactly(at, min(_CHUNK // 4, end - at))
        at += len(piece)
        yield piece


def _inflated(packed: Iterator[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    for piece in packed:
        left = piece
        while left:
            yield inflate.decompress(left, _CHUNK)
            left = inflate.unconsumed_tail
    yield inflate.flush()


def _decompressed(
    decompressor: bz2.BZ2Decompressor | lzma.LZMADecompressor, packed: Iterator[bytes]
) -> Iterator[bytes]:
    for piece in packed:
        yield decompressor.decompress(piece, _CHUNK)
        while not (decompressor.needs_input or decompressor.eof):
            yield decompressor.decompress(b"", _CHUNK)


def _lzma_decompressor(head: bytes) -> tuple[lzma.LZMADecompressor, bytes]:
    """As ZIP has LZMA: a version, the size of the properties, and the properties before the stream."""
    if len(head) < 9:
        raise BadArchive("its properties are missing")
    size, bits, dictionary = struct.unpack_from("<HBI", head, 2)
    position_bits, rest = divmod(bits, 45)
    literal_bits, context_bits = divmod(rest, 9)
    properties = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": dictionary,
        "lc": context_bits,
        "lp": literal_bits,
        "pb": position_bits,
    }
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[properties]), head[4 + size :]
