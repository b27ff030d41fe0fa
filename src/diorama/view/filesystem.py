"""Filesystem: what the view asks of a file system that exists only here.

Objects are named by inode numbers, as in the kernel: stable while the file system lives, unique in it, the
same for every name of a file.  Whoever writes one derives from `diorama.interfaces.filesystem.FileSystem`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from diorama.view.acl import Acl
    from diorama.view.formats import Formats
    from diorama.view.special import Argument, OpenSpecial

__all__ = ["Attributes", "Changes", "Entry", "FileSystem", "Statistics"]


_BLOCK: Final = 4096
_SECTOR: Final = 512


@dataclass(frozen=True, slots=True)
class Attributes:
    """The status of an inode.

    `mode` has the type and the permission bits of stat(2), `device` is that of a device special file.  Times
    count nanoseconds since the epoch; those that are None are `modified`.  Owner and group are the caller's
    by default.  `allocated` is the room taken, in bytes, if that is not the size.  `unchecked`: who may do
    what with it is for the file system to tell, and not by mode and owner.  `number` is the inode number that
    programs are to see, if that is not the one that the view knows it by.  `acl` is its access control list,
    if it has one that says more than `mode`, `default_acl` that of a directory for what is made there.
    """

    mode: int
    size: int = 0
    links: int = 1
    modified: int = 0
    device: int = 0
    uid: int = field(default_factory=os.getuid)
    gid: int = field(default_factory=os.getgid)
    accessed: int | None = None
    changed: int | None = None
    created: int | None = None
    allocated: int | None = None
    unchecked: bool = False
    number: int | None = None
    acl: Acl | None = None
    default_acl: Acl | None = None

    @property
    def kind(self) -> int:
        """The type bits, `stat.S_IFREG` and so on."""
        return stat.S_IFMT(self.mode)

    @property
    def shown_size(self) -> int:
        """The size that programs see: as with ext4 and most others, a directory takes a block."""
        return self.size or (_BLOCK if self.kind == stat.S_IFDIR else 0)

    @property
    def sectors(self) -> int:
        """The room that it takes, in units of 512 bytes: none for a short symbolic link."""
        if self.kind not in (stat.S_IFREG, stat.S_IFDIR):
            return 0
        if self.allocated is not None:
            return -(-self.allocated // _SECTOR)
        return -(-self.shown_size // _BLOCK) * (_BLOCK // _SECTOR)


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to become of the status of an inode; None stays as it is.  Units as in `Attributes`.

    `mode` has permission bits only.  A change makes the time of change the present, unless `changed` says
    when that was.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    accessed: int | None = None
    modified: int | None = None
    changed: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory; `inode` as programs see it, `kind` as `Attributes.kind`."""

    name: bytes
    inode: int
    kind: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """The status of a whole file system, statfs(2): block counts are in units of `block_size`."""

    block_size: int = 4096
    blocks: int = 0
    free: int = 0
    files: int = 0
    free_files: int = 0
    name_max: int = 255


LOCK_LAST = (1 << 63) - 1
"""The last byte that a lock can have: then it goes on without end."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock on the bytes from `start` to `end`, which is included, or if it is `whole` on an open file.

    `kind` is F_RDLCK, F_WRLCK or F_UNLCK, `owner` tells those apart who have locks, `pid` is whose it is.
    """

    kind: int
    start: int = 0
    end: int = LOCK_LAST
    owner: int = 0
    pid: int = 0
    whole: bool = False


class OpenFile(Protocol):
    """What a file system keeps of one open(2) of a regular file.  Errors are `OSError`."""

    @property
    def keeps(self) -> bool:
        """Whether what is cached of the content holds; else it is to be read anew."""
        ...

    @property
    def writes(self) -> bool:
        """Whether it is open for writing."""
        ...

    flags: int
    """Those of open(2), and what was set since."""

    @property
    def direct(self) -> bool:
        """Whether each read and write of a program is for the file system, one by one."""
        ...

    @property
    def seeks(self) -> bool:
        """Whether it has an offset that can be set."""
        ...

    @property
    def streams(self) -> bool:
        """Whether it has no offset at all."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """What a program is given that reads so much; shorter where there is no more now."""
        ...

    def write(self, offset: int, data: bytes) -> int:
        """A program writes; how much of it was taken."""
        ...

    def copy(self, offset: int, target: OpenFile, to: int, size: int) -> int:
        """Copy bytes to another open file of the file system; how many.  ENOSYS if that can't be done."""
        ...

    def truncate(self, size: int) -> None:
        """Set the length."""

    def allocate(self, mode: int, offset: int, length: int) -> None:
        """As fallocate(2)."""

    def seek(self, offset: int, whence: int) -> int:
        """Where there is data, or a hole, from an offset on; ENXIO."""
        ...

    def control(self, command: int, argument: int, data: bytes, room: int) -> tuple[int, bytes]:
        """As ioctl(2): its result, and at most `room` bytes for where `data` stood."""
        ...

    def poll(self, changed: Callable[[], None]) -> int | None:
        """For what it is ready, in bits of the kernel (poll.h); None if for everything, always.

        `changed` is called when that may have become otherwise, on a thread that may wait.
        """
        ...

    def test_lock(self, lock: Lock) -> Lock | None:
        """A lock that is in the way of this one; None if there is none."""
        ...

    def set_lock(self, lock: Lock, *, waits: bool) -> None:
        """Set a lock, or take it away; EAGAIN where another is in the way, unless it `waits`."""

    def flush(self, owner: int = 0) -> None:
        """One of its descriptors is being closed, and all is saved; with it go the locks of the `owner`."""

    def close(self) -> None:
        """It is open nowhere any more."""


class ContentCache(Protocol):
    """Who keeps the content of files that programs have open, and hears of changes by others."""

    def stale(self, filesystem: FileSystem, inode: int) -> None:
        """A file has another content now."""

    def store(self, filesystem: FileSystem, inode: int, offset: int, data: bytes) -> None:
        """A part of a file has this content."""

    def prune(self, filesystem: FileSystem, inode: int) -> bool:
        """Keep nothing of a file; False if somebody has it."""
        ...

    def retrieve(self, filesystem: FileSystem, inode: int, offset: int, size: int) -> bytes:
        """What is known of the content of a part of a file."""
        ...


class Told(Protocol):
    """What a file system has told, where calls can be answered by it without asking the view."""

    @property
    def handle(self) -> int: ...

    @property
    def moved(self) -> int: ...

    @property
    def list_mark(self) -> int: ...

    def left_listing(self) -> int: ...

    def list(
        self, inode: int, mark: int, names: Iterable[tuple[int, int, bytes]], position: int
    ) -> bytes: ...

    def listed(self, inode: int, position: int) -> bytes | None: ...

    def list_moved(self, fd: int, old: int, new: int) -> bool: ...

    def list_changed(self, inode: int) -> None: ...

    def shown(self, inode: int) -> int: ...

    def above(self, inode: int) -> int: ...


class FileSystem(Protocol):
    """A file system.  Called from several threads at once; errors are `OSError`.

    The contract of each method is that of `diorama.interfaces.filesystem.FileSystem`.
    """

    @property
    def title(self) -> str: ...

    @property
    def magic(self) -> int: ...

    @property
    def root(self) -> int: ...

    @property
    def writable(self) -> bool: ...

    @property
    def saves_late(self) -> bool: ...

    @property
    def lasts(self) -> bool: ...

    @property
    def lazy_above(self) -> int | None: ...

    @property
    def large_above(self) -> int | None: ...

    @property
    def judges_xattrs(self) -> bool: ...

    @property
    def has_acls(self) -> bool: ...

    @property
    def tells_at_close(self) -> bool: ...

    @property
    def takes_writes(self) -> bool: ...

    @property
    def told(self) -> Told | None: ...

    @property
    def reopens(self) -> int: ...

    @property
    def devid(self) -> bool: ...

    @property
    def formats(self) -> Formats | None: ...

    @property
    def progress(self) -> int | None: ...

    @property
    def locks_ranges(self) -> bool: ...

    @property
    def locks_files(self) -> bool: ...

    def lookup(self, directory: int, name: bytes) -> int: ...
    def attributes(self, inode: int) -> Attributes: ...
    def check_access(self, inode: int, mode: int) -> None: ...
    def walked(self, inode: int) -> Attributes: ...
    def entries(self, directory: int) -> Sequence[Entry]: ...
    def readlink(self, inode: int) -> bytes: ...
    def copy_content(self, inode: int, fd: int) -> None: ...
    def read(self, inode: int, offset: int, size: int) -> bytes: ...
    def open_file(self, inode: int, flags: int) -> OpenFile | None: ...
    def reopened(self, inode: int, handle: int, flags: int, how: int) -> OpenFile: ...
    def parted(self, opened: Sequence[OpenFile]) -> list[tuple[int, int, int]] | None: ...
    def open_device(self, inode: int, flags: int) -> int: ...
    def open_special(self, inode: int, flags: int) -> OpenSpecial | None: ...
    def control_device(self, inode: int, command: int, argument: Argument) -> int | None: ...
    def statistics(self) -> Statistics: ...
    def make(self, directory: int, name: bytes, attributes: Attributes, target: bytes = b"") -> int: ...
    def create(
        self, directory: int, name: bytes, attributes: Attributes, flags: int
    ) -> tuple[int, OpenFile | None]: ...
    def create_unnamed(
        self, directory: int, attributes: Attributes, flags: int
    ) -> tuple[int, OpenFile | None]: ...
    def link(self, inode: int, directory: int, name: bytes) -> None: ...
    def remove(self, directory: int, name: bytes) -> None: ...
    def rename(self, directory: int, name: bytes, to_directory: int, to_name: bytes) -> None: ...
    def rename_apart(self, directory: int, name: bytes, to_directory: int, to_name: bytes) -> None: ...
    def exchange(self, directory: int, name: bytes, other_directory: int, other_name: bytes) -> None: ...
    def set_attributes(self, inode: int, changes: Changes) -> None: ...
    def save_content(self, inode: int, fd: int) -> None: ...
    def get_xattr(self, inode: int, name: bytes) -> bytes: ...
    def list_xattrs(self, inode: int) -> Sequence[bytes]: ...
    def set_xattr(self, inode: int, name: bytes, value: bytes) -> None: ...
    def remove_xattr(self, inode: int, name: bytes) -> None: ...
    def differs(self, inode: int, *, does: bool) -> None: ...
    def forget(self, inode: int) -> None: ...
    def sync_file(self, inode: int, *, data_only: bool = False) -> None: ...
    def attach(self, cache: ContentCache) -> None: ...
    def await_closed(self, inode: int) -> None: ...
    def sync(self) -> None: ...
    def unlock(self, owner: int) -> None: ...
    def close(self) -> None: ...
