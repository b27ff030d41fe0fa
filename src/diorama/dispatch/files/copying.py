"""Copying: copy_file_range(2) where a file is read and written directly, as vfs_copy_file_range() has it.

Between two such files of one file system that is asked to do it.  If it does not know how, and where what is
cached is the other side, bytes are read and written here, as the kernel splices them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import O_ACCMODE, O_APPEND, O_PATH, O_RDONLY, O_WRONLY
from diorama.abi.io import Number
from diorama.dispatch.files.answers import fail
from diorama.engine.taking import taken

if TYPE_CHECKING:
    from diorama.catalogue.handles import Pointer
    from diorama.catalogue.io import CopyFileRange
    from diorama.dispatch.files.direct import DirectFile
    from diorama.dispatch.files.state import Files
    from diorama.view.filesystem import FileSystem, OpenFile

__all__ = ["copy_range"]

_MOST: Final = 1 << 20
_MAX_COUNT: Final = 0x7FFFF000
_LAST: Final = (1 << 63) - 1
_CANNOT: Final = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV)


class _Direct:
    """A file that is read and written directly."""

    def __init__(self, one: DirectFile) -> None:
        self._one = one
        self.file: tuple[FileSystem | None, int] = one.place.filesystem, one.place.inode
        self.flags = one.flags
        self.opened: OpenFile | None = one.opened
        self.read = one.opened.read
        self.write = one.opened.write

    @property
    def position(self) -> int:
        return self._one.position

    @position.setter
    def position(self, offset: int) -> None:
        self._one.position = offset

    @property
    def size(self) -> int:
        return self._one.size


class _Cached:
    """One whose content is in the program's hands."""

    opened: OpenFile | None = None

    def __init__(self, file: tuple[FileSystem | None, int], flags: int, fd: int) -> None:
        self.file = file
        self.flags = flags
        self._fd = fd

    @property
    def position(self) -> int:
        return os.lseek(self._fd, 0, os.SEEK_CUR)

    @position.setter
    def position(self, offset: int) -> None:
        os.lseek(self._fd, offset, os.SEEK_SET)

    @property
    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset)

    def write(self, offset: int, data: bytes) -> int:
        return os.pwrite(self._fd, data, offset)


_End = _Direct | _Cached


def copy_range(files: Files, call: CopyFileRange) -> int:
    """Copy; at least one of both is read and written directly."""
    with ExitStack() as stack:
        source = stack.enter_context(_end(files, call, call.in_fd))
        target = stack.enter_context(_end(files, call, call.out_fd))
        if source.file[0] is not target.file[0]:
            raise fail(errno.EXDEV)
        start = _offset(call.in_offset, source)
        to = _offset(call.out_offset, target)
        size = _check(call, source, target, start, to)
        done = _copy(source, target, start, to, size) if size else 0
        _advance(call.in_offset, source, start + done)
        _advance(call.out_offset, target, to + done)
        filesystem, inode = target.file
        if done and target.opened is not None and filesystem is not None:
            files.synthetic.contents.stale(filesystem, inode)
        return done


@contextmanager
def _end(files: Files, call: CopyFileRange, fd: int) -> Generator[_End, None, None]:
    task = files.task(call.tracee)
    direct = files.direct.find(task, fd)
    if direct is not None:
        yield _Direct(direct)
        return
    place = files.tasks.virtual(task, fd)
    flags = files.tasks.flags(task, fd)
    if flags & O_PATH:
        raise fail(errno.EBADF)
    if place is None:
        raise fail(errno.EXDEV)
    with taken(call.tracee.tid, call.tracee.pid, fd) as ours:
        yield _Cached((place.filesystem, place.inode), flags, ours)


def _offset(pointer: Pointer[Number], end: _End) -> int:
    return pointer.read().value if pointer else end.position


def _advance(pointer: Pointer[Number], end: _End, offset: int) -> None:
    if pointer:
        pointer.write(Number(offset))
    else:
        end.position = offset


def _check(call: CopyFileRange, source: _End, target: _End, start: int, to: int) -> int:
    """How much is to be copied; the errors in the order of the kernel."""
    if source.flags & O_ACCMODE == O_WRONLY or target.flags & O_ACCMODE == O_RDONLY:
        raise fail(errno.EBADF)
    if target.flags & O_APPEND:
        raise fail(errno.EBADF)
    if call.flags or start < 0 or to < 0:
        raise fail(errno.EINVAL)
    if start + call.size > _LAST or to + call.size > _LAST:
        raise fail(errno.EOVERFLOW)
    size = min(call.size, max(source.size - start, 0), _MAX_COUNT)
    if source.file == target.file and start < to + size and to < start + size:
        raise fail(errno.EINVAL)
    return size


def _copy(source: _End, target: _End, start: int, to: int, size: int) -> int:
    if source.opened is not None and target.opened is not None:
        try:
            return source.opened.copy(start, target.opened, to, size)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
    done = 0
    while done < size:
        try:
            data = source.read(start + done, min(_MOST, size - done))
            written = target.write(to + done, data) if data else 0
        except OSError:
            if done:
                break
            raise
        done += written
        if written < len(data) or not data:
            break
    return done
