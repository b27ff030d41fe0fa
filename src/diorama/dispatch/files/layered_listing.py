"""Layered listing: the entries of directories that several layers have.

The program holds one of the real directories.  What that lists is right as long as no other layer adds or
hides a name, and then the kernel lists it.  Else the listing is put together here, and its positions are the
offsets of the open directory, which the kernel keeps as for any: so rewinddir(3), telldir(3) and shared
descriptions work.

Positions of ours and of the file system must not be mistaken for one another, since a listing that was begun
in one way is finished in it.  Each listing has a range of its own, drawn at random from above all that a
32-bit cookie or a count can be, and below what every file system accepts as an offset.
"""

from __future__ import annotations

import os
import random
import stat
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from diorama.abi.dirent import DT_DIR, DirEntry
from diorama.dispatch.files.borrowing import Offset
from diorama.dispatch.files.points import entry_of, points_below, put_entries
from diorama.view.mounts import MountTree, Place

if TYPE_CHECKING:
    from diorama.catalogue.dirs import GetDents, GetDents64, ReadDir
    from diorama.dispatch.files.state import Files

    Listing = GetDents64 | GetDents | ReadDir

__all__ = ["LayeredListings", "list_layered"]

_LISTINGS: Final = 256
_ROOM_BITS: Final = 20
_NARROW: Final = 4


class LayeredListings:
    """The listings that somebody may be reading, by where their positions begin."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[int, list[DirEntry]] = OrderedDict()

    def begin(self, entries: list[DirEntry], word: int) -> int:
        """Keep a listing; where its positions begin, for programs with pointers of `word` bytes."""
        low, high = (29, 31) if word == _NARROW else (41, 42)
        with self._lock:
            while True:
                base = random.getrandbits(high - _ROOM_BITS) << _ROOM_BITS
                if base >> low and base not in self._known:
                    break
            self._known[base] = entries
            if len(self._known) > _LISTINGS:
                self._known.popitem(last=False)
        return base

    def find(self, position: int) -> tuple[int, list[DirEntry]] | None:
        """The listing that a position is in; None if it is the file system's."""
        base = position >> _ROOM_BITS << _ROOM_BITS
        with self._lock:
            entries = self._known.get(base)
            if entries is not None:
                self._known.move_to_end(base)
        return None if entries is None else (base, entries)


def list_layered(files: Files, call: Listing, layout: str) -> int | None:
    """Read entries of a directory in layers; None if the kernel lists it."""
    task = files.task(call.tracee)
    try:
        place = files.tasks.descriptor(task, call.fd)
    except OSError:
        return None
    if place.mount.layers is None:
        return None
    with Offset(call.tracee, call.fd) as offset:
        position = offset.get()
        known = files.layered_listings.find(position)
        if known is None:
            entries = None if position else _entries(files, place)
            if entries is None:
                return None
            known = files.layered_listings.begin(entries, call.tracee.abi.word), entries
            position = known[0]
        base, entries = known
        at = position - base
        shown = [entry._replace(off=base + at + n) for n, entry in enumerate(entries[at:], 1)]
        size, count = put_entries(call, shown, layout)
        if count or not at:
            offset.set(base + at + count)
        return size


def _entries(files: Files, place: Place) -> list[DirEntry] | None:
    """All entries; None if the kernel has the same."""
    assert place.mount.layers is not None
    layers, path = place.mount.layers.whole(place.path)
    points = list(points_below(place.mount, place.path))
    try:
        if not stat.S_ISDIR(layers.look(path).st_mode):
            return None
        names = layers.listing(path, always=bool(points))
    except FileNotFoundError:
        return []  # removed, while somebody has it open
    if names is None:
        return None
    found = [
        DirEntry(layers.identity(layers.find(path).status)[1], 0, DT_DIR, b"."),
        DirEntry(_inode_above(place), 0, DT_DIR, b".."),
    ]
    found += [DirEntry(name.inode, 0, stat.S_IFMT(name.kind) >> 12, name.name) for name in names]
    present = {name.name for name in names}
    found += [entry_of(files.host, name, top, 0) for name, top in points if name not in present]
    return found


def _inode_above(place: Place) -> int:
    assert place.mount.layers is not None
    layers, path = place.mount.layers.whole(place.path)
    if place.path:
        return layers.identity(layers.find(path[: path.rindex(b"/")]).status)[1]
    point = place.mount.point
    if point is None or not point.path:
        return layers.identity(layers.find(path).status)[1]
    above = MountTree.top(Place(point.mount, point.path[: point.path.rindex(b"/")]))
    try:
        return os.lstat(above.host_path).st_ino
    except (OSError, ValueError):
        return above.inode
