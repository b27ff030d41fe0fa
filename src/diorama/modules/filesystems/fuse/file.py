"""File: an open file of a program, as the server knows it by the handle that it has given for it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from diorama.fuse.attributes import SetAttrIn
from diorama.fuse.flags import IOCTL_RETRY, FAttr, FOpen
from diorama.fuse.handles import (
    CopyFileRangeIn,
    CopyFileRangeOut,
    FAllocateIn,
    FlushIn,
    IoctlIn,
    IoctlOut,
    LSeekIn,
    LSeekOut,
    OpenOut,
    ReadIn,
    WriteIn,
    WriteOut,
)
from diorama.modules.filesystems.fuse.locks import set_lock, test_lock
from diorama.modules.filesystems.fuse.translation import unless_unknown

if TYPE_CHECKING:
    from diorama.fuse.connection import Connection, Reply
    from diorama.fuse.wire import Wire
    from diorama.interfaces.filesystem import Lock, OpenFile
    from diorama.modules.filesystems.fuse.opened import OpenFiles

__all__ = ["Asking", "FuseFile"]

# As plain numbers, which every open(2) looks at.
_KEEPS, _STREAMS, _NO_FLUSH = int(FOpen.KEEP_CACHE), int(FOpen.STREAM), int(FOpen.NOFLUSH)
_UNCACHED: Final = int(FOpen.DIRECT_IO)
_UNSEEKABLE: Final = int(FOpen.NONSEEKABLE | FOpen.STREAM)
_DIRECT: Final = _UNCACHED | _UNSEEKABLE
_MOST_COPIED: Final = 0xFFFFF000
"""What an answer of 32 bits can tell, in whole pages."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How a server is asked: with an answer, or without anybody who waits for it.

    `write` writes what is open, part by part, up to an offset (`WritingChannel.write`).
    `changed` tells that the attributes of a file are to be asked for again, `size` how long it is, `node` the
    server's number for it.  `open` has the server open a file natively, where that can be done.
    """

    ask: Callable[..., Reply]
    post: Callable[..., None]
    write: Callable[[int, WriteIn, int, int], tuple[int, Reply | None]]
    connection: Connection
    changed: Callable[[int], None]
    size: Callable[[int], int]
    node: Callable[[int], int]
    open: Callable[[int, int], OpenOut | None]


class FuseFile:
    """An open file of a program: what the server has given for it.

    `has_handle`: the server has one, which it must be told of when the file is closed.  `locker` is the owner
    of a lock on all of it.  `uses` counts who asks by it, and whoever has it open as one.  `lent`: what has
    its content, if the server has lent that (`lending`), else -1.
    """

    def __init__(self, files: OpenFiles, inode: int, flags: int, out: OpenOut | None) -> None:
        self._files = files
        self.inode = inode
        self.flags = flags
        self.out = out
        self.lent = -1
        self.has_handle = out is not None
        self.handle = 0 if out is None else out.fh
        self.how = _KEEPS if out is None else out.open_flags
        self.locker: int | None = None
        self.uses = 1
        self._polled = 0

    @property
    def keeps(self) -> bool:
        """Whether what is cached of its content still holds."""
        return bool(self.how & _KEEPS)

    @property
    def writes(self) -> bool:
        """Whether it is open for writing."""
        return bool(self.flags & os.O_ACCMODE)

    @property
    def may_write(self) -> bool:
        """Whether what is cached can be written by it: a server may append whatever the offset.

        One that has agreed to FUSE_WRITEBACK_CACHE leaves that to us.
        """
        return self.writes and (self._files.are_cached or not self.flags & os.O_APPEND)

    @property
    def reads(self) -> bool:
        """Whether it is open for reading."""
        return self.flags & os.O_ACCMODE != os.O_WRONLY

    @property
    def may_read(self) -> bool:
        """Whether what is to be cached can be read by it: such a server lets that be done by all."""
        return self.reads or self._files.are_cached

    @property
    def is_uncached(self) -> bool:
        """Whether the server alone knows what is in it, and how long it is."""
        return bool(self.how & _UNCACHED)

    @property
    def direct(self) -> bool:
        """Whether the server wants each read and write, or there is no offset to cache by."""
        return bool(self.how & _DIRECT)

    @property
    def seeks(self) -> bool:
        """Whether it has an offset that can be set."""
        return not self.how & _UNSEEKABLE

    @property
    def streams(self) -> bool:
        """Whether it has no offset at all."""
        return bool(self.how & _STREAMS)

    @property
    def is_plain(self) -> bool:
        """Whether it is no more than a handle by which is read, and nobody asks by it just now."""
        is_extraordinary = self.lent >= 0 or self.locker is not None or self._polled
        return self.has_handle and self.uses == 1 and not (self.writes or is_extraordinary)

    def read(self, offset: int, size: int) -> bytes:
        """Read as a program does; one that comes short is the last."""
        found, most = b"", self._files.most_read
        while len(found) < size:
            wanted = min(size - len(found), most)
            request = ReadIn(fh=self.handle, offset=offset + len(found), size=wanted, flags=self.flags)
            try:
                data = self._ask("READ", request, room=wanted).data
            except OSError:
                if found:
                    break
                raise
            found += data
            if len(data) < wanted:
                break
        return found

    def write(self, offset: int, data: bytes) -> int:
        """Write as a program does; how much the server has taken."""
        if self.lent >= 0 and not self.direct:
            self._files.asking.changed(self.inode)
            return os.pwrite(self.lent, data, offset)
        done, most = 0, self._files.asking.connection.max_write
        while done < len(data):
            part = data[done : done + most]
            request = WriteIn(fh=self.handle, offset=offset + done, size=len(part), flags=self.flags)
            try:
                (written,) = self._ask("WRITE", request, data=part).records
            except OSError:
                if done:
                    break
                raise
            assert isinstance(written, WriteOut)
            if written.size > len(part):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            done += written.size
            if written.size < len(part):
                break
        self._files.asking.changed(self.inode)
        return done

    def copy(self, offset: int, target: OpenFile, to: int, size: int) -> int:
        """Have the server copy bytes to another of its files."""
        if not isinstance(target, FuseFile) or target._files is not self._files:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        node = self._files.asking.node(target.inode)
        copied = self._copy(partial(CopyFileRangeIn, self.handle, offset, node, target.handle, to), size)
        if copied > size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._files.asking.changed(target.inode)
        return copied

    def _copy(self, request: Callable[[int, int], CopyFileRangeIn], size: int) -> int:
        """Ask as the newest version does, and as older ones where the server does not know that."""
        try:
            (copied,) = self._ask("COPY_FILE_RANGE_64", request(size, 0)).records
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
        else:
            assert isinstance(copied, CopyFileRangeOut)
            return copied.bytes_copied
        (copied,) = self._ask("COPY_FILE_RANGE", request(min(size, _MOST_COPIED), 0)).records
        assert isinstance(copied, WriteOut)
        return copied.size

    def truncate(self, size: int) -> None:
        """Set the length."""
        self._ask("SETATTR", SetAttrIn(FAttr.SIZE | FAttr.FH, fh=self.handle, size=size))
        self._files.asking.changed(self.inode)

    def allocate(self, mode: int, offset: int, length: int) -> None:
        """Have room made, or freed."""
        try:
            self._ask("FALLOCATE", FAllocateIn(self.handle, offset, length, mode))
        except OSError as error:
            if error.errno == errno.ENOSYS:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP)) from None
            raise
        self._files.asking.changed(self.inode)

    def seek(self, offset: int, whence: int) -> int:
        """Where there is data, or a hole; what a server does not know is that all is data."""
        try:
            (found,) = self._ask("LSEEK", LSeekIn(self.handle, offset, whence)).records
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            size = self._files.asking.size(self.inode)
            if not 0 <= offset < size:
                raise OSError(errno.ENXIO, os.strerror(errno.ENXIO)) from None
            return offset if whence == os.SEEK_DATA else size
        assert isinstance(found, LSeekOut)
        return found.offset

    def control(self, command: int, argument: int, data: bytes, room: int) -> tuple[int, bytes]:
        """As ioctl(2), restricted to what the number of the command says of sizes."""
        request = IoctlIn(self.handle, 0, command, argument, len(data), room)
        try:
            reply = self._ask("IOCTL", request, data=data, room=room)
        except OSError as error:
            if error.errno == errno.ENOSYS:
                raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY)) from None
            raise
        out = reply.records[0] if reply.records else None
        if not isinstance(out, IoctlOut) or out.flags & IOCTL_RETRY:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._files.asking.changed(self.inode)
        return out.result, reply.data

    def _ask(self, name: str, record: Wire, *, data: bytes = b"", room: int = 0) -> Reply:
        with self._files.used(self):
            return self._files.asking.ask(name, self.inode, record, data=data, room=room)

    def poll(self, changed: Callable[[], None]) -> int | None:
        """For what it is ready, if the server knows."""
        polling = self._files.polling
        self._polled = self._polled or polling.number()
        try:
            return polling.ask(self._files.asking.ask, self.inode, self.handle, self._polled, changed)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            return None

    def test_lock(self, lock: Lock) -> Lock | None:
        """What is in the way of a lock."""
        return test_lock(self._files.asking.ask, self.inode, self.handle, lock)

    def set_lock(self, lock: Lock, *, waits: bool) -> None:
        """Set a lock, which ends with the process, or with this open file."""
        if lock.whole:
            self.locker = lock.owner
        else:
            self._files.locked(self.inode, lock.owner)
        set_lock(self._files.asking, self.inode, self.handle, lock, waits=waits)

    def flush(self, owner: int = 0) -> None:
        """A descriptor of it was closed."""
        self._files.unlocked(self.inode, owner)
        if not self.how & _NO_FLUSH:
            with unless_unknown():
                self._ask("FLUSH", FlushIn(fh=self.handle, lock_owner=owner))

    def close(self) -> None:
        """It is gone."""
        self._files.polling.drop(self._polled)
        self._files.closed(self)
