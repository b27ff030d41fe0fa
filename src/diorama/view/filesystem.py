"""Filesystem: what the view asks of a file system that exists only here.

Objects are named by inode numbers, as in the kernel: stable while the file system lives, unique in it, the
same for every name of a file.  Whoever writes one derives from `diorama.interfaces.filesystem.FileSystem`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Attributes", "Entry", "FileSystem", "Statistics"]


@dataclass(frozen=True, slots=True)
class Attributes:
    """The status of an inode.

    `mode` has the type and the permission bits of stat(2), `modified` counts nanoseconds since the epoch,
    `device` is that of a device special file.  Owner and group are the caller's by default.
    """

    mode: int
    size: int = 0
    links: int = 1
    modified: int = 0
    device: int = 0
    uid: int = field(default_factory=os.getuid)
    gid: int = field(default_factory=os.getgid)

    @property
    def kind(self) -> int:
        """The type bits, `stat.S_IFREG` and so on."""
        return stat.S_IFMT(self.mode)

    def permits(self, wanted: int) -> bool:
        """Whether this process, and so the programs it starts, may do what the R_OK, W_OK, X_OK bits say."""
        user = os.geteuid()
        if user == 0:
            may_execute = stat.S_ISDIR(self.mode) or self.mode & 0o111
            return not wanted & os.X_OK or bool(may_execute)
        if user == self.uid:
            granted = self.mode >> 6
        elif self.gid == os.getegid() or self.gid in os.getgroups():
            granted = self.mode >> 3
        else:
            granted = self.mode
        return wanted & ~granted & 0o7 == 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory; `kind` as `Attributes.kind`."""

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
    name_max: int = 255


class FileSystem(Protocol):
    """A read-only file system.  Called from several threads at once; errors are `OSError`."""

    @property
    def title(self) -> str:
        """What it is, for messages and mount tables: "zip"."""
        ...

    @property
    def root(self) -> int:
        """The inode number of the root, which may be a directory or a regular file."""
        ...

    def lookup(self, directory: int, name: bytes) -> int:
        """The inode of a name, never `.` or `..`; ENOENT."""
        ...

    def attributes(self, inode: int) -> Attributes:
        """Its status."""
        ...

    def entries(self, directory: int) -> Sequence[Entry]:
        """The names in it, without `.` and `..`, in an order that does not change without need."""
        ...

    def readlink(self, inode: int) -> bytes:
        """The target of a symbolic link."""
        ...

    def copy_content(self, inode: int, fd: int) -> None:
        """Write the content of a regular file to the open file `fd`, from its start."""
        ...

    def statistics(self) -> Statistics:
        """Its size."""
        ...

    def close(self) -> None:
        """Release what it holds.  Nothing is asked afterwards."""
        ...
