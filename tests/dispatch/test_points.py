"""Mount points below which there is nothing: they are in the listings of their directories."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from diorama.abi.dirent import DIRENT, DirEntry, unpack_entries
from diorama.abi.fcntl import AT_FDCWD, AT_REMOVEDIR
from diorama.catalogue.dirs import GetDents
from diorama.catalogue.paths import RenameAt2, UnlinkAt
from diorama.dispatch.files import borrowing
from diorama.dispatch.mediator import Mediator
from diorama.errors import UsageError
from diorama.interfaces.tree import Tree
from diorama.modules.filesystems.implicit import make_implicit
from diorama.modules.sources import make_mount
from dispatch.support import Inside
from dispatch.support import errno_of as code

POINTS = {b"file": stat.S_IFREG, b"made": stat.S_IFDIR, b"tree": stat.S_IFDIR}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory of five names, of which one is mounted on, and three more that are only mounted on."""
    top = tmp_path / "top"
    for name in ("a", "b", "known", "z"):
        (top / name).mkdir(parents=True)
    (top / "text").write_text("text")
    return top


@pytest.fixture
def inside(directory: Path, *, gives: bool) -> Inside:
    mediator = Mediator(implicit=make_implicit)
    mediator.mount(make_mount(str(directory / "a")), directory / "known")
    mediator.mount(make_mount(str(directory / "text")), directory / "file")
    mediator.mount(make_mount(str(directory / "b")), directory / "made")
    mediator.mount(make_mount(Tree("test")), directory / "tree")
    return Inside(mediator, gives=gives)


@pytest.fixture(params=[True, False], ids=["borrowed", "by calls of its own"])
def borrows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether we may have a copy of the program's descriptor."""
    if not request.param:
        monkeypatch.setattr(borrowing, "borrow", lambda *_: None)
    return bool(request.param)


def names(entries: list[DirEntry]) -> list[bytes]:
    return [entry.name for entry in entries]


@pytest.mark.usefixtures("borrows")
def test_they_follow_what_is_there(inside: Inside, directory: Path) -> None:
    found = inside.listdir(directory)
    native = {b".", b"..", *map(os.fsencode, os.listdir(directory))}
    assert set(names(found[:-3])) == native
    assert {entry.name: entry.type << 12 for entry in found[-3:]} == POINTS
    for entry in found[-3:]:
        assert entry.ino == inside.stat(directory / os.fsdecode(entry.name)).st_ino
    known = next(entry for entry in found if entry.name == b"known")
    assert known.ino == (directory / "known").stat().st_ino


@pytest.mark.usefixtures("borrows")
@pytest.mark.parametrize("size", [32, 40, 64, 100, 1000])
def test_a_small_buffer_loses_none(inside: Inside, directory: Path, size: int) -> None:
    assert inside.listdir(directory, size) == inside.listdir(directory)


@pytest.mark.usefixtures("borrows")
def test_a_listing_is_rewound_and_sought(inside: Inside, directory: Path) -> None:
    fd = inside.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    whole = inside.listdir(directory)
    whole_again = [entry for _ in range(2) for entry in inside.entries(fd)]
    assert whole_again == whole
    assert inside.entries(fd) == []
    for at, entry in enumerate(whole):
        os.lseek(fd, entry.off, os.SEEK_SET)
        assert names([one for _ in range(2) for one in inside.entries(fd)]) == names(whole[at + 1 :])
    os.lseek(fd, 0, os.SEEK_SET)
    assert names(inside.entries(fd)) == names(whole[:-3])
    os.close(fd)


def test_a_shared_offset_is_shared(inside: Inside, directory: Path) -> None:
    fd = inside.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    twin = os.dup(fd)
    found = [*inside.entries(fd), *inside.entries(twin, 32), *inside.entries(fd), *inside.entries(twin)]
    assert found == inside.listdir(directory)
    os.close(fd)
    os.close(twin)


def test_a_buffer_for_none_is_an_error(inside: Inside, directory: Path) -> None:
    fd = inside.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    inside.entries(fd)
    assert code(inside.entries, fd, 10) == errno.EINVAL
    assert set(names(inside.entries(fd))) == set(POINTS)
    os.close(fd)


def test_the_old_layout_has_them_too(inside: Inside, directory: Path) -> None:
    fd = inside.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    buffer = inside.tracee.buffer(4096)
    found: list[DirEntry] = []
    while count := inside.ask(GetDents(fd, buffer, 4096)):
        data = inside.tracee.memory.read(buffer.address, count)
        found += unpack_entries(data, inside.tracee.abi, DIRENT)
    assert names(found) == names(inside.listdir(directory))
    os.close(fd)


def test_what_comes_to_be_there_is_listed_once(inside: Inside, directory: Path) -> None:
    (directory / "made").mkdir()
    assert names(inside.listdir(directory)).count(b"made") == 1


def test_other_directories_are_the_kernels(inside: Inside, directory: Path) -> None:
    fd = inside.open(directory / "z", os.O_RDONLY | os.O_DIRECTORY)
    buffer = inside.tracee.buffer(100)
    assert inside.outcome(GetDents(fd, buffer, 100)) is None
    os.close(fd)
    assert code(inside.entries, 999) == errno.EBADF


def test_a_synthetic_directory_lists_them(inside: Inside, directory: Path) -> None:
    inside.mediator.mount(make_mount(str(directory / "a")), directory / "tree/below")
    found = inside.listdir(directory / "tree")
    assert names(found) == [b".", b"..", b"below"]
    assert found[-1].ino == (directory / "a").stat().st_ino
    assert inside.listdir(directory / "tree", 32) == found


def test_directories_above_are_there(inside: Inside, directory: Path) -> None:
    inside.mediator.mount(make_mount(str(directory / "text")), directory / "z/one/two/three")
    assert names(inside.listdir(directory / "z")) == [b".", b"..", b"one"]
    assert names(inside.listdir(directory / "z/one")) == [b".", b"..", b"two"]
    assert names(inside.listdir(directory / "z/one/two")) == [b".", b"..", b"three"]
    assert stat.S_ISDIR(inside.stat(directory / "z/one/two").st_mode)
    assert inside.read(directory / "z/one/two/three") == b"text"
    inside.chdir(directory / "z/one")
    assert inside.getcwd() == os.fsencode(directory / "z/one")
    assert code(inside.open, directory / "z/one/new", os.O_CREAT) == errno.EROFS
    inside.chdir("/")
    inside.mediator.mount(make_mount(str(directory / "a")), directory / "z/one/other/deep")
    assert names(inside.listdir(directory / "z/one")) == [b".", b"..", b"two", b"other"]


def test_directories_above_need_a_directory(inside: Inside, directory: Path) -> None:
    with pytest.raises(UsageError, match="not a directory"):
        inside.mediator.mount(make_mount(str(directory / "a")), directory / "text/one/two")
    with pytest.raises(UsageError, match="no such file"):
        inside.mediator.mount(make_mount(str(directory / "a")), directory / "z/one/../two")


def test_a_directory_with_a_mount_point_is_not_empty(inside: Inside, directory: Path) -> None:
    inside.mediator.mount(make_mount(str(directory / "a")), directory / "z/point")
    path = os.fsencode(directory / "z")
    assert code(inside.ask, UnlinkAt(AT_FDCWD, path, AT_REMOVEDIR)) == errno.ENOTEMPTY
    assert code(inside.ask, RenameAt2(AT_FDCWD, path, AT_FDCWD, path + b"2", 0)) == errno.EBUSY
    assert code(inside.ask, UnlinkAt(AT_FDCWD, path + b"/point", AT_REMOVEDIR)) == errno.EBUSY
    assert (directory / "z").is_dir()
