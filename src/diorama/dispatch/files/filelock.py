"""Filelock: a lock on an open file, flock(2), where programs share what is cached of that file.

Which of them has it the kernel knows, by the memfd.  So it judges between the programs of the view first, and
the file system is asked for the most that any of them has, by a handle of its own: to it they are one.  The
lock is given back when nobody has one any more, which is so when we could get one ourselves.

Locks: `_lock` is held to look and to give back, and not while the file system is asked for more.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from diorama.abi.fcntl import F_UNLCK

if TYPE_CHECKING:
    from diorama.view.filesystem import Lock, OpenFile

__all__ = ["FileLock"]


class FileLock:
    """That of one file.  Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: OpenFile | None = None
        self._kind = F_UNLCK
        self._asking = 0

    @property
    def is_used(self) -> bool:
        """Whether the file system has given it, or is asked for it."""
        return self._holder is not None

    def undisturbed(self) -> AbstractContextManager[bool]:
        """Meanwhile we do not look whether it is free, which would be in the way of who does not wait."""
        return self._lock

    def get(self, lock: Lock, open_file: Callable[[], OpenFile | None], *, waits: bool) -> None:
        """A program has it of the kernel: ask the file system too, unless it has given just that."""
        with self._lock:
            if self._holder is None:
                self._holder = open_file()
            holder = self._holder
            if holder is None or self._kind == lock.kind:
                return
            self._asking += 1
        try:
            holder.set_lock(lock, waits=waits)
            self._kind = lock.kind
        finally:
            with self._lock:
                self._asking -= 1

    def give_back(self, fd: int) -> None:
        """Give it back if no program has it; `fd` is ours of that file."""
        if self._holder is None:
            return
        with self._lock:
            if not self._asking and _is_free(fd):
                self._drop()

    def close(self) -> None:
        """The file is open nowhere any more."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        holder, self._holder, self._kind = self._holder, None, F_UNLCK
        if holder is not None:
            holder.close()


def _is_free(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True
