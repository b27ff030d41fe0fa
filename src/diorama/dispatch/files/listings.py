"""Listings: the entries of virtual directories, in the order and with the offsets that programs see."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from diorama.abi.dirent import DT_DIR, DirEntry
from diorama.dispatch.files.points import entry_of, points_below
from diorama.view.host import Host
from diorama.view.mounts import Mount, Place

__all__ = ["Listings"]

_LISTINGS: Final = 64


class Listings:
    """Recent listings, so that a long one is made once for all the calls that read it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._recent: OrderedDict[tuple[Mount, int], list[DirEntry]] = OrderedDict()

    def read(self, place: Place, position: int) -> list[DirEntry]:
        """All entries; made anew when somebody reads from the start."""
        key = (place.mount, place.inode)
        with self._lock:
            known = self._recent.get(key) if position else None
        if known is None:
            known = _list(place, self._host)
            with self._lock:
                self._recent[key] = known
                if len(self._recent) > _LISTINGS:
                    self._recent.popitem(last=False)
        return known


def _list(place: Place, host: Host) -> list[DirEntry]:
    filesystem = place.filesystem
    assert filesystem is not None
    entries = [
        DirEntry(place.inode, 1, DT_DIR, b"."),
        DirEntry(_parent(place), 2, DT_DIR, b".."),
    ]
    known = filesystem.entries(place.inode)
    for off, entry in enumerate(known, 3):
        entries.append(DirEntry(entry.inode, off, entry.kind >> 12, entry.name))
    names = {entry.name for entry in known} if place.mount.children else set[bytes]()
    for name, mount in points_below(place.mount, place.path):
        if name not in names:
            entries.append(entry_of(host, name, mount, len(entries) + 1))
    return entries


def _parent(place: Place) -> int:
    assert place.filesystem is not None
    inode = place.mount.inode
    for name in place.path.split(b"/")[1:-1]:
        inode = place.filesystem.lookup(inode, name)
    return inode
