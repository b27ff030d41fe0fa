"""Stand-ins: real objects, which are removed with what they stand for."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from diorama.dispatch.files import standins as module
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
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where directories are made, if nothing else is in memory."""
    path = tmp_path / "memory"
    path.mkdir()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(module, "_MEMORY", str(path))
    return path


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


def test_directories_are_made_in_memory_and_nothing_else_is(
    standins: StandIns, memory: Path, place: Place
) -> None:
    directory, link = standins.directory(place), standins.symlink(place, b"target")
    assert directory.startswith(os.fsencode(memory))
    assert not link.startswith(os.fsencode(memory))
    assert standins.homes() == [os.path.dirname(directory), os.path.dirname(link)]
    standins.close()
    assert not any(memory.iterdir())
    assert not os.path.lexists(link)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_where_there_is_no_room_in_memory_they_are_elsewhere(
    standins: StandIns, memory: Path, place: Place, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Names move from the one to the other, for who watches both."""
    assert place.filesystem is not None
    inside = standins.watch(place, lambda: [b"name"])
    really, other = os.mkdir, place._replace(inode=place.inode + 1)

    def mkdir(path: bytes, mode: int) -> None:
        if path.startswith(os.fsencode(memory)):
            raise OSError(code, os.strerror(code))
        really(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    outside = standins.watch(other, list)
    assert os.path.dirname(outside) == standins.homes()[1]
    standins.name_moved(place.filesystem, place.inode, b"name", other.inode, b"moved")
    assert (os.listdir(inside), os.listdir(outside)) == ([], [b"moved"])
    standins.name_moved(place.filesystem, other.inode, b"moved", -1, b"away")
    assert os.listdir(outside) == []
    beside = [name for home in standins.homes() for name in os.listdir(home)]
    assert not any(name.startswith(b"p") for name in beside)


def test_where_nothing_can_be_made_in_memory_there_is_one_place_for_all(
    standins: StandIns, memory: Path, place: Place
) -> None:
    memory.rmdir()
    assert standins.homes() == [os.path.dirname(standins.directory(place))]
