"""Connections: the files by which FUSE file systems of a view are looked at and given up (fusectl of Linux).

Each that is mounted has a directory, named after its device number as the kernel has it.  There `waiting`
tells how many requests wait for an answer (a moment after they were made), and what is written to `abort`,
whatever it is, ends the connection: nobody waits for the server any more, who finds its device gone.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from diorama.abi.stat import split_device
from diorama.interfaces.control import ControlFile, ControlFiles
from diorama.interfaces.filesystem import Attributes, Entry, Statistics

if TYPE_CHECKING:
    from diorama.modules.filesystems.fuse.filesystem import FuseFileSystem
    from diorama.view.mounts import Mount

__all__ = ["PLACE", "Connections"]

PLACE: Final = "/sys/fs/fuse/connections"
"""Where it is expected."""
_FILES: Final = {b"waiting": (1, 0o400), b"abort": (2, 0o200)}
_WAITING, _ABORT = (number for number, _ in _FILES.values())
_APART: Final = 8
"""Between the inode numbers of two directories."""
_MINOR_BITS: Final = 20


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class Connections(ControlFiles):
    """The files.  Any thread."""

    title = "fusectl"
    magic = 0x65735543  # FUSE_CTL_SUPER_MAGIC

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mounted: dict[int, tuple[bytes, FuseFileSystem]] = {}
        self._last = 0
        self._since = time.time_ns()

    def follow(self, mount: Mount) -> None:
        """Something is mounted, perhaps once more."""
        filesystem = mount.filesystem
        if filesystem is None or not hasattr(filesystem, "abort"):
            return
        major, minor = split_device(mount.st_dev)
        with self._lock:
            self._sweep()
            if filesystem not in [known for _, known in self._mounted.values()]:
                self._last += _APART
                self._mounted[self._last] = b"%d" % (major << _MINOR_BITS | minor), filesystem  # type: ignore[assignment]

    def _sweep(self) -> None:
        """What is unmounted is closed, and has no directory."""
        gone = [number for number, (_, filesystem) in self._mounted.items() if filesystem.is_closed]
        for number in gone:
            del self._mounted[number]

    def _find(self, inode: int) -> FuseFileSystem:
        with self._lock:
            self._sweep()
            found = self._mounted.get(inode - inode % _APART)
        if found is None:
            raise _error(errno.ENOENT)
        return found[1]

    # -- looking at it ------------------------------------------------------------------------

    def lookup(self, directory: int, name: bytes) -> int:
        """The inode of a name."""
        if directory == self.root:
            with self._lock:
                self._sweep()
                found = [number for number, (known, _) in self._mounted.items() if known == name]
            if not found:
                raise _error(errno.ENOENT)
            return found[0]
        self._find(directory)
        if name not in _FILES:
            raise _error(errno.ENOENT)
        return directory + _FILES[name][0]

    def attributes(self, inode: int) -> Attributes:
        """All of a connection belongs to who has mounted it, and is for him only."""
        if inode == self.root:
            return Attributes(stat.S_IFDIR | 0o755, links=2, modified=self._since, uid=0, gid=0)
        uid, gid = self._find(inode).owner
        if not inode % _APART:
            return Attributes(stat.S_IFDIR | 0o500, links=2, modified=self._since, uid=uid, gid=gid)
        mode = next(mode for number, mode in _FILES.values() if number == inode % _APART)
        return Attributes(stat.S_IFREG | mode, modified=self._since, uid=uid, gid=gid)

    def entries(self, directory: int) -> Sequence[Entry]:
        """The connections that there are, or the files of one."""
        if directory == self.root:
            with self._lock:
                self._sweep()
                return [Entry(name, number, stat.S_IFDIR) for number, (name, _) in self._mounted.items()]
        self._find(directory)
        return [Entry(name, directory + number, stat.S_IFREG) for name, (number, _) in _FILES.items()]

    def copy_content(self, inode: int, fd: int) -> None:
        """What a file says now."""
        if inode % _APART == _WAITING:
            os.write(fd, self._tell(inode))

    def statistics(self) -> Statistics:
        """It takes no room."""
        return Statistics()

    # -- what is done by it -------------------------------------------------------------------

    def open_file(self, inode: int, flags: int) -> ControlFile:
        """An open file, whose writes are orders."""
        self._find(inode)
        if inode % _APART == _ABORT:
            return ControlFile(flags, None, lambda _text: self._find(inode).abort())
        return ControlFile(flags, lambda: self._tell(inode), None)

    def _tell(self, inode: int) -> bytes:
        return b"%d\n" % self._find(inode).waiting
