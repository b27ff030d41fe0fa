"""Content: the memfd of one regular file, and how it agrees with what the file system knows.

Everything here is asked with the lock of the content, or before anybody else has it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from diorama.dispatch.files import memfd
from diorama.dispatch.files.filelock import FileLock
from diorama.dispatch.files.pieces import Pieces
from diorama.view.clock import Clock, Kind
from diorama.view.filesystem import Attributes, Changes, FileSystem, OpenFile
from diorama.view.mounts import Place

__all__ = [
    "Content",
    "Key",
    "changed_of",
    "forget_writers",
    "is_outdated",
    "refill",
    "relative_access",
    "save_content",
    "save_status",
    "set_status",
    "shown_status",
    "stamp_of",
    "store_part",
    "told_of",
    "truncate_there",
]

_DAY: Final = 86400 * 10**9
_PAGE: Final = 4096
_LOOKED_AT: Final = 1 << 20
_SMALL: Final = 10 * _PAGE
"""What every file system gives at once."""

Key = tuple[int, int]
Stamp = tuple[int, int, int]


@dataclass(slots=True, eq=False)
class Content:
    """The memfd of a regular file: `fd` is ours, read-only, -1 until it is filled.

    `told` is what the file system said of it when both agreed last, `stamp` what the memfd said then.
    `special` are the mode bits that the kernel may clear, and `lost` those that it has cleared since.
    `is_dirty` as far as is known; `changed` when the kernel changed it last, 0 if it has not.  `writers` and
    `mappers`: since then it was opened for writing, for both.  `is_orphan`: it has no name, but may get one
    if `may_be_linked`.  `is_named`: it was opened with O_PATH, which does not hold it.  `is_watched`: a
    program wants to be told of what happens to it.  `error` is that of the last save that failed
    (`diorama.dispatch.files.errors`), `failure` that of one that nobody was told of, and `refused` what the
    memfd said when it could not be saved, and somebody was.
    `is_unseen`: not all that is written is seen (`diorama.dispatch.files.through`).
    `is_kept`: who has it open is known to `Holding.keeper` alone.  `named_at`: which moves its path is from
    (`Told`).
    `pins` counts who needs `fd` just now, and `openers` those of them who are about to open it.
    `opened`: what the file system keeps of who has it open; `ours` counts times when only we wrote to it, of
    which the kernel will tell too, and `due` those when it will tell of what is closed already.  `pieces`
    while it is not all there (`diorama.dispatch.files.lazy`): then `fd` is for writing too.  `clock`: that of
    the view, by which its times are.
    """

    filesystem: FileSystem
    place: Place
    told: tuple[int, int]
    fd: int = -1
    pins: int = 0
    openers: int = 0
    stamp: Stamp = (0, 0, 0)
    accessed: int = 0
    special: int = 0
    lost: int = 0
    changed: int = 0
    is_dirty: bool = False
    is_racy: bool = False
    writers: bool = False
    mappers: bool = False
    mark: bytes = b""
    is_orphan: bool = False
    may_be_linked: bool = False
    is_named: bool = False
    is_watched: bool = False
    is_kept: bool = False
    is_unseen: bool = False
    named_at: int = 0
    watch: int = -1
    error: OSError | None = None
    failure: OSError | None = None
    refused: Stamp = (-1, -1, -1)
    pieces: Pieces | None = None
    opened: list[OpenFile] = field(default_factory=list["OpenFile"])
    ours: int = 0
    due: int = 0
    file_lock: FileLock = field(default_factory=FileLock)
    clock: Clock | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def key(self) -> Key:
        """Its file."""
        return id(self.filesystem), self.place.inode

    @property
    def path(self) -> bytes:
        """Where other processes of this user can open it."""
        return b"/proc/%d/fd/%d" % (os.getpid(), self.fd)

    @property
    def is_held(self) -> bool:
        """Whether somebody else has it open or mapped."""
        return memfd.is_held(self.fd)

    @property
    def is_being_written(self) -> bool:
        """Whether somebody has it open for writing, or mapped so."""
        return memfd.is_written(self.fd)

    def may_be_written(self, openers: int = 0) -> bool:
        """Whether somebody else than so many who open it has it open for writing, or is about to."""
        return self.writers and (self.openers > openers or self.is_being_written)

    def may_be_newer(self) -> bool:
        """Whether its size and times may not be told to the file system yet."""
        if not self.writers:
            return self.is_dirty
        self.note()
        return self.is_dirty or self.is_racy or self.mappers or self.may_be_written()

    @contextmanager
    def written(self) -> Generator[int | None, None, None]:
        """It, open for writing, which is no change by a program; None while it is executed."""
        try:
            fd = os.open(f"/proc/self/fd/{self.fd}", os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ETXTBSY:
                raise
            yield None
            return
        self.ours += self.watch >= 0
        try:
            yield fd
        finally:
            os.close(fd)

    def note(self) -> os.stat_result:
        """See whether the kernel has changed it; its status.  To be asked before its times are set by us."""
        status = os.fstat(self.fd)
        if self.pieces is None and stamp_of(status) != self.stamp:
            self.is_dirty = True
            self.changed = self.shown(status.st_ctime_ns)
            if self.clock is not None and status.st_mtime_ns != self.stamp[1]:
                os.utime(self.fd, ns=(status.st_atime_ns, self.shown(status.st_mtime_ns)))
                status = os.fstat(self.fd)
            self.stamp = stamp_of(status)
            self.lost |= self.special & ~status.st_mode
            self.special &= status.st_mode
        return status

    def shown(self, time: int) -> int:
        """What the wall clock of the view showed when that of the host showed this."""
        return time if self.clock is None else self.clock.course.at(Kind.WALL, time)

    def agree(self) -> None:
        """What the memfd says now is no change."""
        self.stamp = stamp_of(os.fstat(self.fd))

    def needs_saving(self) -> bool:
        """Whether it may have what the file system has not."""
        self.note()
        if self.is_dirty or not self.writers:
            return self.is_dirty
        if self.filesystem.saves_late or self.is_racy:
            return True
        return self.mappers and memfd.digest(self.fd) != self.mark

    def left_by_writers(self, *, still_written: bool) -> None:
        """The file system has what is in it: only who can write still makes a difference."""
        if not self.writers:
            return
        self.writers = still_written
        self.mappers &= still_written  # who opened it for writing only cannot map it so
        self.filesystem.differs(self.place.inode, does=still_written)

    def may_need_saving(self) -> bool:
        """As `needs_saving`, of what may be being saved just now."""
        if not self.lock.acquire(blocking=False):
            return True
        try:
            return self.fd >= 0 and not self.is_orphan and self.needs_saving()
        finally:
            self.lock.release()


def stamp_of(status: os.stat_result) -> Stamp:
    """What changes with every change by the kernel."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def told_of(content: Content) -> tuple[int, int]:
    """What the file system says of it now: size and time of modification."""
    attributes = content.filesystem.attributes(content.place.inode)
    return attributes.size, attributes.modified


def changed_of(attributes: Attributes) -> int:
    """The time of the last change."""
    return attributes.modified if attributes.changed is None else attributes.changed


def relative_access(content: Content, status: os.stat_result, changed: int) -> int:
    """The time of the last access, as mounts with `relatime` keep it."""
    known = content.accessed
    seen = known if status.st_atime_ns == known else content.shown(status.st_atime_ns)
    if seen != known and (known <= max(status.st_mtime_ns, changed) or seen - known > _DAY):
        content.accessed = seen
    return content.accessed


def shown_status(content: Content, attributes: Attributes) -> Attributes:
    """The status of a file of which this was told, with what programs have done to it since."""
    status = content.note()
    changed = max(changed_of(attributes), content.changed)
    return replace(
        attributes,
        mode=attributes.mode & ~content.lost,
        size=status.st_size,
        allocated=status.st_blocks * 512,
        modified=status.st_mtime_ns,
        accessed=relative_access(content, status, changed),
        changed=changed,
    )


def is_outdated(content: Content, told: tuple[int, int]) -> bool:
    """Whether the file was changed by others, and nobody here would lose anything by looking again."""
    if content.told == told or content.fd < 0:
        return False
    if not content.filesystem.writable:
        return True
    return not (content.pins or content.is_held or content.needs_saving())


def forget_writers(content: Content) -> None:
    """See whether it is only read by now, where nobody is about to open it: all that was written is saved."""
    if not content.writers or content.is_orphan or content.stamp[0] > _LOOKED_AT or content.is_being_written:
        return
    if not content.needs_saving():
        content.left_by_writers(still_written=False)


def save_content(content: Content) -> None:
    """Let the file system keep it; whatever goes wrong is an `OSError`."""
    try:
        content.filesystem.save_content(content.place.inode, content.fd)
    except OSError:
        raise
    except Exception as error:
        traceback.print_exc()
        raise OSError(errno.EIO, os.strerror(errno.EIO)) from error


def save_status(content: Content, status: os.stat_result) -> None:
    """Let the file system keep times, and the bits that the kernel has cleared, as far as it can."""
    inode = content.place.inode
    kept = stat.S_IMODE(content.filesystem.attributes(inode).mode) & ~content.lost
    mode = kept if content.lost else None
    changes = Changes(
        mode=mode,
        accessed=content.accessed,
        modified=status.st_mtime_ns,
        changed=content.changed or None,
    )
    with contextlib.suppress(OSError):  # what it can't keep
        content.filesystem.set_attributes(inode, changes)
        content.lost = 0


def set_status(content: Content, attributes: Attributes) -> None:
    """Let a memfd that nobody has yet look as its file does."""
    fd = content.fd
    status = os.fstat(fd)
    mode, times = stat.S_IMODE(attributes.mode) & 0o777, (status.st_atime_ns, status.st_mtime_ns)
    if content.filesystem.writable:
        content.special = memfd.special_bits(attributes.mode)
        content.accessed = attributes.modified if attributes.accessed is None else attributes.accessed
        mode, times = 0o777 | content.special, (content.accessed, attributes.modified)
        memfd.give_to(fd, status, attributes.uid, attributes.gid)
    if stat.S_IMODE(status.st_mode) != mode:
        os.fchmod(fd, mode)
    if times != (status.st_atime_ns, status.st_mtime_ns):
        os.utime(fd, ns=times)
    content.agree()
    content.is_racy = not memfd.has_fine_times()


def refill(content: Content, attributes: Attributes, *, openers: int = 0) -> None:
    """Read again what nobody has changed here; who has it open sees what it has become.

    Nor can anybody change it meanwhile, or what is written while we read would be replaced: while somebody
    has it open for writing, or is about to, it stays.  `openers`: so many who open it are the caller.
    """
    with content.lock:
        if content.pieces is not None:
            content.pieces.renew(attributes.size)
            set_status(content, attributes)
            content.stamp = (0, 0, 0)
            content.told = (attributes.size, attributes.modified)
            return
        if content.fd < 0 or content.is_orphan or content.needs_saving():
            return
        if content.may_be_written(openers):
            return
        if not _is_still(content, attributes.size):
            scratch = memfd.create_memfd(b"fresh")
            try:
                content.filesystem.copy_content(content.place.inode, scratch)
                if not memfd.are_equal(scratch, content.fd):
                    with content.written() as fd:
                        if fd is not None:
                            memfd.replace(fd, scratch)
            finally:
                os.close(scratch)
        set_status(content, attributes)
        content.told = (attributes.size, attributes.modified)
        if content.mappers:
            content.mark = memfd.digest(content.fd)


def store_part(content: Content, offset: int, data: bytes) -> None:
    """Let a part be what the file system has; who has it open sees that."""
    with content.lock:
        if content.pieces is not None or content.fd < 0:
            refill(content, content.filesystem.attributes(content.place.inode))
            return
        is_clean = not (content.needs_saving() or content.may_be_written())
        with content.written() as fd:
            if fd is not None:
                os.pwrite(fd, data, offset)
        if is_clean:
            content.agree()


def _is_still(content: Content, size: int) -> bool:
    """Whether a file that is small has just what is here: one question, and nothing made."""
    if content.filesystem.large_above is None or not 0 < size == content.stamp[0] <= _SMALL:
        return False
    room = (size // _PAGE + 1) * _PAGE  # so there is no more if it is not filled
    found = content.filesystem.read(content.place.inode, 0, room)
    return len(found) == size and found == os.pread(content.fd, room, 0)


def truncate_there(content: Content, size: int) -> None:
    """Set the length of what is saved, by the file system first: what it refuses is as if not tried.

    ETXTBSY while it is run.
    """
    filesystem, inode = content.filesystem, content.place.inode
    with content.written() as fd:
        if fd is None:
            raise OSError(errno.ETXTBSY, os.strerror(errno.ETXTBSY))
        filesystem.set_attributes(inode, Changes(size=size))
        os.ftruncate(fd, size)
    set_status(content, filesystem.attributes(inode))
    content.told = told_of(content)
    if content.mappers:
        content.mark = memfd.digest(content.fd)
