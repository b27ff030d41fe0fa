"""Lazy: which files are held in pieces, and how calls know them.

That needs every call which reads by descriptor to be seen, and so a filter that was made for it: one that a
view has when a file system that wants it was mounted before its programs ran.  Without that a file is fetched
whole; or, where calls about large descriptors are seen (`diorama.dispatch.files.direct`), one that is only
read gets such a descriptor.  If another number is wanted for it, the file is made whole before.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from diorama.dispatch.files.memfd import create_memfd, is_held
from diorama.dispatch.files.patience import wait_for
from diorama.dispatch.files.pieces import Budget, Pieces
from diorama.engine.taking import can_take
from diorama.errors import Unsupported
from diorama.view.filesystem import Attributes, FileSystem

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.view.task import Task

__all__ = ["Lazy", "waiter"]

_TOO_LARGE: Final = "to write to a file takes all of it, which is more than half of the free memory"

_CLOSED: Final = "the program has closed its memory (PR_SET_DUMPABLE), so what it reads cannot be told"


class Lazy:
    """The files of one view that are held in pieces, by the identity of their memfds.  Any thread."""

    def __init__(self) -> None:
        self.is_seen = False
        """Whether calls that read are seen."""
        self.on_add: Callable[[os.stat_result], None] = _nothing
        """Told of what has pieces: who gives it another descriptor is to be asked about."""
        self._budget = Budget()
        self._known: dict[tuple[int, int], Pieces] = {}
        self._retired: list[Pieces] = []
        self._lock = threading.Lock()

    def wants(self, filesystem: FileSystem, attributes: Attributes) -> bool:
        """Whether a regular file is to be held in pieces."""
        limit = filesystem.lazy_above
        return self.is_seen and limit is not None and attributes.size > limit and can_take()

    @staticmethod
    def wants_high(filesystem: FileSystem, attributes: Attributes) -> bool:
        """Whether a regular file that is only read is to be held in pieces, if calls about it are seen."""
        limit = filesystem.large_above
        return limit is not None and attributes.size > limit and can_take()

    def add(self, named: bytes, filesystem: FileSystem, inode: int, size: int) -> Pieces:
        """A memfd that will have the content of a file in pieces."""
        self._close_unheld()
        fd = create_memfd(named)
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NOATIME)
        pieces = Pieces(
            fd,
            size,
            lambda offset, count: filesystem.read(inode, offset, count),
            self._budget,
            shrinks=filesystem.tells_at_close,
        )
        status = os.fstat(fd)
        with self._lock:
            self._known[status.st_dev, status.st_ino] = pieces
        self.on_add(status)
        return pieces

    def finish(self, pieces: Pieces, *, empty: bool = False) -> None:
        """Fetch all of it, or nothing if it is to be empty.

        From now on its descriptor is for reading only, so that it can be executed.
        """
        try:
            pieces.empty() if empty else pieces.complete()
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise
            raise Unsupported("open", _TOO_LARGE, errno.EFBIG) from None
        fd = os.open(f"/proc/self/fd/{pieces.fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOATIME)
        os.dup2(fd, pieces.fd, inheritable=False)
        os.close(fd)
        self._forget(pieces)

    def __len__(self) -> int:
        return len(self._known)

    def retire(self, pieces: Pieces) -> None:
        """Nobody will open it any more: close it as soon as nobody has it open."""
        with self._lock:
            self._retired.append(pieces)
        self._close_unheld()

    def close(self) -> None:
        """Close all that is retired."""
        with self._lock:
            retired, self._retired = self._retired, []
        for pieces in retired:
            self._forget(pieces)
            os.close(pieces.fd)

    def _close_unheld(self) -> None:
        with self._lock:
            done = [pieces for pieces in self._retired if not is_held(pieces.fd)]
            self._retired = [pieces for pieces in self._retired if pieces not in done]
        for pieces in done:
            self._forget(pieces)
            os.close(pieces.fd)

    def _forget(self, pieces: Pieces) -> None:
        with self._lock:
            for identity in [one for one, known in self._known.items() if known is pieces]:
                del self._known[identity]
        pieces.release()

    def find(self, task: Task, fd: int) -> Pieces | None:
        """What a descriptor of a task has in pieces; None for others, and bad ones."""
        if fd < 0 or not self._known:
            return None
        try:
            status = os.stat(b"/proc/%d/fd/%d" % (task.tid, fd))
        except PermissionError:
            raise Unsupported("read", _CLOSED, errno.EPERM) from None
        except OSError:
            return None
        return self._known.get((status.st_dev, status.st_ino))

    def at(self, identity: tuple[int, int]) -> Pieces | None:
        """The pieces that are known by a device and an inode number."""
        return self._known.get(identity)

    @property
    def are_mapped(self) -> bool:
        """Whether a program may have mapped some."""
        return any(pieces.has_kept for pieces in list(self._known.values()))


def _nothing(_status: os.stat_result) -> None:
    return


def waiter(tracee: Tracee) -> Callable[[Callable[[], None]], None]:
    """Who waits for a fetch only as long as a tracee lives."""
    return lambda work: wait_for(tracee.tid, work)
