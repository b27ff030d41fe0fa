"""Lending: files of a server's own that have the content of what it serves (FUSE_PASSTHROUGH).

By ioctl(2) of its device it lends an open file, and gets a number for that; an answer to OPEN says by that
number where the content is.  Linux reads and writes that file in the place of the server.  Here what is
cached is read from there and written to it; all else is still asked of the server.

As in the kernel each open of a program opens the lent file anew, with the flags of the program; how the
server has opened it does not matter, and it may close it or take it back.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from typing import TYPE_CHECKING, Final

from diorama.fuse.flags import DEV_IOC_BACKING_CLOSE, DEV_IOC_BACKING_OPEN, FOpen, Init
from diorama.fuse.handles import BackingMap
from diorama.modules.filesystems.fuse.translation import segments, write_at

if TYPE_CHECKING:
    from diorama.fuse.connection import Connection
    from diorama.fuse.handles import OpenOut
    from diorama.interfaces.filesystem import Argument

__all__ = ["LENDS", "Lent", "copy_lent", "read_lent", "write_lent"]

LENDS: Final = (DEV_IOC_BACKING_OPEN, DEV_IOC_BACKING_CLOSE)
"""The requests of ioctl(2) by which it does that."""
_LENT: Final = int(FOpen.PASSTHROUGH)
_ALLOWED: Final = FOpen.PASSTHROUGH | FOpen.DIRECT_IO | FOpen.PARALLEL_DIRECT_WRITES | FOpen.NOFLUSH
_AT_ONCE: Final = 1 << 20


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class Lent:
    """What one server has lent, by number.  Any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._files: dict[int, tuple[int, bool]] = {}
        self._last = 0
        self._is_closed = False

    @property
    def agreed(self) -> Init:
        """Whether the server lends anything."""
        return self._connection.features & Init.PASSTHROUGH

    def control(self, command: int, argument: Argument) -> int:
        """The server lends a file: its number; or takes one back.  As fuse_backing_open() of Linux."""
        if not self.agreed:
            raise _error(errno.EPERM)
        if command == DEV_IOC_BACKING_CLOSE:
            return self._take_back(*argument.unpack("=i"))
        wanted = BackingMap.decode(argument.read(BackingMap.width()))
        if wanted.flags or wanted.padding:
            raise _error(errno.EINVAL)
        fd, may_be_written = argument.take(wanted.fd)
        with self._lock:
            if self._is_closed:
                os.close(fd)
                raise _error(errno.EPERM)
            self._last += 1
            self._files[self._last] = fd, may_be_written
            return self._last

    def _take_back(self, number: int) -> int:
        if number <= 0:
            raise _error(errno.EINVAL)
        with self._lock:
            found = self._files.pop(number, None)
        if found is None:
            raise _error(errno.ENOENT)
        os.close(found[0])
        return 0

    def open(self, opened: OpenOut | None, flags: int) -> int:
        """What the content is in of what the server has opened with these flags; -1 if it keeps it itself.

        EIO where that cannot be, as in the kernel.
        """
        if opened is None or not opened.open_flags & _LENT:
            return -1
        if not self.agreed or opened.open_flags & ~_ALLOWED:
            raise _error(errno.EIO)
        try:
            with self._lock:
                fd, may_be_written = self._files[opened.backing_id]
                if flags & os.O_ACCMODE and not may_be_written:
                    raise _error(errno.EROFS)
                return _open_again(fd, flags & os.O_ACCMODE)
        except (KeyError, OSError):
            raise _error(errno.EIO) from None

    def close(self) -> None:
        """Nothing is lent any more."""
        with self._lock:
            self._is_closed = True
            files, self._files = self._files, {}
        for fd, _ in files.values():
            os.close(fd)


def _open_again(fd: int, access: int) -> int:
    """The kernel asks for no permission then; we are asked for ours, and who makes a file may have none.

    Then it is as the server has it open: it is read and written with offsets, of which O_APPEND knows none.
    """
    try:
        return os.open(f"/proc/self/fd/{fd}", access | os.O_CLOEXEC)
    except PermissionError:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        if flags & os.O_ACCMODE not in (access, os.O_RDWR) or (access and flags & os.O_APPEND):
            raise
        return os.dup(fd)


def copy_lent(source: int, target: int) -> None:
    """Copy all that a lent file has, but for its holes, into an empty one."""
    size = os.fstat(source).st_size
    for offset, length in segments(source, size):
        end = offset + length
        while offset < end and (data := os.pread(source, min(_AT_ONCE, end - offset), offset)):
            write_at(target, data, offset)
            offset += len(data)
    if os.fstat(target).st_size < size:
        os.ftruncate(target, size)


def read_lent(source: int, size: int, offset: int) -> bytes:
    """A piece of a lent file; shorter only at its end."""
    found = b""
    while len(found) < size and (data := os.pread(source, size - len(found), offset + len(found))):
        found += data
    return found


def write_lent(target: int, source: int, offset: int, length: int) -> None:
    """Write a piece of what is cached to a lent file."""
    end = offset + length
    while offset < end and (data := os.pread(source, min(_AT_ONCE, end - offset), offset)):
        write_at(target, data, offset)
        offset += len(data)
