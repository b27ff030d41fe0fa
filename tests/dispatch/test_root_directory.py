"""A directory of the host as the root of the view: nothing of what was at `/` is to be seen."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from diorama.abi.fcntl import AT_FDCWD
from diorama.catalogue.files import FChMod
from diorama.catalogue.processes import ExecveAt
from diorama.dispatch.mediator import Mediator
from diorama.modules.sources import make_mount
from dispatch.support import Inside, errno_of


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    (top / "sub/deep").mkdir(parents=True)
    (top / "proc").mkdir()
    (top / "own").write_bytes(b"of the root")
    (top / "sub/file").write_bytes(b"below")
    (top / "absolute").symlink_to("/sub/file")
    (top / "sub/up").symlink_to("../../../../own")
    return top


@pytest.fixture(params=[False, True], ids=["opened by the program", "given"])
def inside(top: Path, request: pytest.FixtureRequest) -> Iterator[Inside]:
    mediator = Mediator()
    mediator.mount(make_mount(str(top)), "/")
    mediator.mount(make_mount("/proc"), "/proc")
    cwd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    yield Inside(mediator, gives=bool(request.param))
    os.fchdir(cwd)
    os.close(cwd)
    mediator.close()


def test_paths_begin_in_it(inside: Inside) -> None:
    assert inside.read("/own") == b"of the root"
    assert inside.read("/absolute") == b"below"
    assert inside.read("/sub/up") == b"of the root"
    assert errno_of(inside.read, "/etc/passwd") == errno.ENOENT
    assert errno_of(inside.stat, "/../../usr") == errno.ENOENT


def test_the_way_up_ends_there(inside: Inside) -> None:
    inside.chdir("/sub/deep")
    assert inside.getcwd() == b"/sub/deep"
    assert inside.read("../../../../own") == b"of the root"
    inside.chdir("..")
    assert inside.getcwd() == b"/sub"
    assert inside.read("file") == b"below"
    fd = inside.open("/sub", os.O_RDONLY | os.O_DIRECTORY)
    dirfd = inside.open("..", os.O_RDONLY | os.O_DIRECTORY, fd)
    assert inside.stat("own", dirfd=dirfd).st_size == len(b"of the root")
    os.close(dirfd)
    os.close(fd)


def test_links_of_proc_tell_paths_in_it(inside: Inside, top: Path) -> None:
    os.chdir(top / "sub")
    assert inside.readlink("/proc/self/cwd") == b"/sub"
    assert inside.readlink("/proc/self/root") == b"/"
    assert inside.read("/proc/self/root/own") == b"of the root"
    fd = inside.open("/own")
    assert inside.readlink(f"/proc/self/fd/{fd}") == b"/own"
    assert inside.read(f"/proc/self/fd/{fd}") == b"of the root"
    os.close(fd)


def test_nothing_need_be_remembered_there(inside: Inside) -> None:
    inside.chdir("/sub")
    os.close(inside.open("/sub/deep", os.O_RDONLY | os.O_DIRECTORY))
    assert inside.mediator.files.tasks.is_plain(inside.mediator.files.task(inside.tracee))


@pytest.mark.parametrize("is_there", [False, True])
def test_a_program_starts_where_it_was_or_at_the_root(
    inside: Inside, top: Path, tmp_path: Path, *, is_there: bool
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    if is_there:
        (top / str(start)[1:]).mkdir(parents=True)
    os.chdir(start)
    inside.outcome(ExecveAt(AT_FDCWD, b"/own", None, None, 0))  # type: ignore[arg-type]
    assert inside.getcwd() == (os.fsencode(start) if is_there else b"/")


def test_what_is_read_only_stays_so_by_descriptor(top: Path) -> None:
    mediator = Mediator()
    mediator.mount(make_mount(str(top), "ro"), "/")
    inside = Inside(mediator)
    fd = inside.open("/own")
    assert errno_of(inside.ask, FChMod(fd, 0o600)) == errno.EROFS
    os.close(fd)
    mediator.close()


def test_who_stands_outside_has_no_path(inside: Inside) -> None:
    fd = os.open("/usr", os.O_RDONLY | os.O_DIRECTORY)
    inside.fchdir(fd)
    os.close(fd)
    assert inside.getcwd() == b"(unreachable)/usr"
    assert inside.readlink("/proc/self/cwd") == b"/usr"
    assert errno_of(inside.getcwd, 10) == errno.ERANGE
