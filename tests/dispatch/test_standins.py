"""Stand-ins: real objects, which are removed with what they stand for."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from diorama.dispatch.files.standins import StandIns
from diorama.interfaces.filesystem import Attributes
from diorama.interfaces.tree import Tree
from diorama.view.inodes import Inodes
from diorama.view.mounts import Mount, Place

_TRIES = 500


@pytest.fixture
def inodes() -> Inodes:
    return Inodes()


@pytest.fixture
def standins(inodes: Inodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIns]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = StandIns(inodes)
    yield found
    found.close()


@pytest.fixture
def place() -> Place:
    tree = Tree("test")
    inode = tree.add_symlink(b"link", b"target", Attributes(stat.S_IFLNK | 0o777))
    return Mount(filesystem=tree).root._replace(path=b"/link", inode=inode)


@pytest.mark.parametrize("kind", [stat.S_IFDIR, stat.S_IFIFO], ids=["directory", "fifo"])
def test_who_holds_one_that_is_removed_holds_what_it_stood_for(
    standins: StandIns, inodes: Inodes, place: Place, kind: int
) -> None:
    assert place.filesystem is not None
    is_fifo = kind == stat.S_IFIFO
    path = standins.special(place, kind) if is_fifo else standins.directory(place)
    fd = os.open(path, os.O_RDWR if is_fifo else os.O_RDONLY)
    try:
        standins.remove(place.filesystem, place.inode)
        if is_fifo:
            os.write(fd, b"x")
        assert inodes.find(os.fstat(fd)) == place._replace(removed=True)
    finally:
        os.close(fd)


def test_a_link_with_two_names_is_removed_by_whichever_path_it_was_known(
    standins: StandIns, inodes: Inodes, place: Place
) -> None:
    """Its first name goes, then the second, by which nobody has opened it."""
    assert place.filesystem is not None
    fd = os.open(standins.symlink(place, b"target"), os.O_PATH | os.O_NOFOLLOW)
    try:
        inodes.removed(place.filesystem, place.inode, b"/second")
        standins.remove(place.filesystem, place.inode)
        found = inodes.find(os.fstat(fd))
        assert found is not None
        assert found.removed
    finally:
        os.close(fd)


def test_a_file_that_gets_the_number_of_one_is_the_hosts(
    standins: StandIns, inodes: Inodes, place: Place
) -> None:
    assert place.filesystem is not None
    path = standins.symlink(place, b"target")
    number = os.lstat(path).st_ino
    standins.remove(place.filesystem, place.inode)
    held: list[int] = []
    try:
        for _ in range(_TRIES):
            held.append(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            os.unlink(path)
            if os.fstat(held[-1]).st_ino == number:
                assert inodes.find(os.fstat(held[-1])) is None
                return
    finally:
        for fd in held:
            os.close(fd)
    pytest.skip("the file system does not use numbers again")
