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
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Final

from diorama.fuse.flags import FSYNC_FDATASYNC, RELEASE_FLOCK_UNLOCK, WRITE_CACHE, Init
from diorama.fuse.handles import FlushIn, FsyncIn, OpenIn, OpenOut, ReadIn, ReleaseIn, WriteIn, WriteOut
from diorama.modules.filesystems.fuse.file import Asking, FuseFile
from diorama.modules.filesystems.fuse.lending import Lent, copy_lent, read_lent, write_lent
from diorama.modules.filesystems.fuse.polling import Polling
from diorama.modules.filesystems.fuse.translation import segments, unless_unknown, write_at
from diorama.modules.filesystems.fuse.waiting import Repeating

if TYPE_CHECKING:
    from diorama.fuse.connection import Reply

__all__ = ["OpenFiles"]

_READ_MAX: Final = 60 << 10
"""Servers that splice their answers into the socket (vmsplice(2)) send at most 16 pages as one message."""
_MOST_UNKNOWN: Final = 1 << 30
_MOST_MEMORY: Final = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
_SECTOR: Final = 512
_NEVER_SENT: Final = os.O_CREAT | os.O_EXCL | os.O_NOCTTY | os.O_CLOEXEC


class OpenFiles:
    """Those of one mount.  Any thread."""

    def __init__(self, asking: Asking, lent: Lent) -> None:
        self.asking = asking
        self.lent = lent
        self.polling = Polling()
        self._lock = threading.Lock()
        self._open: dict[int, list[FuseFile]] = {}
        self._owners: dict[int, set[int]] = {}
        self._uses: Counter[int] = Counter()
        self._left: dict[int, Callable[[], None]] = {}

    def open(self, inode: int, flags: int) -> FuseFile:
        """Have the server open a file as a program asks for it."""
        sent = flags & ~_NEVER_SENT
        truncates = bool(flags & os.O_TRUNC)
        if truncates and not self.asking.connection.features & Init.ATOMIC_O_TRUNC:
            sent &= ~os.O_TRUNC
        return self.add(FuseFile(self, inode, flags, self._opened(inode, sent)))

    def _opened(self, inode: int, flags: int) -> OpenOut | None:
        """As `_ask_open`, natively where that can be done: what is lent is not seen there."""
        connection = self.asking.connection
        if not connection.knows("OPEN") or self.lent.agreed:
            return self._ask_open(inode, flags)
        try:
            return self.asking.open(inode, flags) or self._ask_open(inode, flags)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            connection.refused("OPEN")
            return None

    def add(self, file: FuseFile) -> FuseFile:
        """There is one more."""
        self._borrow(file)
        with self._lock:
            self._open.setdefault(file.inode, []).append(file)
            self._uses[file.inode] += 1
        return file

    def _borrow(self, file: FuseFile) -> None:
        try:
            file.lent = self.lent.open(file.out, file.flags)
        except OSError:
            self._release(file)
            raise

    def closed(self, file: FuseFile) -> None:
        """There is one less, which nobody waits for.  The server is told when nobody asks by it any more."""
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
        self._end(file)

    def part(self, files: Sequence[FuseFile]) -> list[tuple[int, int, int]] | None:
        """Leave those of one inode to others, who tell the server that they are closed.

        Handle, flags and answer of each; None, and they stay, if one is more than that, or somebody has locks
        or waits for them to be closed.
        """
        inode = files[0].inode
        with self._lock:
            is_awaited = self._owners.get(inode) or inode in self._left
            if is_awaited or not all(one.is_plain for one in files):
                return None
            for one in files:
                one.uses = 0
                self._open[inode].remove(one)
            if not self._open[inode]:
                del self._open[inode]
                self._owners.pop(inode, None)
            self._uses[inode] -= len(files)
            if not self._uses[inode]:
                del self._uses[inode]
        return [(one.handle, one.flags & ~_NEVER_SENT, one.how) for one in files]

    @contextlib.contextmanager
    def used(self, file: FuseFile) -> Generator[None, None, None]:
        """Somebody asks by it; EBADF if it is closed."""
        with self._lock:
            if not file.uses:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            file.uses += 1
        try:
            yield
        finally:
            self._end(file)

    def _end(self, file: FuseFile) -> None:
        with self._lock:
            file.uses -= 1
            if file.uses:
                return
        if file.lent >= 0:
            os.close(file.lent)
        self._release(file)
        self._unuse(file.inode)

    def _release(self, file: FuseFile) -> None:
        if file.has_handle:
            how, owner = (0, 0) if file.locker is None else (RELEASE_FLOCK_UNLOCK, file.locker)
            released = ReleaseIn(file.handle, file.flags & ~_NEVER_SENT, how, owner)
            self.asking.post("RELEASE", file.inode, released)

    def _unuse(self, inode: int) -> None:
        with self._lock:
            self._uses[inode] -= 1
            if self._uses[inode]:
                return
            del self._uses[inode]
            then = self._left.pop(inode, None)
        if then is not None:
            then()

    def when_closed(self, inode: int, then: Callable[[], None]) -> None:
        """Do something as soon as the server knows that nothing of a file is open any more: it may be now."""
        with self._lock:
            if self._uses[inode]:
                self._left[inode] = then
                return
            del self._uses[inode]
        then()

    def unless_open(self, inode: int, then: Callable[[], None]) -> None:
        """Do something if nothing of a file is open."""
        with self._lock:
            is_open = self._uses[inode] > 0
            if not is_open:
                del self._uses[inode]
        if not is_open:
            then()

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

    def _find(self, inode: int, *, writing: bool) -> FuseFile | None:
        """An open file by which a file can be read, or written, and which is `used` by who asks; or None."""
        with self._lock:
            fit = [one for one in self._open.get(inode, ()) if (one.may_write if writing else one.may_read)]
            if fit:
                fit[-1].uses += 1
        return fit[-1] if fit else None

    def is_direct(self, inode: int) -> bool:
        """Whether a file is open whose content nobody caches."""
        with self._lock:
            return any(one.is_uncached for one in self._open.get(inode, ()))

    # -- content ------------------------------------------------------------------------------

    def copy(self, inode: int, fd: int) -> None:
        """Read all of a file."""
        size = self.most_read
        with self._by(inode, writing=False) as file:
            if file.lent >= 0:
                copy_lent(file.lent, fd)
                return
            offset, end, repeating = 0, 0, Repeating()
            while data := self._read(inode, file.handle, offset, size):
                write_at(fd, data, offset)
                offset += len(data)
                if len(data) < size:
                    return
                repeating.go_on()
                end = self._check_size(file, fd, offset, end)
                if offset > end:
                    os.ftruncate(fd, end)
                    return

    def _check_size(self, file: FuseFile, fd: int, offset: int, end: int) -> int:
        """Where a file ends of which so much was read: as from the kernel, there is no more than is told.

        EFBIG if it is too large to be kept: of some, the server alone knows how large it is.
        """
        if (file.is_uncached and offset > _MOST_UNKNOWN) or os.fstat(fd).st_blocks * _SECTOR > _MOST_MEMORY:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        if file.is_uncached:
            return offset
        return end if offset <= end else self.asking.size(file.inode)

    def read(self, inode: int, offset: int, size: int) -> bytes:
        """Read a piece; shorter only at the end."""
        found = b""
        with self._by(inode, writing=False) as file:
            if file.lent >= 0:
                return read_lent(file.lent, size, offset)
            while len(found) < size:
                wanted = min(size - len(found), self.most_read)
                data = self._read(inode, file.handle, offset + len(found), wanted)
                found += data
                if len(data) < wanted:
                    break
        return found

    def save(self, inode: int, fd: int, finish: Callable[[int], None]) -> None:
        """Write all of a file, and then do what is to be done by the same handle."""
        size = os.fstat(fd).st_size
        with self._by(inode, writing=True) as file:
            for offset, length in segments(fd, size):
                if file.lent >= 0:
                    write_lent(file.lent, fd, offset, length)
                else:
                    self._write(inode, file.handle, fd, offset, length)
            finish(file.handle)

    def sync(self, inode: int, *, is_directory: bool, data_only: bool) -> None:
        """Have the server make a file, or a directory, lasting."""
        how = FSYNC_FDATASYNC if data_only else 0
        if is_directory:
            with self.listing(inode) as handle, unless_unknown():
                self.asking.ask("FSYNCDIR", inode, FsyncIn(handle, how))
            return
        with self._by(inode, writing=True) as file:
            if file.lent >= 0:
                os.fsync(file.lent)
            with unless_unknown():
                self.asking.ask("FSYNC", inode, FsyncIn(file.handle, how))

    @property
    def are_cached(self) -> bool:
        """Whether the server knows that writing is cached, and lets all be read and written by any handle."""
        return bool(self.asking.connection.features & Init.WRITEBACK_CACHE)

    @property
    def most_read(self) -> int:
        """How much one READ asks for."""
        return min(self.asking.connection.max_read, _READ_MAX)

    def _read(self, inode: int, handle: int, offset: int, size: int) -> bytes:
        request = ReadIn(handle, offset, size, 0, 0, 0)
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

    def _ask_open(
        self, inode: int, flags: int, name: str = "OPEN", closing: str = "RELEASE"
    ) -> OpenOut | None:
        """None if the server knows of no handles.  What is opened for who is killed meanwhile is closed."""

        def close(reply: Reply) -> None:
            (opened,) = reply.records
            assert isinstance(opened, OpenOut)
            self.asking.post(closing, inode, ReleaseIn(fh=opened.fh, flags=flags))

        try:
            (opened,) = self.asking.ask(name, inode, OpenIn(flags, 0), late=close).records
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            return None
        assert isinstance(opened, OpenOut)
        return opened

    @contextlib.contextmanager
    def listing(self, inode: int) -> Generator[int, None, None]:
        """A handle of a directory."""
        with self._lock:
            self._uses[inode] += 1
        opened = None
        try:
            opened = self._ask_open(inode, os.O_DIRECTORY, "OPENDIR", "RELEASEDIR")
            yield 0 if opened is None else opened.fh
        finally:
            if opened is not None:
                self.asking.post("RELEASEDIR", inode, ReleaseIn(fh=opened.fh, flags=os.O_DIRECTORY))
            self._unuse(inode)

    @contextlib.contextmanager
    def _by(self, inode: int, *, writing: bool) -> Generator[FuseFile, None, None]:
        """What to read by, or to write: of what is open, or opened for that."""
        file = self._find(inode, writing=writing)
        if file is not None:
            try:
                yield file
            finally:
                self._end(file)
            return
        with self._for_a_while(inode, os.O_WRONLY if writing else os.O_RDONLY) as file:
            yield file
            if writing:
                with unless_unknown():
                    self.asking.ask("FLUSH", inode, FlushIn(fh=file.handle))

    @contextlib.contextmanager
    def _for_a_while(self, inode: int, flags: int) -> Generator[FuseFile, None, None]:
        with self._lock:
            self._uses[inode] += 1
        try:
            file = FuseFile(self, inode, flags, self._ask_open(inode, flags))
            self._borrow(file)
        except BaseException:
            self._unuse(inode)
            raise
        try:
            yield file
        finally:
            self._end(file)
