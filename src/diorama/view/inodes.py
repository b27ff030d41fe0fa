"""Inodes: which real kernel object stands for which virtual one.

A program holds a virtual file as a real descriptor (of a memfd, or of an empty directory of ours).  The
kernel copies, passes on and closes those; each is recognised by its device and inode number here.

Identities are kept for the life of the view, since nobody can tell when the last holder is gone.  That is
safe because they are not given to anything else: the kernel numbers memfds by a 64-bit counter (on 64-bit
kernels; mm/shmem.c, shmem_reserve_inode()), and our directories exist as long as the view, or are removed
with what they stand for.  A removed object is recognised only while it has no link: its number belongs to
whoever holds it, and later perhaps to a file of the host, which has one.

What is renamed in a file system is known by its new name from then on, and so is all that is below it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from diorama.view.filesystem import FileSystem
from diorama.view.host import Status
from diorama.view.mounts import Place
from diorama.view.renaming import Renaming

__all__ = ["Inodes"]

Key = tuple[int, int]
"""The device and the inode number of a real object."""


class Inodes:
    """The table.  Any thread.  `on_add` is told of each object before any program can have it."""

    __slots__ = ("_lock", "_named", "_places", "on_add")

    def __init__(self) -> None:
        self.on_add: Callable[[Status, Place | None], None] | None = None
        self._places: Final[dict[Key, Place]] = {}
        # By file system and inode.  There are as many as files were opened, and hardly one has two: no sets.
        self._named: Final[dict[int, dict[int, tuple[Key, ...]]]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, status: Status, place: Place) -> None:
        """Let the real object with this status stand for a place, named as it was opened last."""
        key = (status.st_dev, status.st_ino)
        with self._lock:
            is_new = key not in self._places
            self._places[key] = place
            named = self._named.setdefault(id(place.filesystem), {})
            known = named.get(place.inode, ())
            if key not in known:
                named[place.inode] = (*known, key)
        if is_new and self.on_add is not None:
            self.on_add(status, place)

    def find(self, status: Status) -> Place | None:
        """What an object stands for; None if it is the host's own."""
        place = self._places.get((status.st_dev, status.st_ino))
        if place is not None and place.removed and status.st_nlink:
            return None
        return place

    def named(self, device: int, inode: int) -> Place | None:
        """As `find`, by the numbers of the object."""
        return self._places.get((device, inode))

    def moved(self, renaming: Renaming, inodes: tuple[int, ...], *, directories: bool) -> None:
        """These files were renamed, with all that is below them if they are `directories`."""
        filesystem = renaming.filesystem
        with self._lock:
            for key in self._of(filesystem, *inodes) if not directories else self._all(filesystem):
                self._places[key] = renaming.place(self._places[key])

    def removed(self, filesystem: FileSystem, inode: int, path: bytes) -> None:
        """A name of a file is gone."""
        with self._lock:
            for key in self._of(filesystem, inode):
                place = self._places[key]
                if place.mount.subtree + place.path == path:
                    self._places[key] = place._replace(removed=True)

    def got_name(self, filesystem: FileSystem, inode: int, place: Place) -> None:
        """A file that had no name has got one."""
        with self._lock:
            for key in self._of(filesystem, inode):
                self._places[key] = self._places[key]._replace(path=place.path, removed=False)

    def forget(self, filesystem: FileSystem, inode: int) -> None:
        """Nobody has a file of ours any more, and what stood for it is not used again."""
        with self._lock:
            for key in self._named.get(id(filesystem), {}).pop(inode, ()):
                self._places.pop(key, None)

    def drop(self, key: Key) -> None:
        """A real object is gone, whose number may be another's soon."""
        with self._lock:
            place = self._places.pop(key, None)
            if place is None:
                return
            named = self._named.get(id(place.filesystem), {})
            left = tuple(one for one in named.get(place.inode, ()) if one != key)
            if left:
                named[place.inode] = left
            else:
                named.pop(place.inode, None)

    def is_known(self, filesystem: FileSystem, inode: int) -> bool:
        """Whether something stands, or stood, for a file."""
        return inode in self._named.get(id(filesystem), {})

    def _of(self, filesystem: FileSystem, *inodes: int) -> list[Key]:
        named = self._named.get(id(filesystem), {})
        return [key for inode in inodes for key in named.get(inode, ())]

    def _all(self, filesystem: FileSystem) -> list[Key]:
        return [key for key, place in self._places.items() if place.filesystem is filesystem]
