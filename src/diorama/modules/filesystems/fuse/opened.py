"""Opened: the open files of one mount, by the handles that the server has given for them.

Each open(2) of a program is one OPEN (or CREATE), and one RELEASE when that open file is gone.  Content is
read and written through a handle that is open for it, whosever it is, as the kernel does for what it caches.
Where there is none, because who wrote is gone or may not read, one is opened for that time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from diorama.fuse.attributes import SetAttrIn
from diorama.fuse.flags import (
    FSYNC_FDATASYNC,
    IOCTL_RETRY,
    RELEASE_FLOCK_UNLOCK,
    WRITE_CACHE,
    FAttr,
    FOpen,
    Init,
)
from diorama.fuse.handles import (
    CopyFileRangeIn,
    FAllocateIn,
    FlushIn,
    FsyncIn,
    IoctlIn,
    IoctlOut,
    LSeekIn,
    LSeekOut,
    OpenIn,
    OpenOut,
    ReadIn,
    ReleaseIn,
    WriteIn,
    WriteOut,
)
from diorama.modules.filesystems.fuse.locks import set_lock, test_lock
from diorama.modules.filesystems.fuse.polling import Polling
from diorama.modules.filesystems.fuse.translation import segments, write_at

if TYPE_CHECKING:
    from diorama.fuse.connection import Connection, Reply
    from diorama.fuse.wire import Wire
    from diorama.interfaces.filesystem import Lock, OpenFile

__all__ = ["Asking", "FuseFile", "OpenFiles", "unless_unknown"]

_READ_MAX: Final = 60 << 10
"""Servers that splice their answers into the socket (vmsplice(2)) send at most 16 pages as one message."""
_UNSEEKABLE: Final = FOpen.NONSEEKABLE | FOpen.STREAM
_DIRECT: Final = FOpen.DIRECT_IO | _UNSEEKABLE
_NEVER_SENT: Final = os.O_CREAT | os.O_EXCL | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Asking:
    """How a server is asked: with an answer, or without anybody who waits for it.

    `write` writes what is open, part by part, up to an offset (`WritingChannel.write`).
    `changed` tells that the attributes of a file are to be asked for again, `size` how long it is, `node` the
    server's number for it.
    """

    ask: Callable[..., Reply]
    post: Callable[..., None]
    write: Callable[[int, WriteIn, int, int], tuple[int, Reply | None]]
    connection: Connection
    changed: Callable[[int], None]
    size: Callable[[int], int]
    node: Callable[[int], int]


class FuseFile:
    """An open file of a program: what the server has given for it.

    `has_handle`: the server has one, which it must be told of when the file is closed.  `locker` is the owner
    of a lock on all of it.
    """

    def __init__(self, files: OpenFiles, inode: int, flags: int, out: OpenOut | None) -> None:
        self._files = files
        self.inode = inode
        self.flags = flags
        self.has_handle = out is not None
        self.handle = 0 if out is None else out.fh
        self.how = FOpen.KEEP_CACHE if out is None else FOpen(out.open_flags)
        self.locker: int | None = None
        self._polled = 0

    @property
    def keeps(self) -> bool:
        """Whether what is cached of its content still holds."""
        return bool(self.how & FOpen.KEEP_CACHE)

    @property
    def writes(self) -> bool:
        """Whether it is open for writing."""
        return bool(self.flags & os.O_ACCMODE)

    @property
    def reads(self) -> bool:
        """Whether it is open for reading."""
        return self.flags & os.O_ACCMODE != os.O_WRONLY

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
        return bool(self.how & FOpen.STREAM)

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
        request = CopyFileRangeIn(self.handle, offset, node, target.handle, to, size)
        (copied,) = self._ask("COPY_FILE_RANGE", request).records
        assert isinstance(copied, WriteOut)
        if copied.size > size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._files.asking.changed(target.inode)
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
        if not self.how & FOpen.NOFLUSH:
            with unless_unknown():
                self._files.asking.ask("FLUSH", self.inode, FlushIn(fh=self.handle, lock_owner=owner))

    def close(self) -> None:
        """It is gone."""
        self._files.polling.drop(self._polled)
        self._files.closed(self)


class OpenFiles:
    """Those of one mount.  Any thread."""

    def __init__(self, asking: Asking) -> None:
        self.asking = asking
        self.polling = Polling()
        self._lock = threading.Lock()
        self._open: dict[int, list[FuseFile]] = {}
        self._owners: dict[int, set[int]] = {}

    def open(self, inode: int, flags: int) -> FuseFile:
        """Have the server open a file as a program asks for it."""
        sent = flags & ~_NEVER_SENT
        truncates = bool(flags & os.O_TRUNC)
        if truncates and not self.asking.connection.features & Init.ATOMIC_O_TRUNC:
            sent &= ~os.O_TRUNC
        return self.add(FuseFile(self, inode, flags, self._ask_open(inode, sent)))

    def add(self, file: FuseFile) -> FuseFile:
        """There is one more."""
        with self._lock:
            self._open.setdefault(file.inode, []).append(file)
        return file

    def closed(self, file: FuseFile) -> None:
        """There is one less, which nobody waits for."""
        with self._lock:
            files = self._open.get(file.inode, [])
            if file not in files:
                return
            files.remove(file)
            owners: set[int] = set()
            if not files:
                del self._open[file.inode]
                owners = self._owners.pop(file.inode, owners)
        for owner in owners:
            self.asking.post("FLUSH", file.inode, FlushIn(fh=file.handle, lock_owner=owner))
        if file.has_handle:
            how, owner = (0, 0) if file.locker is None else (RELEASE_FLOCK_UNLOCK, file.locker)
            released = ReleaseIn(file.handle, file.flags & ~_NEVER_SENT, how, owner)
            self.asking.post("RELEASE", file.inode, released)

    # -- locks on ranges ----------------------------------------------------------------------

    def locked(self, inode: int, owner: int) -> None:
        """Somebody may have locks in a file, until he closes it or is gone."""
        with self._lock:
            self._owners.setdefault(inode, set()).add(owner)

    def unlocked(self, inode: int, owner: int) -> None:
        """Somebody has none in a file any more."""
        with self._lock:
            self._owners.get(inode, set()).discard(owner)

    def unlock(self, owner: int) -> None:
        """Somebody is gone: in all files."""
        with self._lock:
            found = [self._open[inode][-1] for inode, owners in self._owners.items() if owner in owners]
        for file in found:
            file.flush(owner)

    def find(self, inode: int, *, writing: bool) -> FuseFile | None:
        """An open file by which a file can be read, or written."""
        with self._lock:
            files = list(self._open.get(inode, ()))
        # A server may append whatever the offset.
        fit = [one for one in files if (one.writes and not one.flags & os.O_APPEND if writing else one.reads)]
        return fit[-1] if fit else None

    def is_direct(self, inode: int) -> bool:
        """Whether a file is open whose content nobody caches."""
        with self._lock:
            return any(one.how & FOpen.DIRECT_IO for one in self._open.get(inode, ()))

    # -- content ------------------------------------------------------------------------------

    def copy(self, inode: int, fd: int) -> None:
        """Read all of a file."""
        size = self.most_read
        with self._reading(inode) as handle:
            offset = 0
            while data := self._read(inode, handle, offset, size):
                write_at(fd, data, offset)
                offset += len(data)
                if len(data) < size:
                    return

    def read(self, inode: int, offset: int, size: int) -> bytes:
        """Read a piece; shorter only at the end."""
        found = b""
        with self._reading(inode) as handle:
            while len(found) < size:
                wanted = min(size - len(found), self.most_read)
                data = self._read(inode, handle, offset + len(found), wanted)
                found += data
                if len(data) < wanted:
                    break
        return found

    def save(self, inode: int, fd: int, finish: Callable[[int], None]) -> None:
        """Write all of a file, and then do what is to be done by the same handle."""
        size = os.fstat(fd).st_size
        with self.writing(inode) as handle:
            for offset, length in segments(fd, size):
                self._write(inode, handle, fd, offset, length)
            finish(handle)

    def sync(self, inode: int, *, is_directory: bool, data_only: bool) -> None:
        """Have the server make a file, or a directory, lasting."""
        how = FSYNC_FDATASYNC if data_only else 0
        with self.listing(inode) if is_directory else self.writing(inode) as handle, unless_unknown():
            self.asking.ask("FSYNCDIR" if is_directory else "FSYNC", inode, FsyncIn(handle, how))

    @property
    def most_read(self) -> int:
        """How much one READ asks for."""
        return min(self.asking.connection.max_read, _READ_MAX)

    def _read(self, inode: int, handle: int, offset: int, size: int) -> bytes:
        request = ReadIn(fh=handle, offset=offset, size=size)
        return self.asking.ask("READ", inode, request, room=size).data

    def _write(self, inode: int, handle: int, fd: int, offset: int, length: int) -> None:
        most = self.asking.connection.max_write
        end = offset + length
        while offset < end:
            request = WriteIn(fh=handle, offset=offset, size=most, write_flags=WRITE_CACHE)
            offset, reply = self.asking.write(inode, request, fd, end)
            if reply is None:
                data = os.pread(fd, min(most, end - offset), offset)
                if not data:
                    return
                request = WriteIn(fh=handle, offset=offset, size=len(data), write_flags=WRITE_CACHE)
                reply = self.asking.ask("WRITE", inode, request, data=data)
            (written,) = reply.records
            assert isinstance(written, WriteOut)
            if not 0 < written.size <= min(most, end - offset):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            offset += written.size

    # -- handles ------------------------------------------------------------------------------

    def _ask_open(self, inode: int, flags: int, name: str = "OPEN") -> OpenOut | None:
        """None if the server knows of no handles."""
        try:
            (opened,) = self.asking.ask(name, inode, OpenIn(flags)).records
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            return None
        assert isinstance(opened, OpenOut)
        return opened

    @contextlib.contextmanager
    def _for_a_while(self, inode: int, flags: int, opening: str, closing: str) -> Generator[int, None, None]:
        opened = self._ask_open(inode, flags, opening)
        try:
            yield 0 if opened is None else opened.fh
        finally:
            if opened is not None:
                self.asking.post(closing, inode, ReleaseIn(fh=opened.fh, flags=flags))

    def listing(self, inode: int) -> contextlib.AbstractContextManager[int]:
        """A handle of a directory."""
        return self._for_a_while(inode, os.O_DIRECTORY, "OPENDIR", "RELEASEDIR")

    @contextlib.contextmanager
    def _reading(self, inode: int) -> Generator[int, None, None]:
        file = self.find(inode, writing=False)
        if file is not None:
            yield file.handle
            return
        with self._for_a_while(inode, os.O_RDONLY, "OPEN", "RELEASE") as handle:
            yield handle

    @contextlib.contextmanager
    def writing(self, inode: int) -> Generator[int, None, None]:
        """A handle to write by."""
        file = self.find(inode, writing=True)
        if file is not None:
            yield file.handle
            return
        with self._for_a_while(inode, os.O_WRONLY, "OPEN", "RELEASE") as handle:
            yield handle
            with unless_unknown():
                self.asking.ask("FLUSH", inode, FlushIn(fh=handle))


@contextlib.contextmanager
def unless_unknown() -> Generator[None, None, None]:
    """What the server does not know needs not be done."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
