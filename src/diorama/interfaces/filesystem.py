"""Filesystem: what a module implements to be mounted.

Derive from `FileSystem`, or fill a `Tree` (`diorama.interfaces.tree`) if everything is known beforehand:

    class Clock(FileSystem):
        title = "clock"

        def lookup(self, directory, name):
            if name != b"now":
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return 2

        def attributes(self, inode):
            return Attributes(S_IFDIR | 0o755) if inode == 1 else Attributes(S_IFREG | 0o444, size=20)

        def entries(self, directory):
            return [Entry(b"now", 2, S_IFREG)]

        def copy_content(self, inode, fd):
            os.write(fd, b"%19d\n" % time.time_ns())

File systems are read-only so far: the view answers EROFS to what would change one, and never asks.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence

from diorama.view.filesystem import Attributes, Entry, Statistics

__all__ = ["Attributes", "Entry", "FileSystem", "Statistics"]


class FileSystem(ABC):
    """A file system of inodes.

    Methods are called by several guardians at once, each while its program waits: lock what is shared.  An
    `OSError` is the program's errno.  Inode numbers must stay what they are, and not be used again.
    """

    title = "synthetic"
    root = 1

    @abstractmethod
    def lookup(self, directory: int, name: bytes) -> int:
        """The inode of a name in a directory, never of `.` or `..`; ENOENT if there is none."""

    @abstractmethod
    def attributes(self, inode: int) -> Attributes:
        """Its status.  The size of a regular file must be that of its content."""

    @abstractmethod
    def entries(self, directory: int) -> Sequence[Entry]:
        """The names in a directory, without `.` and `..`, always in the same order."""

    @abstractmethod
    def copy_content(self, inode: int, fd: int) -> None:
        """Write the content of a regular file to the open file `fd`.

        Asked when a program opens it, and again only if size or time of modification changed.
        """

    def readlink(self, inode: int) -> bytes:
        """The target of a symbolic link; EINVAL for what is none."""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def statistics(self) -> Statistics:
        """Its size, for statfs(2)."""
        return Statistics()

    def close(self) -> None:
        """Release what it holds.  Nothing is asked afterwards."""
        return
