"""Inodes: which real kernel object stands for which virtual one.

A program holds a virtual file as a real descriptor (of a memfd, or of an empty directory of ours).  The
kernel copies, passes on and closes those; each is recognised by its device and inode number here.

Identities are kept for the life of the view, since nobody can tell when the last holder is gone.  That is
safe because they are not given to anything else: the kernel numbers memfds by a 64-bit counter (on 64-bit
kernels; mm/shmem.c, shmem_reserve_inode()), and our directories exist as long as the view.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from diorama.view.host import Status
from diorama.view.mounts import Place

__all__ = ["Inodes"]


class Inodes:
    """The table.  Any thread.  `on_add` is told of each object before any program can have it."""

    __slots__ = ("_lock", "_places", "on_add")

    def __init__(self) -> None:
        self.on_add: Callable[[Status], None] | None = None
        self._places: Final[dict[tuple[int, int], Place]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, status: Status, place: Place) -> None:
        """Let the real object with this status stand for a place, named as it was opened last."""
        key = (status.st_dev, status.st_ino)
        with self._lock:
            is_new = key not in self._places
            self._places[key] = place
        if is_new and self.on_add is not None:
            self.on_add(status)

    def find(self, status: Status) -> Place | None:
        """What an object stands for; None if it is the host's own."""
        return self._places.get((status.st_dev, status.st_ino))

    def named(self, device: int, inode: int) -> Place | None:
        """As `find`, by the numbers of the object."""
        return self._places.get((device, inode))
