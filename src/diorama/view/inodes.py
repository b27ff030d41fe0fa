"""Inodes: which real kernel object stands for which virtual one.

A program holds a virtual file as a real descriptor (of a memfd, or of an empty directory of ours).  The
kernel copies, passes on and closes those; each is recognised by its device and inode number here.

Identities are kept for the life of the view, since nobody can tell when the last holder is gone.  That is
safe for memfds, which the kernel numbers by a 64-bit counter (on 64-bit kernels; mm/shmem.c,
shmem_reserve_inode()).  Our directories, links and special files exist as long as the view, or are removed
with what they stand for.  Then the number belongs to whoever holds the removed object, and later to another
file, most often the very next one that is made.  So what is removed is recognised by its last change besides,
and by having no link: what has its number later was made, and perhaps removed too, afterwards.

What is renamed in a file system is known by its new name from then on, and so is all that is below it.
"""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from typing import Final

from diorama.view.filesystem import FileSystem
from diorama.view.host import Status
from diorama.view.mounts import Mount, Place
from diorama.view.renaming import Renaming

__all__ = ["Inodes"]

Key = tuple[int, int]
"""The device and the inode number of a real object."""


class Inodes:
    """The table.  Any thread.  `on_add` is told of each object before any program can have it.

    Of some objects programs have it is known elsewhere first: `on_look` enters them, before something is
    looked for.
    """

    __slots__ = ("_gone", "_lock", "_named", "_places", "on_add", "on_look")

    def __init__(self) -> None:
        self.on_add: Callable[[Status, Place | None], None] | None = None
        self.on_look: Callable[[], None] = _nothing
        self._places: Final[dict[Key, Place]] = {}
        # By file system and inode.  There are as many as files were opened, and hardly one has two: no sets.
        self._named: Final[dict[int, dict[int, tuple[Key, ...]]]] = {}
        self._gone: Final[dict[Key, Status]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        self.on_look()
        return len(self._places)

    def add(self, status: Status, place: Place) -> None:
        """Let the real object with this status stand for a place, named as it was opened last."""
        key = (status.st_dev, status.st_ino)
        with self._lock:
            before = self._places.get(key)
            is_new = before is None
            if before is not None and _file(before) != _file(place):
                self._part(key, before)
            self._gone.pop(key, None)
            self._places[key] = place
            named = self._named.setdefault(id(place.filesystem), {})
            known = named.get(place.inode, ())
            if key not in known:
                named[place.inode] = (*known, key)
        if is_new and self.on_add is not None:
            self.on_add(status, place)

    def find(self, status: Status) -> Place | None:
        """What an object stands for; None if it is the host's own."""
        self.on_look()
        key = (status.st_dev, status.st_ino)
        gone = self._gone.get(key)
        return self._places.get(key) if gone is None or _is_still(status, gone) else None

    def mapped(self, device: int, inode: int) -> Place | None:
        """As `find`, by the numbers of what is mapped: a memfd, or what is still there."""
        self.on_look()
        key = (device, inode)
        return None if key in self._gone else self._places.get(key)

    def moved(self, renaming: Renaming, inodes: tuple[int, ...], *, directories: bool) -> None:
        """These files were renamed, with all that is below them if they are `directories`."""
        self.on_look()
        filesystem = renaming.filesystem
        with self._lock:
            for key in self._of(filesystem, *inodes) if not directories else self._all(filesystem):
                self._places[key] = renaming.place(self._places[key])

    def removed(self, filesystem: FileSystem, inode: int, path: bytes) -> None:
        """A name of a file is gone."""
        self.on_look()
        with self._lock:
            for key in self._of(filesystem, inode):
                place = self._places[key]
                if place.mount.subtree + place.path == path:
                    self._places[key] = place._replace(removed=True)

    def gone(self, status: Status) -> None:
        """A real object was removed, and had this status then: another may have its number."""
        key = (status.st_dev, status.st_ino)
        with self._lock:
            place = self._places.get(key)
            if place is not None:
                self._places[key] = place._replace(removed=True)
                self._gone[key] = status

    def got_name(self, filesystem: FileSystem, inode: int, place: Place) -> None:
        """A file that had no name has got one."""
        self.on_look()
        with self._lock:
            for key in self._of(filesystem, inode):
                self._places[key] = self._places[key]._replace(path=place.path, removed=False)

    def forget(self, filesystem: FileSystem, inode: int) -> None:
        """Nobody has a file of ours any more, and what stood for it is not used again."""
        self.on_look()
        with self._lock:
            for key in self._named.get(id(filesystem), {}).pop(inode, ()):
                self._places.pop(key, None)
                self._gone.pop(key, None)

    def drop(self, key: Key) -> None:
        """A real object is gone, whose number may be another's soon."""
        with self._lock:
            place = self._places.pop(key, None)
            if place is not None:
                self._part(key, place)

    def is_known(self, filesystem: FileSystem, inode: int) -> bool:
        """Whether something stands, or stood, for a file."""
        self.on_look()
        return inode in self._named.get(id(filesystem), {})

    def path_of(self, filesystem: FileSystem, inode: int, mount: Mount) -> bytes | None:
        """The path in a mount of what something stands for, without looking first."""
        for key in self._named.get(id(filesystem), {}).get(inode, ()):
            place = self._places[key]
            if place.mount is mount:
                return place.path
        return None

    def _part(self, key: Key, place: Place) -> None:
        """A real object does not stand for a file any more."""
        named = self._named.get(id(place.filesystem), {})
        left = tuple(one for one in named.get(place.inode, ()) if one != key)
        if left:
            named[place.inode] = left
        else:
            named.pop(place.inode, None)

    def _of(self, filesystem: FileSystem, *inodes: int) -> list[Key]:
        named = self._named.get(id(filesystem), {})
        return [key for inode in inodes for key in named.get(inode, ())]

    def _all(self, filesystem: FileSystem) -> list[Key]:
        return [key for key, place in self._places.items() if place.filesystem is filesystem]


def _nothing() -> None:
    return


def _file(place: Place) -> tuple[int, int]:
    return id(place.filesystem), place.inode


def _is_still(status: Status, gone: Status) -> bool:
    """Whether it is what was removed; who writes to a FIFO changes its time."""
    kind = stat.S_IFMT(gone.st_mode)
    if status.st_nlink or kind != stat.S_IFMT(status.st_mode):
        return False
    return kind == stat.S_IFIFO or status.st_ctime_ns == gone.st_ctime_ns
