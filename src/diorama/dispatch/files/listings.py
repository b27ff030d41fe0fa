"""Listings: the entries of virtual directories, in the order and with the offsets that programs see."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.abi.dirent import DIRENT64, DT_DIR, DirEntry, unpack_entries
from diorama.dispatch.files.identities import number_of
from diorama.dispatch.files.points import entry_of, points_below
from diorama.view.filesystem import FileSystem
from diorama.view.host import Host
from diorama.view.mounts import Mount, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diorama.dispatch.files.borrowing import Offset
    from diorama.view.filesystem import Entry, Told

__all__ = ["Found", "Listings", "find_entries"]

Found = tuple[int, "Sequence[Entry]"]

_LISTINGS: Final = 256
_ENTRIES: Final = 100_000
_FEW: Final = 8
_FIRST: Final = 3


class _Listing:
    """One directory: the offset of each name, and the entries in the order of their offsets.

    `counted`: so many entries of it are counted in all.  `dots` are the numbers of `.` and `..` while it has
    that `path`.
    """

    def __init__(self) -> None:
        self.offsets: dict[bytes, int] = {}
        self.next = _FIRST
        self.entries: list[DirEntry] = []
        self.is_fresh = False
        self.path: bytes | None = None
        self.dots = (0, 0)
        self.counted = 0
        self.lock = threading.Lock()

    def read(self, place: Place, host: Host) -> None:
        """Look again: what was there keeps its offset, what is new comes last."""
        assert place.filesystem is not None
        self.is_fresh = True  # before looking: a change meanwhile makes it stale again
        found = place.filesystem.entries(place.inode)
        known, self.offsets = self.offsets, {}
        entries = [
            DirEntry(entry.inode, self._offset(known, entry.name), entry.kind >> 12, entry.name)
            for entry in found
        ]
        for name, mount in points_below(place.mount, place.path):
            if name not in self.offsets:
                entries.append(entry_of(host, name, mount, self._offset(known, name)))
        entries.sort(key=_offset)
        if self.path != place.path:
            self.path, self.dots = place.path, (number_of(place), _parent(place))
        here, above = self.dots
        self.entries = [DirEntry(here, 1, DT_DIR, b"."), DirEntry(above, 2, DT_DIR, b".."), *entries]

    def _offset(self, known: dict[bytes, int], name: bytes) -> int:
        off = known.get(name)
        if off is None:
            off, self.next = self.next, self.next + 1
        self.offsets[name] = off
        return off


class Listings:
    """Recent listings, so that a long one is made once for all the calls that read it.

    The offset of a name stays its own while the directory is listed, so that a name which was there from the
    start and is not removed comes exactly once.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._moving = threading.Lock()
        self._recent: OrderedDict[tuple[Mount, int], _Listing] = OrderedDict()
        self._count = 0
        self._of: dict[tuple[int, int], set[tuple[Mount, int]]] = {}

    def read(self, place: Place, position: int, found: Found | None = None) -> list[DirEntry]:
        """The entries after a position, or some; made anew when somebody reads from the start.

        `found` is what has been found in it already for who reads.
        """
        assert place.filesystem is not None
        told = place.filesystem.told
        if told is not None and next(points_below(place.mount, place.path), None) is None:
            return self._read_told(told, place, position, found)
        key = (place.mount, place.inode)
        with self._lock:
            listing = self._recent.get(key)
            if listing is None:
                listing = self._recent[key] = _Listing()
                self._of.setdefault((id(place.filesystem), place.inode), set()).add(key)
                self._trim()
            self._recent.move_to_end(key)
        with listing.lock:
            if not position or not listing.is_fresh:
                listing.read(place, self._host)
                with self._lock:
                    if self._recent.get(key) is listing:
                        self._count += len(listing.entries) - listing.counted
                        listing.counted = len(listing.entries)
                        self._trim()
            entries = listing.entries
        return entries[bisect_right(entries, position, key=_offset) :]

    def _read_told(
        self, told: Told, place: Place, position: int, found: Found | None
    ) -> list[DirEntry]:
        """From what is kept natively, where most is answered (`native/fusedir.c`)."""
        assert place.filesystem is not None
        data = told.listed(place.inode, position) if position and found is None else None
        if data is None:
            mark, listed = found or find_entries(place.filesystem, place.inode)
            names = [(entry.inode, entry.kind >> 12, entry.name) for entry in listed]
            data = told.list(place.inode, mark, names, position)
        entries = list(unpack_entries(data, Abi.native()[0], DIRENT64))
        if position < _FIRST - 1:
            above = place.inode if place.inode == place.mount.inode else told.above(place.inode)
            here, there = told.shown(place.inode) or number_of(place), told.shown(above) or _parent(place)
            dots = [DirEntry(here, 1, DT_DIR, b"."), DirEntry(there, 2, DT_DIR, b"..")]
            entries[:0] = dots[position:]
        return entries

    def moved(self, place: Place, offset: Offset, old: int, new: int) -> bool:
        """Who was told entries behind an offset goes on; False if somebody else, who shares it, has.

        Then he is to be told those that follow: each comes once, as from the kernel.
        """
        assert place.filesystem is not None
        told = place.filesystem.told
        if offset.ours is None:  # the program itself goes on
            offset.set(new)
            return True
        if told is not None:
            return told.list_moved(offset.ours, old, new)
        with self._moving:
            is_there = offset.get() == old
            if is_there:
                offset.set(new)
        return is_there

    def changed(self, filesystem: FileSystem, directory: int) -> None:
        """The names in a directory are others now."""
        if filesystem.told is not None:
            filesystem.told.list_changed(directory)
        with self._lock:
            for key in self._of.get((id(filesystem), directory), ()):
                self._recent[key].is_fresh = False

    def _trim(self) -> None:
        while len(self._recent) > _LISTINGS or (self._count > _ENTRIES and len(self._recent) > _FEW):
            key, listing = self._recent.popitem(last=False)
            self._count -= listing.counted
            name = (id(key[0].filesystem), key[1])
            self._of[name].discard(key)
            if not self._of[name]:
                del self._of[name]


def find_entries(filesystem: FileSystem, inode: int) -> Found:
    """What is in a directory of a file system that tells of it natively, and from when that is."""
    assert filesystem.told is not None
    mark = filesystem.told.list_mark
    return mark, filesystem.entries(inode)


def _offset(entry: DirEntry) -> int:
    return entry.off


def _parent(place: Place) -> int:
    assert place.filesystem is not None
    inode = place.mount.inode
    for name in place.path.split(b"/")[1:-1]:
        inode = place.filesystem.lookup(inode, name)
    return number_of(place._replace(inode=inode))
