"""Device: what a FUSE server finds at /dev/fuse.

Each open gives one end of a new pair of sockets.  The other end waits here until the server mounts it:
mount(2) of a type `fuse` names the descriptor (`fd=N`), which is known by its identity.  What is never
mounted is dropped when the server has closed its end.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import threading
import weakref
from collections.abc import Sequence
from typing import Final

from diorama.interfaces.filesystem import Argument, Attributes, Entry, FileSystem
from diorama.modules.filesystems.fuse.channel import make_pair
from diorama.modules.filesystems.fuse.lending import LENDS, Lent

__all__ = ["FuseDevice"]

_NUMBER: Final = os.makedev(10, 229)


class FuseDevice(FileSystem):
    """The device, as a file system of one special file.  Any thread."""

    title = "fusedev"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[tuple[int, int], socket.socket] = {}
        self._lent: weakref.WeakValueDictionary[tuple[int, int], Lent] = weakref.WeakValueDictionary()

    def attributes(self, inode: int) -> Attributes:
        """A character device for everybody, as udev makes it."""
        return Attributes(stat.S_IFCHR | 0o666, device=_NUMBER, uid=0, gid=0)

    def open_device(self, inode: int, flags: int) -> int:
        """The server's end of a new connection."""
        ours, theirs = make_pair()
        if flags & os.O_NONBLOCK:
            os.set_blocking(theirs.fileno(), False)
        status = os.fstat(theirs.fileno())
        with self._lock:
            self._sweep()
            self._waiting[status.st_dev, status.st_ino] = ours
        return theirs.detach()

    def claim(self, status: os.stat_result) -> socket.socket:
        """Our end of what a server has open; EINVAL if that is no open of this device, or is mounted."""
        with self._lock:
            ours = self._waiting.pop((status.st_dev, status.st_ino), None)
        if ours is None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return ours

    def mounted(self, theirs: tuple[int, int], lent: Lent) -> None:
        """What a server has open is mounted."""
        self._lent[theirs] = lent

    def control_device(self, inode: int, command: int, argument: Argument) -> int | None:
        """What a server lends is for its file system; EPERM before there is one."""
        if command not in LENDS:
            return None
        lent = self._lent.get(argument.file)
        if lent is None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return lent.control(command, argument)

    def lookup(self, directory: int, name: bytes) -> int:
        """There is nothing in it."""
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def entries(self, directory: int) -> Sequence[Entry]:
        """There is nothing in it."""
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def copy_content(self, inode: int, fd: int) -> None:
        """It has no content."""
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))

    def close(self) -> None:
        """Drop what was never mounted."""
        with self._lock:
            for ours in self._waiting.values():
                ours.close()
            self._waiting.clear()

    def _sweep(self) -> None:
        poll = select.poll()
        for ours in self._waiting.values():
            poll.register(ours, 0)
        gone = {fd for fd, _ in poll.poll(0)}
        for key, ours in list(self._waiting.items()):
            if ours.fileno() in gone:
                del self._waiting[key]
                ours.close()
