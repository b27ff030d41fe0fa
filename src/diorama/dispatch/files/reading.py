"""Reading: calls that read from files which are held in pieces, by descriptor.

The kernel would read zeros where a piece is missing.  So what is to be read is fetched first, and held while
it is read.  A call that uses the offset of its open file is not left to the kernel: between our look at the
offset and its own another thread may have moved it, to where nothing is.  `read` and its relatives are done
here, on the program's open file itself; the others are run with an explicit offset, and the file's is set
afterwards.  At most `_MOST` bytes are held at once; whoever moves bytes from file to file must be ready to be
given less than asked.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from typing import Final

from diorama.abi.fcntl import O_ACCMODE, O_PATH, O_WRONLY, SEEK_DATA, SEEK_HOLE
from diorama.abi.io import Number
from diorama.abi.memory import MAP_ANONYMOUS
from diorama.catalogue.io import (
    CopyFileRange,
    LLSeek,
    LSeek,
    PRead64,
    PReadV2,
    Read,
    ReadV,
    SendFile,
    Splice,
)
from diorama.catalogue.memory import MMap, MRemap, RemapFilePages
from diorama.catalogue.model import Request, Tracee
from diorama.catalogue.rings import IoSubmit
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.copying import copy_range
from diorama.dispatch.files.direct_calls import (
    Piece,
    is_negative,
    move_directly,
    offset_of,
    put,
    read_directly,
    seek_directly,
)
from diorama.dispatch.files.lazy import waiter
from diorama.dispatch.files.mapping import map_device, refuse_execution
from diorama.dispatch.files.pieces import Pieces
from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.through import unsee
from diorama.engine.taking import taken
from diorama.errors import Unsupported

__all__ = ["READING"]

READING: Final = frozenset[type[Request]]({
    CopyFileRange, IoSubmit, LLSeek, LSeek, MMap, MRemap, PRead64, PReadV2, Read, ReadV, RemapFilePages,
    SendFile, Splice,
})  # fmt: skip
"""What concerns only files in pieces, of which there are none without such a file system."""

_MOST: Final = 4 << 20
_MAX_COUNT: Final = 0x7FFFF000
_IOV_MAX: Final = 1024
_IOCB: Final = 64
_IOCB_FD: Final = 20
_MAX_OPERATIONS: Final = 65536


# -- read(2) and its relatives --------------------------------------------------------------------


@answers(Read)
def read(files: Files, call: Read) -> Outcome:
    """Read at the file's offset."""
    return _read_file(files, call, [(call.buffer.address, call.size)], None)


@answers(PRead64)
def read_at(files: Files, call: PRead64) -> Outcome:
    """Read at an offset."""
    if call.offset < 0:
        return None
    return _read_file(files, call, [(call.buffer.address, call.size)], call.offset)


@answers(ReadV, PReadV2)
def read_pieces(files: Files, call: ReadV | PReadV2) -> Outcome:
    """Read into several pieces of memory."""
    task = files.task(call.tracee)
    if files.lazy.find(task, call.fd) is None and files.direct.find(task, call.fd) is None:
        return None
    if not 0 <= call.count <= _IOV_MAX:
        return None
    places = [(one.iov_base, one.iov_len) for one in call.pieces.read_all()] if call.count else []
    offset = None
    if isinstance(call, PReadV2):
        has_flags = call.spelling is None or "flags" not in call.spelling.fixed
        offset = offset_of(call.offset, call.flags, has_own=has_flags)
    return _read_file(files, call, places, offset)


def _read_file(
    files: Files, call: Read | PRead64 | ReadV | PReadV2, places: list[Piece], offset: int | None
) -> int | None:
    if any(is_negative(call.tracee, size) for _, size in places):
        return None
    task = files.task(call.tracee)
    pieces = files.lazy.find(task, call.fd)
    if pieces is not None:
        return _read(call.tracee, call.fd, pieces, places, offset)
    direct = files.direct.find(task, call.fd)
    return None if direct is None else read_directly(call.tracee, direct, call.fd, places, offset)


def _read(tracee: Tracee, fd: int, pieces: Pieces, places: list[Piece], offset: int | None) -> int | None:
    with taken(tracee.tid, tracee.pid, fd) as ours:
        if not _may_read(ours):
            return None  # the kernel says EBADF
        if offset is not None:
            return _deliver(tracee, pieces, places, offset)
        with pieces.position:
            start = os.lseek(ours, 0, os.SEEK_CUR)
            done = _deliver(tracee, pieces, places, start)
            _advance(ours, start, done)
            return done


def _may_read(fd: int) -> bool:
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    return not flags & O_PATH and flags & O_ACCMODE != O_WRONLY


def _advance(fd: int, start: int, done: int) -> None:
    """Move an offset on, unless the program has set it meanwhile: then that came last."""
    if done and os.lseek(fd, 0, os.SEEK_CUR) == start:
        os.lseek(fd, start + done, os.SEEK_SET)


def _deliver(tracee: Tracee, pieces: Pieces, places: list[Piece], offset: int) -> int:
    """Copy into the program's memory; how many bytes, which are less only at the end or at a bad address."""
    total = 0
    for address, size in places:
        size = min(size, max(pieces.size - offset - total, 0), _MAX_COUNT - total)
        for at in range(0, size, _MOST):
            wanted = min(_MOST, size - at)
            with pieces.hold(offset + total, offset + total + wanted, waiter(tracee)):
                data = os.pread(pieces.fd, wanted, offset + total)
            done = put(tracee.memory, address + at, data)
            total += done
            if done < len(data) and not total:
                raise fail(errno.EFAULT)
            if done < wanted:
                return total
    return total


# -- seeking --------------------------------------------------------------------------------------


@answers(LSeek)
def seek(files: Files, call: LSeek) -> Outcome:
    """Where there is data: everywhere, as in a file system that does not know holes."""
    direct = files.direct.find(files.task(call.tracee), call.fd)
    if direct is not None:
        return seek_directly(direct, call.offset, call.whence)
    if call.whence not in (SEEK_DATA, SEEK_HOLE):
        return None
    pieces = files.lazy.find(files.task(call.tracee), call.fd)
    return None if pieces is None else _seek(call.tracee, call.fd, pieces, call.offset, call.whence)


@answers(LLSeek)
def seek_long(files: Files, call: LLSeek) -> Outcome:
    """The same for programs of 32 bits."""
    direct = files.direct.find(files.task(call.tracee), call.fd)
    if direct is not None:
        offset = (call.high << 32 | call.low) - (call.high >> 31 << 64)
        call.position.write(Number(seek_directly(direct, offset, call.whence)))
        return 0
    if call.whence not in (SEEK_DATA, SEEK_HOLE):
        return None
    pieces = files.lazy.find(files.task(call.tracee), call.fd)
    if pieces is None:
        return None
    found = _seek(call.tracee, call.fd, pieces, call.high << 32 | call.low, call.whence)
    if found is None:
        return None
    call.position.write(Number(found))
    return 0


def _seek(tracee: Tracee, fd: int, pieces: Pieces, offset: int, whence: int) -> int | None:
    with taken(tracee.tid, tracee.pid, fd) as ours, pieces.position:
        if not _may_read(ours):
            return None
        if not 0 <= offset < pieces.size:
            raise fail(errno.ENXIO)
        return os.lseek(ours, offset if whence == SEEK_DATA else pieces.size, os.SEEK_SET)


# -- from file to file ----------------------------------------------------------------------------


@answers(SendFile, CopyFileRange, Splice)
def move_bytes(files: Files, call: SendFile | CopyFileRange | Splice) -> Outcome:
    """Move bytes out of a file."""
    if move_directly(files, call):
        if isinstance(call, CopyFileRange):
            return copy_range(files, call)
        raise fail(errno.EINVAL)
    pieces = files.lazy.find(files.task(call.tracee), call.in_fd)
    if pieces is None:
        return None
    name = "offset" if isinstance(call, SendFile) else "in_offset"
    pointer = getattr(call, name)
    with taken(call.tracee.tid, call.tracee.pid, call.in_fd) as ours:
        if not _may_read(ours):
            return None
        if pointer:
            start = pointer.read().value
            return _move(call, pieces, start, {})
        with pieces.position:
            start = os.lseek(ours, 0, os.SEEK_CUR)
        done = _move(call, pieces, start, {name: Number(start)})
        with pieces.position:
            _advance(ours, start, done)
        return done


def _move(
    call: SendFile | CopyFileRange | Splice, pieces: Pieces, start: int, changes: dict[str, object]
) -> int:
    size = min(call.size, _MOST, max(pieces.size - start, 0))
    with pieces.hold(start, start + size, waiter(call.tracee)):
        return call.replace(size=size or call.size, **changes).run()


# -- mapping --------------------------------------------------------------------------------------


@answers(MMap)
def map_file(files: Files, call: MMap) -> Outcome:
    """What is mapped is read without a call: all of it must be there."""
    if call.flags & MAP_ANONYMOUS:
        return None
    refuse_execution(files, call)
    direct = files.direct.find(files.task(call.tracee), call.fd)
    if direct is not None and direct.special is not None:
        return map_device(files, call, direct)
    pieces = files.lazy.find(files.task(call.tracee), call.fd)
    if pieces is not None:
        # Where it is not seen that a mapping grows, any of it may be wanted.
        start, length = (call.offset, call.length) if files.lazy.is_seen else (0, pieces.size)
        _keep(call.NAME, pieces, call.tracee, start, length)
    return None


@answers(MRemap)
def remap(files: Files, call: MRemap) -> Outcome:
    """A mapping that grows shows more of its file, and of a device more than may be its own."""
    if not (files.lazy.are_mapped or files.direct.mapped):
        return None
    identity, offset = _mapped(call.tracee, call.address)
    if identity in files.direct.mapped and call.new_length > call.length:
        raise Unsupported(call.NAME, "a mapping of a device does not grow", errno.EFAULT)
    pieces = files.lazy.at(identity)
    if pieces is not None:
        _keep(call.NAME, pieces, call.tracee, offset, call.new_length)
    return None


@answers(RemapFilePages)
def remap_pages(files: Files, call: RemapFilePages) -> Outcome:
    """Any page of the file may be wanted."""
    if not (files.lazy.are_mapped or files.direct.mapped):
        return None
    identity, _ = _mapped(call.tracee, call.address)
    if identity in files.direct.mapped:
        raise Unsupported(call.NAME, "pages of a mapped device stay where they are", errno.EINVAL)
    pieces = files.lazy.at(identity)
    if pieces is not None:
        _keep(call.NAME, pieces, call.tracee, 0, pieces.size)
    return None


def _keep(name: str, pieces: Pieces, tracee: Tracee, offset: int, length: int) -> None:
    try:
        pieces.keep(offset, offset + length, waiter(tracee))
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        why = "more than 1 GiB of files that are fetched in pieces would be mapped"
        raise Unsupported(name, why, errno.ENODEV) from None


def _mapped(tracee: Tracee, address: int) -> tuple[tuple[int, int], int]:
    """The identity of the file that is mapped at an address, and which offset of it is there (proc(5))."""
    for start, end, offset, identity in _mappings(tracee.tid):
        if start <= address < end:
            return identity, offset + address - start
    return (0, 0), 0


def _mappings(tid: int) -> Iterator[tuple[int, int, int, tuple[int, int]]]:
    with open(f"/proc/{tid}/maps", "rb") as maps:
        for line in maps:
            span, _, offset, device, inode = line.split(None, 5)[:5]
            start, _, end = span.partition(b"-")
            major, _, minor = device.partition(b":")
            identity = os.makedev(int(major, 16), int(minor, 16)), int(inode)
            yield int(start, 16), int(end, 16), int(offset, 16), identity


# -- asynchronously -------------------------------------------------------------------------------


@answers(IoSubmit)
def submit(files: Files, call: IoSubmit) -> Outcome:
    """Operations on such files are refused: when they are done cannot be told."""
    task, memory, word = files.task(call.tracee), call.tracee.memory, call.tracee.abi.word
    count = min(max(call.count, 0), _MAX_OPERATIONS)
    table = memory.read(call.operations, count * word) if count else b""
    for at in range(0, len(table) - word + 1, word):
        operation = memory.read(int.from_bytes(table[at : at + word], "little"), _IOCB)
        fd = int.from_bytes(operation[_IOCB_FD : _IOCB_FD + 4], "little", signed=True)
        if files.lazy.find(task, fd) is not None:
            raise Unsupported(call.NAME, "not supported for files that are fetched in pieces", errno.EINVAL)
        if files.direct.find(task, fd) is not None:
            why = "not supported for devices, and files with direct input and output"
            raise Unsupported(call.NAME, why, errno.EINVAL)
        unsee(files, task, call.NAME, fd)
    return None
