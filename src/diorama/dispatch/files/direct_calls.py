"""Direct calls: what programs do with files that are read and written directly (`direct`).

Each read and write is one of the file system's, with its result, by fuse_direct_io() of Linux: what is long
is asked in pieces, and one that comes short is the last.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import (
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_GETFL,
    F_SETFL,
    SEEK_CUR,
    SEEK_DATA,
    SEEK_END,
    SEEK_HOLE,
    SEEK_SET,
)
from diorama.abi.io import RWF_HIPRI
from diorama.catalogue.files import Dup, FTruncate
from diorama.catalogue.io import (
    CopyFileRange,
    FAllocate,
    Fcntl,
    Flock,
    PWrite64,
    PWriteV2,
    SendFile,
    Splice,
    Write,
    WriteV,
)
from diorama.catalogue.model import Request
from diorama.dispatch.files.answers import Outcome, answers, fail
from diorama.dispatch.files.direct import HIGH, LOW
from diorama.dispatch.files.locking import LOCKING, lock_range
from diorama.dispatch.files.through import find_through, is_too_long, unsee, write_through
from diorama.dispatch.files.whole import is_high, make_whole
from diorama.engine.taking import taken
from diorama.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from diorama.catalogue.model import Memory, Tracee
    from diorama.dispatch.files.direct import DirectFile
    from diorama.dispatch.files.state import Files

__all__ = [
    "BY_DESCRIPTOR",
    "DIRECT",
    "Piece",
    "check_number",
    "is_negative",
    "move_directly",
    "offset_of",
    "open_high",
    "put",
    "read_directly",
    "seek_directly",
]

BY_DESCRIPTOR: Final = frozenset[type[Request]](
    {Dup, FAllocate, FTruncate, Fcntl, PWrite64, PWriteV2, Write, WriteV}
)
"""What concerns only descriptors of such files, besides what reads."""

DIRECT: Final = BY_DESCRIPTOR | {Flock}

_MAX_COUNT: Final = 0x7FFFF000
_MOST: Final = 1 << 20
_PAGE: Final = 4096
_IOV_MAX: Final = 1024

Piece = tuple[int, int]
"""An address in the program and a size."""


def put(memory: Memory, address: int, data: bytes) -> int:
    """Write to memory that may end in the middle; how much of it."""
    try:
        memory.write(address, data)
        return len(data)
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise
    done = 0
    while done < len(data):
        size = min(_PAGE - (address + done) % _PAGE, len(data) - done)
        try:
            memory.write(address + done, data[done : done + size])
        except OSError:
            break
        done += size
    return done


# -- reading and writing --------------------------------------------------------------------------


def read_directly(
    tracee: Tracee, file: DirectFile, fd: int, places: list[Piece], offset: int | None
) -> int:
    """Read at an offset, or at the file's own."""
    if not file.reads:
        raise fail(errno.EBADF)
    with _looking(tracee, file, fd):
        return _at(file, offset, lambda at: _read(tracee, file, places, at))


@contextmanager
def _looking(tracee: Tracee, file: DirectFile, fd: int) -> Generator[None, None, None]:
    """For what it is ready is another thing afterwards."""
    try:
        yield
    finally:
        file.look(partial(taken, tracee.tid, tracee.pid, fd))


def _at(file: DirectFile, offset: int | None, work: Callable[[int], int]) -> int:
    if offset is not None:
        if not file.opened.seeks:
            raise fail(errno.ESPIPE)
        return work(offset)
    with file.moving():
        done = work(file.position)
        if not file.opened.streams:
            file.position += done
        return done


def _read(tracee: Tracee, file: DirectFile, places: list[Piece], offset: int) -> int:
    total = 0
    for address, size in places:
        at = 0
        while at < size and total < _MAX_COUNT:
            wanted = min(size - at, _MOST, _MAX_COUNT - total)
            try:
                data = file.opened.read(offset + total, wanted)
            except OSError:
                if total:
                    return total
                raise
            done = put(tracee.memory, address + at, data)
            at, total = at + done, total + done
            if done < len(data) and not total:
                raise fail(errno.EFAULT)
            if done < wanted:
                return total
    if not any(size for _, size in places):
        return 0
    return total


def _write(tracee: Tracee, files: Files, file: DirectFile, places: list[Piece], offset: int) -> int:
    total = 0
    for address, size in places:
        at = 0
        while at < size and total < _MAX_COUNT:
            wanted = min(size - at, _MOST, _MAX_COUNT - total)
            try:
                done = file.opened.write(offset + total, tracee.memory.read(address + at, wanted))
            except OSError:
                if total:
                    return _changed(files, file, total)
                raise
            at, total = at + done, total + done
            if done < wanted:
                return _changed(files, file, total)
    return _changed(files, file, total)


def _changed(files: Files, file: DirectFile, done: int) -> int:
    """Who has it open otherwise sees that."""
    filesystem = file.place.filesystem
    if done and filesystem is not None and files.synthetic.contents.find(filesystem, file.place.inode):
        files.synthetic.contents.stale(filesystem, file.place.inode)
    return done


def _write_directly(
    files: Files, tracee: Tracee, file: DirectFile, fd: int, places: list[Piece], offset: int | None
) -> int:
    if not file.writes:
        raise fail(errno.EBADF)

    def write(at: int) -> int:
        start = file.size if file.appends else at
        done = _write(tracee, files, file, places, start)
        if offset is None and file.appends:
            file.position = start
        return done

    with _looking(tracee, file, fd):
        return _at(file, offset, write)


def is_negative(tracee: Tracee, size: int) -> bool:
    """Whether the kernel takes a size for a mistake: as a number with a sign it is negative."""
    return bool(size >> 8 * tracee.abi.word - 1)


@answers(Write, PWrite64)
def write(files: Files, call: Write | PWrite64) -> Outcome:
    """Write at the file's offset, or at another one."""
    file = files.direct.find(files.task(call.tracee), call.fd)
    offset = call.offset if isinstance(call, PWrite64) else None
    if is_negative(call.tracee, call.size) or (offset or 0) < 0:
        return None
    if file is None:
        return write_through(files, call.tracee, call.fd, [(call.buffer.address, call.size)], offset)
    return _write_directly(files, call.tracee, file, call.fd, [(call.buffer.address, call.size)], offset)


@answers(WriteV, PWriteV2)
def write_pieces(files: Files, call: WriteV | PWriteV2) -> Outcome:
    """Write several pieces of memory."""
    file = files.direct.find(files.task(call.tracee), call.fd)
    if file is None and find_through(files, files.task(call.tracee), call.fd) is None:
        return None
    if not 0 <= call.count <= _IOV_MAX:
        return None
    places = [(one.iov_base, one.iov_len) for one in call.pieces.read_all()] if call.count else []
    if any(is_negative(call.tracee, size) for _, size in places):
        return None
    offset = None
    if isinstance(call, PWriteV2):
        offset = offset_of(call.offset, call.flags if file else 0, has_own=not _lacks_flags(call))
    if file is None:
        how = call.flags if isinstance(call, PWriteV2) else 0
        return write_through(files, call.tracee, call.fd, places, offset, how)
    return _write_directly(files, call.tracee, file, call.fd, places, offset)


def _lacks_flags(call: PWriteV2) -> bool:
    return call.spelling is not None and "flags" in call.spelling.fixed


def offset_of(offset: int, flags: int, *, has_own: bool) -> int | None:
    """The offset to read or write at; None for the file's own, which only calls with flags know."""
    if offset < -has_own:
        raise fail(errno.EINVAL)
    if flags & ~RWF_HIPRI:
        raise fail(errno.EOPNOTSUPP)
    return None if offset == -1 else offset


# -- seeking and sizes ----------------------------------------------------------------------------


def seek_directly(file: DirectFile, offset: int, whence: int) -> int:
    """Set the offset."""
    if not file.opened.seeks:
        raise fail(errno.ESPIPE)
    with file.moving():
        if file.special is not None:
            file.position = file.special.place(file.position, offset, whence)
            return file.position
        if whence in (SEEK_DATA, SEEK_HOLE):
            found = file.opened.seek(offset, whence)
        elif whence in (SEEK_SET, SEEK_CUR, SEEK_END):
            found = offset + (0, file.position, file.size if whence == SEEK_END else 0)[whence]
        else:
            raise fail(errno.EINVAL)
        if found < 0:
            raise fail(errno.EINVAL)
        file.position = found
        return found


@answers(FTruncate)
def truncate(files: Files, call: FTruncate) -> Outcome:
    """Set its length."""
    file = files.direct.find(files.task(call.tracee), call.fd)
    if file is None:
        content = find_through(files, files.task(call.tracee), call.fd)
        if content is None or call.length < 0 or is_too_long(call.tracee, content, call.length):
            return None
        files.synthetic.contents.truncate(content, call.length)
        return 0
    if call.length < 0 or not file.writes:
        raise fail(errno.EINVAL)
    file.opened.truncate(call.length)
    _changed(files, file, 1)
    return 0


@answers(FAllocate)
def allocate(files: Files, call: FAllocate) -> Outcome:
    """Have room made in it."""
    file = files.direct.find(files.task(call.tracee), call.fd)
    if file is None:
        return None
    if call.offset < 0 or call.length <= 0:
        raise fail(errno.EINVAL)
    if not file.writes:
        raise fail(errno.EBADF)
    file.opened.allocate(call.mode, call.offset, call.length)
    _changed(files, file, 1)
    return 0


def move_directly(files: Files, call: SendFile | CopyFileRange | Splice) -> bool:
    """Whether bytes would be moved from or to such a file, which programs then do themselves."""
    task = files.task(call.tracee)
    if find_through(files, task, call.out_fd) is not None:
        raise fail(errno.EINVAL)
    return any(files.direct.find(task, fd) is not None for fd in (call.in_fd, call.out_fd))


# -- numbers and flags ----------------------------------------------------------------------------


@answers(Dup)
def duplicate(files: Files, call: Dup) -> Outcome:
    """Another descriptor, with a number that is seen."""
    if not is_high(files, files.task(call.tracee), call.fd):
        return None
    return _duplicate(call, F_DUPFD, 0)


def _duplicate(call: Dup | Fcntl, command: int, start: int) -> int:
    """The lowest number from one on that is seen: who has closed one of the first three relies on it."""
    tracee = call.tracee
    if any(not os.path.lexists(f"/proc/{tracee.tid}/fd/{number}") for number in range(start, LOW)):
        made = int(tracee.syscall.fcntl(call.fd, command, start))
        if not LOW <= made < HIGH:
            return made
        tracee.syscall.close(made)  # another thread was faster
    return int(tracee.syscall.fcntl(call.fd, command, HIGH))


@answers(Fcntl)
def control(files: Files, call: Fcntl) -> Outcome:
    """Locks, and what concerns the number, and the flags, which the socket has not."""
    if call.command in LOCKING:
        return lock_range(files, call)
    task = files.task(call.tracee)
    if call.command in (F_DUPFD, F_DUPFD_CLOEXEC):
        if 0 <= call.argument < HIGH and is_high(files, task, call.fd):
            return _duplicate(call, call.command, call.argument)
        return None
    file = files.direct.find(task, call.fd)
    if file is None:
        return None
    if call.command == F_GETFL:
        return file.flags
    if call.command == F_SETFL:
        file.change_flags(call.argument)
        return 0
    return None


def check_number(files: Files, call: Request, fd: int, number: int) -> None:
    """EMFILE if such a file would get a number that is not seen; one in pieces is made whole for it."""
    if not LOW <= number < HIGH:
        return
    task = files.task(call.tracee)
    if files.direct.find(task, fd) is not None:
        why = f"a file with direct input and output has no descriptor from {LOW} to {HIGH - 1}"
        raise Unsupported(call.NAME, why, errno.EMFILE)
    make_whole(files, task, call.NAME, files.lazy.find(task, fd))
    unsee(files, task, call.NAME, fd, number)


def open_high(tracee: Tracee, fd: int, *, cloexec: bool) -> int:
    """Give a program a descriptor of ours with a number that is seen; `fd` is closed."""
    try:
        low = tracee.give(fd, cloexec=cloexec)
    finally:
        os.close(fd)
    if low < LOW:
        return low
    try:
        return int(tracee.syscall.fcntl(low, F_DUPFD_CLOEXEC if cloexec else F_DUPFD, HIGH))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        why = f"a file with direct input and output needs more than {HIGH} descriptors (ulimit -n)"
        raise Unsupported("open", why, errno.EMFILE) from None
    finally:
        tracee.syscall.close(low)
