"""Direct: open files whose reads and writes are for their file system, one by one (FOPEN_DIRECT_IO).

Nothing of them is kept here.  What the program holds is one end of a pair of sockets, of its own for each
open(2): the kernel copies, passes on and closes it, and polls it (`readiness`).  We hold the other end, which
hangs up when the last descriptor is gone.  Its offset and its flags are kept here, since the socket has none.

To see each read and write, but not those of all other files, is what the number is for: such a descriptor is
never smaller than `HIGH`, except in the place of standard input and output (below `LOW`), and the filter
stops calls about these numbers only.  What would give it another one fails, with EMFILE.
"""

from __future__ import annotations

import itertools
import os
import select
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import (
    O_ACCMODE,
    O_APPEND,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECT,
    O_EXCL,
    O_NOATIME,
    O_NOCTTY,
    O_NONBLOCK,
    O_RDONLY,
    O_TRUNC,
    O_WRONLY,
)
from diorama.dispatch.files.readiness import Readiness, make_pair
from diorama.errors import warn_once
from diorama.view.asking import asker

if TYPE_CHECKING:
    from diorama.view.filesystem import FileSystem, OpenFile
    from diorama.view.inodes import Inodes
    from diorama.view.mounts import Place
    from diorama.view.special import OpenSpecial
    from diorama.view.task import Task

__all__ = ["HIGH", "LOW", "DirectFile", "DirectFiles"]

LOW: Final = 3
HIGH: Final = 512
_TICK: Final = 0.05
_CHANGING: Final = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME
_FORGOTTEN: Final = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC


_owners: Final = itertools.count()
_FIRST_OWNER: Final = 1 << 32
"""Of locks: those of processes have their ids, which are smaller."""


class DirectFile:
    """One of them: `opened` is what its file system has made of it, and it is the `owner` of locks.

    `special` is the same if that is a device.
    """

    def __init__(
        self, place: Place, opened: OpenFile, flags: int, ours: socket.socket, readiness: Readiness
    ) -> None:
        self.place = place
        self.opened = opened
        self.special: OpenSpecial | None = None
        self.flags = flags & ~_FORGOTTEN
        self.position = 0
        self.owner = _FIRST_OWNER + next(_owners)
        self.ours = ours
        self._readiness: Readiness | None = readiness
        self._moving = threading.Lock()

    @property
    def reads(self) -> bool:
        """Whether it is open for reading."""
        return self.flags & O_ACCMODE != O_WRONLY

    @property
    def writes(self) -> bool:
        """Whether it is open for writing."""
        return self.flags & O_ACCMODE != O_RDONLY

    @property
    def appends(self) -> bool:
        """Whether it is written at its end; Linux writes devices at their offset all the same."""
        return self.special is None and bool(self.flags & O_APPEND)

    @property
    def size(self) -> int:
        """How long it is, as its file system says."""
        if self.special is not None:
            return self.special.size
        assert self.place.filesystem is not None
        return self.place.filesystem.attributes(self.place.inode).size

    def look(self, theirs: Callable[[], AbstractContextManager[int]] | None = None) -> None:
        """See for what it is ready now, and have the kernel tell that; `theirs` as in `Readiness`."""
        readiness = self._readiness
        if readiness is None:
            return
        mark = readiness.mark()
        try:
            events = self.opened.poll(self.look)
        except InterruptedError:
            return
        except OSError:
            events = select.POLLERR
        if events is None:
            self._readiness = None
            readiness.always()
        else:
            readiness.apply(events, mark, theirs)

    def change_flags(self, flags: int) -> None:
        """Set those that can be changed (F_SETFL)."""
        self.flags = self.flags & ~_CHANGING | flags & _CHANGING
        self.opened.flags = self.flags

    @contextmanager
    def moving(self) -> Generator[None, None, None]:
        """Nobody else uses its offset; EINTR for who is killed while he waits for that.

        Streams have none, and are read and written by several at once.
        """
        if self.opened.streams:
            yield
            return
        who = asker()
        while not self._moving.acquire(timeout=_TICK):
            if who is not None and who.is_killed():
                raise InterruptedError
        try:
            yield
        finally:
            self._moving.release()


class DirectFiles:
    """Those of one view.  Any thread."""

    def __init__(self, inodes: Inodes) -> None:
        self.is_seen = False
        """Whether calls about these numbers are seen."""
        self.mapped: set[tuple[int, int]] = set()
        """Files of the host that are mapped in the place of devices, by device and inode number."""
        self.on_close: Callable[[FileSystem, int], None] = _nothing
        """Told of a file that is open here no longer."""
        self._inodes = inodes
        self._lock = threading.Lock()
        self._closing = threading.RLock()
        self._files: dict[tuple[int, int], DirectFile] = {}
        self._epoll: select.epoll | None = None
        self._thread: threading.Thread | None = None
        self._stop: tuple[int, int] | None = None

    def open(self, place: Place, opened: OpenFile, flags: int, special: OpenSpecial | None = None) -> int:
        """A descriptor for a program, of what has been opened for it."""
        ours, theirs = make_pair()
        status = os.fstat(theirs.fileno())
        identity = status.st_dev, status.st_ino
        file = DirectFile(place, opened, flags, ours, Readiness(ours, identity))
        file.special = special
        file.look(lambda: nullcontext(theirs.fileno()))
        with self._lock:
            self._files[identity] = file
            self._watch(ours)
        self._inodes.add(status, place)
        return theirs.detach()

    def has(self, filesystem: FileSystem, inode: int) -> bool:
        """Whether a file is open here."""
        with self._lock:
            found = [one.place for one in self._files.values()]
        return any((place.filesystem, place.inode) == (filesystem, inode) for place in found)

    def __len__(self) -> int:
        return len(self._files)

    def at(self, identity: tuple[int, int]) -> DirectFile | None:
        """The file that is known by the device and inode number of what stands for it."""
        return self._files.get(identity)

    def find(self, task: Task, fd: int) -> DirectFile | None:
        """What a descriptor of a task is; None for others, and bad ones."""
        if fd < 0 or not self._files:
            return None
        try:
            status = os.stat(f"/proc/{task.tid}/fd/{fd}")
        except OSError:
            return None
        return self._files.get((status.st_dev, status.st_ino))

    def close(self) -> None:
        """Let go of all."""
        if self._thread is not None and self._stop is not None:
            os.close(self._stop[1])
            self._thread.join()
            os.close(self._stop[0])
        with self._lock:
            files, self._files = list(self._files.values()), {}
        for file in files:
            _release(file)
        if self._epoll is not None:
            self._epoll.close()

    def _watch(self, ours: socket.socket) -> None:
        if self._epoll is None:
            self._epoll = select.epoll()
            self._stop = os.pipe()
            self._epoll.register(self._stop[0], 0)
            self._thread = threading.Thread(target=self._run, args=(self._epoll,), name="direct", daemon=True)
            self._thread.start()
        self._epoll.register(ours.fileno(), 0)

    def _run(self, epoll: select.epoll) -> None:
        assert self._stop is not None
        while True:
            gone = [fd for fd, _ in epoll.poll()]
            if self._stop[0] in gone:
                return
            for fd in gone:
                self._gone(fd)

    def settle(self) -> None:
        """Close what nobody has any more, where that has not been noticed yet."""
        with self._closing:
            poll = select.poll()
            with self._lock:
                for file in self._files.values():
                    poll.register(file.ours, 0)
            for fd, _ in poll.poll(0):
                self._gone(fd)

    def _gone(self, fd: int) -> None:
        with self._closing:
            self._close(fd)

    def _close(self, fd: int) -> None:
        with self._lock:
            found = ((key, file) for key, file in self._files.items() if file.ours.fileno() == fd)
            # The number may be that of another by now, which is open.
            key = next((key for key, file in found if _is_gone(file.ours)), None)
            file = None if key is None else self._files.pop(key)
        if key is None or file is None:
            return
        self._inodes.drop(key)
        _release(file)
        filesystem, inode = file.place.filesystem, file.place.inode
        if filesystem is not None and not self.has(filesystem, inode):
            self.on_close(filesystem, inode)


def _release(file: DirectFile) -> None:
    try:
        file.opened.close()
    except OSError as error:
        warn_once("release", str(error))
    file.ours.close()


def _is_gone(ours: socket.socket) -> bool:
    """Whether nobody has the other end."""
    poll = select.poll()
    poll.register(ours, 0)
    return bool(poll.poll(0))


def _nothing(_filesystem: FileSystem, _inode: int) -> None:
    return
