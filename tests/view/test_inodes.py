"""Inodes: what stands for a file is told from what has its number later."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from diorama.interfaces.tree import Tree
from diorama.testing.fakes import FakeStatus
from diorama.view.inodes import Inodes
from diorama.view.mounts import Mount, Place

DIRECTORY = FakeStatus(stat.S_IFDIR | 0o555, 8, 77, st_nlink=2, st_ctime_ns=100)
REMOVED = replace(DIRECTORY, st_nlink=0, st_ctime_ns=200)


@pytest.fixture
def place() -> Place:
    return Mount(filesystem=Tree("test")).root._replace(path=b"/directory", inode=5)


@pytest.fixture
def inodes(place: Place) -> Inodes:
    found = Inodes()
    found.add(DIRECTORY, place)
    return found


def test_what_was_removed_is_known_to_who_holds_it(inodes: Inodes, place: Place) -> None:
    inodes.gone(REMOVED)
    assert inodes.find(REMOVED) == place._replace(removed=True)
    assert inodes.mapped(8, 77) is None, "no directory is mapped, so this is another file"


@pytest.mark.parametrize(
    "other",
    [
        FakeStatus(stat.S_IFREG | 0o600, 8, 77, st_nlink=1, st_ctime_ns=300),
        FakeStatus(stat.S_IFREG | 0o600, 8, 77, st_nlink=0, st_ctime_ns=300),
        FakeStatus(stat.S_IFREG | 0o600, 8, 77, st_nlink=0, st_ctime_ns=200),
        FakeStatus(stat.S_IFDIR | 0o555, 8, 77, st_nlink=0, st_ctime_ns=300),
        FakeStatus(stat.S_IFIFO | 0o600, 8, 77, st_nlink=0, st_ctime_ns=200),
    ],
)
def test_what_has_its_number_then_is_no_file_of_ours(inodes: Inodes, other: FakeStatus) -> None:
    inodes.gone(REMOVED)
    assert inodes.find(other) is None


def test_a_fifo_without_a_name_is_written_to(inodes: Inodes, place: Place) -> None:
    fifo = FakeStatus(stat.S_IFIFO | 0o666, 8, 78, st_nlink=0, st_ctime_ns=200)
    inodes.add(replace(fifo, st_nlink=1), place)
    inodes.gone(fifo)
    assert inodes.find(replace(fifo, st_ctime_ns=300)) == place._replace(removed=True)


def test_a_number_that_stands_for_another_file_is_no_longer_the_firsts(
    inodes: Inodes, place: Place
) -> None:
    assert place.filesystem is not None
    inodes.gone(REMOVED)
    other = place._replace(path=b"/other", inode=6)
    inodes.add(DIRECTORY, other)
    assert inodes.find(DIRECTORY) == other
    assert not inodes.is_known(place.filesystem, 5)
    inodes.removed(place.filesystem, 5, b"/other")
    assert inodes.find(DIRECTORY) == other
