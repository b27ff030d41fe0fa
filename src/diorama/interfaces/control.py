"""Control: small files by which a subject of a view is told and changed, as those of /proc/sys are.

What is read is made at that moment, and each write(2) is an order of its own, whose errno is that of the
write.  A file system of such files sets `tells_at_close`, so that their reads and writes are seen, and gives
a `ControlFile` for each open file; one in which nobody makes or removes any is a `ControlFiles`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from diorama.interfaces.filesystem import Attributes, Changes, FileSystem, Lock, OpenFile

__all__ = ["ControlFile", "ControlFiles"]


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class ControlFile:
    """An open file: `tell` says what is in it, `order` takes what is written.

    None where that cannot be done: EINVAL.
    """

    keeps = False
    direct = True
    seeks = True
    streams = False

    def __init__(
        self, flags: int, tell: Callable[[], bytes] | None, order: Callable[[bytes], None] | None
    ) -> None:
        self.flags = flags
        self._tell = tell
        self._order = order

    @property
    def writes(self) -> bool:
        """Whether it is open for writing."""
        return bool(self.flags & os.O_ACCMODE)

    def read(self, offset: int, size: int) -> bytes:
        """A part of what it says now."""
        if self._tell is None:
            raise _error(errno.EINVAL)
        return self._tell()[offset : offset + size]

    def write(self, offset: int, data: bytes) -> int:
        """An order, wherever in the file."""
        if self._order is None:
            raise _error(errno.EINVAL)
        self._order(data)
        return len(data)

    def copy(self, offset: int, target: OpenFile, to: int, size: int) -> int:
        """Its bytes are nowhere."""
        raise _error(errno.ENOSYS)

    def truncate(self, size: int) -> None:
        """It has no length."""

    def allocate(self, mode: int, offset: int, length: int) -> None:
        """It takes no room."""
        raise _error(errno.EOPNOTSUPP)

    def seek(self, offset: int, whence: int) -> int:
        """It has no holes, nor a known end."""
        raise _error(errno.EINVAL)

    def control(self, command: int, argument: int, data: bytes, room: int) -> tuple[int, bytes]:
        """Nothing more can be asked of it."""
        raise _error(errno.ENOTTY)

    def poll(self, changed: Callable[[], None]) -> int | None:
        """It is always ready."""
        return None

    def test_lock(self, lock: Lock) -> Lock | None:
        """Locks are not for it."""
        return None

    def set_lock(self, lock: Lock, *, waits: bool) -> None:
        """Locks are not for it."""

    def flush(self, owner: int = 0) -> None:
        """All has been done."""

    def close(self) -> None:
        """There is nothing to give back."""


class ControlFiles(FileSystem):
    """A file system of control files, whose names come and go by what they say, not by calls on them."""

    writable = True
    tells_at_close = True

    def set_attributes(self, inode: int, changes: Changes) -> None:
        """A length means nothing here; the rest stays as it is."""
        if (changes.mode, changes.uid, changes.gid) != (None, None, None):
            raise _error(errno.EPERM)

    def make(self, directory: int, name: bytes, attributes: Attributes, target: bytes = b"") -> int:
        """Nothing is made by its name."""
        raise _error(errno.EACCES if attributes.kind == stat.S_IFREG else errno.EPERM)

    def remove(self, directory: int, name: bytes) -> None:
        """Nothing is removed by its name."""
        raise _error(errno.EPERM)

    def rename(self, directory: int, name: bytes, to_directory: int, to_name: bytes) -> None:
        """All keep their names."""
        raise _error(errno.EPERM)
