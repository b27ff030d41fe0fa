"""Inodes: which real kernel object stands for which virtual one.

A program holds a virtual file as a real descriptor (of a memfd, or of an empty directory of ours).  The
kernel copies, passes on and closes those; each is recognised by its device and inode number here.

Identities are kept for the life of the view, since nobody can tell when the last holder is gone.  That is
safe because they are not given to anything else: the kernel numbers memfds by a 64-bit counter (on 64-bit
kernels; mm/shmem.c, shmem_reserve_inode()), and our directories exist as long as the view.
"""

from __future__ import annotations

import threading
from typing import Final

from diorama.view.host import Status
from diorama.view.mounts import Place

__all__ = ["Inodes"]


class Inodes:
    """The table.  Any thread."""

    __slots__ = ("_lock", "_places")

    def __init__(self) -> None:
        self._places: Final[dict[tuple[int, int], Place]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, status: Status, place: Place) -> None:
        """Let the real object with this status stand for a place, named as it was opened last."""
        with self._lock:
            self._places[status.st_dev, status.st_ino] = place

    def find(self, status: Status) -> Place | None:
        """What an object stands for; None if it is the host's own."""
        return self._places.get((status.st_dev, status.st_ino))
