"""Listings: how many are kept, and what is counted of them."""

from __future__ import annotations

import stat

import pytest

from diorama.dispatch.files import listings
from diorama.dispatch.files.listings import Listings
from diorama.modules.filesystems.memory import MemoryFileSystem
from diorama.view.filesystem import Attributes
from diorama.view.host import RealHost
from diorama.view.mounts import Mount, Place

DIRECTORY = Attributes(stat.S_IFDIR | 0o755)


@pytest.mark.parametrize(("most", "entries"), [(5, 100_000), (100, 30)])
def test_no_more_are_kept_than_may_be(most: int, entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "_LISTINGS", most)
    monkeypatch.setattr(listings, "_ENTRIES", entries)
    filesystem = MemoryFileSystem()
    mount = Mount(filesystem=filesystem)
    kept = Listings(RealHost())
    places: list[Place] = []
    for number in range(20):
        name = b"directory%d" % number
        inode = filesystem.make(filesystem.root, name, DIRECTORY)
        for inside in range(number):
            filesystem.make(inode, b"%d" % inside, DIRECTORY)
        places.append(Place(mount, b"/" + name, inode))
    for place in [*places, *places[::2], *places]:
        assert len(kept.read(place, 0)) == 2 + places.index(place)
        assert kept._count == sum(len(one.entries) for one in kept._recent.values())
        assert len(kept._recent) <= most
        assert kept._count <= entries or len(kept._recent) <= listings._FEW
