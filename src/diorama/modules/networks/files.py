"""Files: what a network tells its programs in files of the system (`/etc/hosts`), each a mount of its own."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from diorama.interfaces.filesystem import Attributes, Entry, FileSystem

__all__ = ["ToldFile"]


@dataclass(frozen=True, slots=True)
class _Told:
    content: bytes
    since: int


class ToldFile(FileSystem):
    """A file system of one file, which has what a function says whenever it is opened.  Any thread."""

    title = "network"

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._told = _Told(b"", time.time_ns())

    def _now(self) -> _Told:
        content = self._make()
        with self._lock:
            if content != self._told.content:
                self._told = _Told(content, max(time.time_ns(), self._told.since + 1))
            return self._told

    def attributes(self, inode: int) -> Attributes:
        """A file of root's, for everybody to read."""
        told = self._now()
        mode = stat.S_IFREG | 0o644
        return Attributes(mode, size=len(told.content), modified=told.since, uid=0, gid=0)

    def lookup(self, directory: int, name: bytes) -> int:
        """There is nothing in it."""
        raise _not_a_directory()

    def entries(self, directory: int) -> Sequence[Entry]:
        """There is nothing in it."""
        raise _not_a_directory()

    def copy_content(self, inode: int, fd: int) -> None:
        """What its status has told of."""
        os.write(fd, self._told.content)


def _not_a_directory() -> OSError:
    return OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
