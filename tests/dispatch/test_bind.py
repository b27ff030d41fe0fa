"""A host directory mounted elsewhere: native in it, and nothing gets past it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from diorama.abi.fcntl import AT_FDCWD, O_TMPFILE
from diorama.abi.socket import UnixAddress
from diorama.catalogue.files import FChMod, FChModAt2, OpenAt, UTimeNsAt
from diorama.catalogue.handles import SockAddr
from diorama.catalogue.paths import LinkAt, MkDirAt, RenameAt2, SymlinkAt, UnlinkAt
from diorama.catalogue.sockets import Bind, Connect
from diorama.dispatch.mediator import Mediator
from diorama.errors import UsageError
from diorama.modules.sources import make_mount
from dispatch.support import Inside
from dispatch.support import errno_of as code


@pytest.fixture
def paths(tmp_path: Path) -> SimpleNamespace:
    """Where things are: `at` the mount point, `src` what is mounted there."""
    src, at = tmp_path / "src", tmp_path / "at"
    (src / "sub").mkdir(parents=True)
    at.mkdir()
    (src / "file").write_text("text")
    (src / "absolute").symlink_to(at / "file")
    (src / "out").symlink_to("../other")
    (tmp_path / "other").write_text("other")
    return SimpleNamespace(top=tmp_path, src=src, at=at)


def enter(paths: SimpleNamespace, *options: str, gives: bool) -> Iterator[Inside]:
    mediator = Mediator()
    mediator.mount(make_mount(str(paths.src), *options), paths.at)
    cwd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    yield Inside(mediator, gives=gives)
    os.fchdir(cwd)
    os.close(cwd)
    mediator.close()


@pytest.fixture
def inside(paths: SimpleNamespace, *, gives: bool) -> Iterator[Inside]:
    yield from enter(paths, gives=gives)


@pytest.fixture
def read_only(paths: SimpleNamespace, *, gives: bool) -> Iterator[Inside]:
    yield from enter(paths, "ro", gives=gives)


def test_what_meets_no_mount_is_left_to_the_kernel(inside: Inside, paths: SimpleNamespace) -> None:
    for path in (paths.top / "other", paths.top / "none", "/etc/passwd", "relative"):
        assert inside.outcome(MkDirAt(AT_FDCWD, os.fsencode(path), 0o755)) is None


def test_files_are_the_hosts(inside: Inside, paths: SimpleNamespace) -> None:
    assert inside.read(paths.at / "file") == b"text"
    assert inside.stat(paths.at / "file").st_ino == (paths.src / "file").stat().st_ino
    fd = inside.open(paths.at / "new", os.O_CREAT | os.O_WRONLY, mode=0o640)
    os.write(fd, b"new")
    os.close(fd)
    assert (paths.src / "new").read_text() == "new"
    inside.ask(MkDirAt(AT_FDCWD, os.fsencode(paths.at / "made/"), 0o755))
    assert (paths.src / "made").is_dir()
    assert not os.listdir(paths.at)


def test_links_lead_through_the_view(inside: Inside, paths: SimpleNamespace) -> None:
    assert inside.read(paths.at / "absolute") == b"text"
    assert inside.read(paths.at / "out") == b"other"
    assert inside.read(f"{paths.at}/sub/../../other") == b"other"
    assert inside.readlink(paths.at / "out") == b"../other"


def test_the_current_directory_stays_in_the_mount(inside: Inside, paths: SimpleNamespace) -> None:
    inside.chdir(paths.at / "sub")
    assert inside.getcwd() == os.fsencode(paths.at / "sub")
    assert inside.read("../file") == b"text"
    inside.chdir("..")
    assert inside.getcwd() == os.fsencode(paths.at)
    assert inside.readlink("/proc/self/cwd") == os.fsencode(paths.at)
    inside.chdir("..")
    assert inside.getcwd() == os.fsencode(paths.top)
    inside.chdir(paths.src)
    assert inside.getcwd() == os.fsencode(paths.src)


def test_a_directory_descriptor_stays_in_the_mount(inside: Inside, paths: SimpleNamespace) -> None:
    fd = inside.open(paths.at / "sub", os.O_RDONLY | os.O_DIRECTORY)
    assert inside.stat("../..", 0, fd).st_ino == paths.top.stat().st_ino
    assert inside.readlink(f"/proc/self/fd/{fd}") == os.fsencode(paths.at / "sub")
    inside.fchdir(fd)
    assert inside.getcwd() == os.fsencode(paths.at / "sub")
    os.close(fd)
    plain = inside.open(paths.src / "sub", os.O_RDONLY | os.O_DIRECTORY)
    assert inside.readlink(f"/proc/self/fd/{plain}") == os.fsencode(paths.src / "sub")
    os.close(plain)


def test_names_cannot_go_from_mount_to_mount(inside: Inside, paths: SimpleNamespace) -> None:
    inner, outer = os.fsencode(paths.at / "file"), os.fsencode(paths.top / "new")
    assert code(inside.ask, RenameAt2(AT_FDCWD, inner, AT_FDCWD, outer, 0)) == errno.EXDEV
    assert code(inside.ask, LinkAt(AT_FDCWD, inner, AT_FDCWD, outer, 0)) == errno.EXDEV
    assert inside.ask(RenameAt2(AT_FDCWD, inner, AT_FDCWD, inner + b"2", 0)) == 0
    assert (paths.src / "file2").exists()


def test_a_mount_point_is_busy(inside: Inside, paths: SimpleNamespace) -> None:
    at = os.fsencode(paths.at)
    assert code(inside.ask, UnlinkAt(AT_FDCWD, at, 0x200)) == errno.EBUSY
    assert code(inside.ask, MkDirAt(AT_FDCWD, at, 0o755)) == errno.EEXIST


def test_sockets_are_made_on_the_host(inside: Inside, paths: SimpleNamespace) -> None:
    def packed(path: Path) -> tuple[SockAddr, int]:
        data = UnixAddress(os.fsencode(path)).pack()
        return SockAddr(inside.tracee.memory.place(data), len(data), inside.tracee.memory), len(data)

    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        inside.ask(Bind(server.fileno(), *packed(paths.at / "socket")))
        assert (paths.src / "socket").is_socket()
        server.listen()
        inside.ask(Connect(client.fileno(), *packed(paths.at / "socket")))


def test_a_socket_has_a_short_name_although_its_host_path_is_long(tmp_path: Path, *, gives: bool) -> None:
    """sockaddr_un has room for 108 bytes."""
    deep = tmp_path / ("d" * 100)
    paths = SimpleNamespace(src=deep, at=tmp_path / "at")
    deep.mkdir()
    paths.at.mkdir()
    for inside in enter(paths, gives=gives):
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            data = UnixAddress(os.fsencode(paths.at / "socket")).pack()
            memory = inside.tracee.memory
            inside.ask(Bind(server.fileno(), SockAddr(memory.place(data), len(data), memory), len(data)))
            assert (deep / "socket").is_socket()
            server.listen()
            inside.ask(Connect(client.fileno(), SockAddr(memory.place(data), len(data), memory), len(data)))


# -- names that the kernel resolves by itself -----------------------------------------------------


def test_what_lies_straight_ahead_in_a_mount_is_left_to_the_kernel(
    inside: Inside, paths: SimpleNamespace
) -> None:
    inside.chdir(paths.at)
    outcome = inside.outcome
    assert outcome(MkDirAt(AT_FDCWD, b"new", 0o755)) is None
    assert outcome(UnlinkAt(AT_FDCWD, b"sub/../file", 0)) is None
    assert outcome(RenameAt2(AT_FDCWD, b"file", AT_FDCWD, b"sub/file", 0)) is None
    assert outcome(OpenAt(AT_FDCWD, b"file", os.O_RDWR, 0)) is None
    for path in (b"out", b"absolute", b"../other", os.fsencode(paths.at / "file")):
        assert outcome(FChModAt2(AT_FDCWD, path, 0o600, 0)) is not None, path


def test_a_path_as_long_as_can_be_leads_into_a_mount(inside: Inside, paths: SimpleNamespace) -> None:
    inside.chdir(paths.at)
    names = [b"d" * 200] * 20
    path = b""
    for name in names:
        path = os.path.join(path, name)
        inside.ask(MkDirAt(AT_FDCWD, path, 0o755))
    longest = path + b"/" + b"f" * (4095 - len(path) - 1)
    fd = inside.open(longest, os.O_CREAT | os.O_WRONLY)
    os.close(fd)
    assert inside.stat(longest).st_size == 0
    assert code(inside.stat, longest + b"f") == errno.ENAMETOOLONG
    inside.ask(RenameAt2(AT_FDCWD, longest, AT_FDCWD, b"short", 0))
    assert (paths.src / "short").exists()


# -- read-only ------------------------------------------------------------------------------------


def test_a_read_only_mount_is_not_changed(read_only: Inside, paths: SimpleNamespace) -> None:
    inside, at = read_only, os.fsencode(paths.at) + b"/"
    assert inside.read(paths.at / "file") == b"text"
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_TRUNC):
        assert code(inside.open, paths.at / "file", flags) == errno.EROFS
    assert code(inside.open, paths.at / "new", os.O_CREAT) == errno.EROFS
    assert code(inside.open, paths.at / "sub", O_TMPFILE | os.O_RDWR) == errno.EROFS
    assert code(inside.open, paths.at / "file", os.O_CREAT | os.O_EXCL) == errno.EEXIST
    assert code(inside.ask, UnlinkAt(AT_FDCWD, at + b"file", 0)) == errno.EROFS
    assert code(inside.ask, SymlinkAt(b"x", AT_FDCWD, at + b"new")) == errno.EROFS
    assert code(inside.ask, MkDirAt(AT_FDCWD, at + b"sub", 0o755)) == errno.EEXIST
    assert code(inside.ask, FChModAt2(AT_FDCWD, at + b"file", 0o600, 0)) == errno.EROFS
    assert code(inside.access, paths.at / "file", os.W_OK) == errno.EROFS
    assert code(inside.access, paths.at / "none", os.W_OK) == errno.ENOENT
    assert inside.statfs(paths.at).f_flags & os.ST_RDONLY


def test_a_read_only_mount_is_not_changed_by_descriptor(read_only: Inside, paths: SimpleNamespace) -> None:
    fd = read_only.open(paths.at / "file", os.O_RDONLY | os.O_CREAT)
    assert code(read_only.ask, FChMod(fd, 0o600)) == errno.EROFS
    assert code(read_only.ask, UTimeNsAt(fd, None, None, 0)) == errno.EROFS  # type: ignore[arg-type]
    os.close(fd)
    fd = read_only.open(paths.src / "file")
    assert read_only.ask(FChMod(fd, 0o600)) == 0
    os.close(fd)


def test_the_way_out_of_a_read_only_mount_can_be_written(read_only: Inside, paths: SimpleNamespace) -> None:
    fd = read_only.open(paths.at / "out", os.O_WRONLY)
    os.close(fd)


# -- mounting -------------------------------------------------------------------------------------


def test_mount_points_are_checked(paths: SimpleNamespace) -> None:
    mediator = Mediator()
    assert mediator.requests(tells_clones=True) == frozenset()
    with pytest.raises(UsageError, match="needs a directory, not a file"):
        mediator.mount(make_mount(str(paths.src)), paths.top / "other")
    with pytest.raises(UsageError, match="needs a file, not a directory"):
        mediator.mount(make_mount(str(paths.top / "other")), paths.at)
    with pytest.raises(UsageError, match="no such file or directory"):
        mediator.mount(make_mount(str(paths.src)), paths.top / "none/none")
    (paths.top / "link").symlink_to(paths.src / "sub")
    with pytest.raises(UsageError, match="needs a file"):
        mediator.mount(make_mount(str(paths.top / "other")), paths.top / "link/..")
    mediator.mount(make_mount(str(paths.src)), paths.top / "none")
    assert Inside(mediator).read(paths.top / "none/file") == b"text"
    assert MkDirAt in mediator.requests(tells_clones=True)
    mediator.close()


def test_a_mount_may_be_in_a_mount(inside: Inside, paths: SimpleNamespace) -> None:
    inside.mediator.mount(make_mount(str(paths.top / "other")), paths.at / "file")
    assert inside.read(paths.at / "file") == b"other"
