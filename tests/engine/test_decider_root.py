"""Verdicts where the root is another directory, or the host's own with a layer over it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from diorama.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from diorama.dispatch.settling import settle_calls, settle_mounts
from diorama.engine.decider import VerdictKind
from diorama.modules.filesystems.layers.tree import LayeredTree
from diorama.modules.filesystems.layers.upper import Upper
from diorama.view.mounts import Mount, Place
from diorama.view.resolve import ResolutionError
from engine.test_decider import (
    World,
    build,
    expected,
    mounted,
    paths,
    places,
    synthetic,
    told,
    trees,
)

ASK, RUN, VALUE, GIVE, _ = VerdictKind


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(os.path.realpath(name))


def natively(dirfd: int, path: bytes, *, follow: bool) -> object:
    """What the kernel says of a path."""
    try:
        status = os.stat(path, dir_fd=dirfd, follow_symlinks=follow)
    except OSError as error:
        return error.errno
    return status.st_ino, status.st_mode, status.st_size


def rooted(world: World, mount: Mount) -> World:
    """The world with a mount on its root."""
    world.tree.attach(mount, world.tree.root.root)
    world.task.context.root = world.tree.base.root
    world.decider.load(settle_calls(), settle_mounts(world.tree), on_behalf=True)
    return world


def compare(world: World, dirfd: int, text: bytes, *, follow: bool) -> VerdictKind:
    """Decide about stat(2): what the resolver says, and the kernel if it is let do it."""
    start = world.tasks.descriptor(world.task, dirfd)
    found = world.resolve(start, text, follow=follow)
    verdict, have = told(world, dirfd, text, 0 if follow else AT_SYMLINK_NOFOLLOW)
    event(verdict.kind.name)
    if verdict.kind == RUN:
        assert natively(dirfd, text, follow=follow) == expected(found, follow=follow)
    elif verdict.kind == VALUE:
        assert have == expected(found, follow=follow)
    return verdict.kind


@pytest.mark.timeout(300)
@settings(max_examples=400, deadline=None)
@given(
    tree=trees, source=trees, mounts=mounted, path=paths, begin=places, absolute=st.booleans(),
    follow=st.booleans(), crawl=st.booleans(), read_only=st.booleans(),
)  # fmt: skip
def test_verdicts_in_another_root_are_those_of_the_resolver(
    scratch: Path,
    tree: dict[str, object],
    source: dict[str, object],
    mounts: list[tuple[str, str]],
    path: str,
    begin: str,
    absolute: bool,
    follow: bool,
    crawl: bool,
    read_only: bool,
) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        # What is bound is found on the host, and put in the new root.
        for part, content in (("view", tree), ("source", source)):
            (Path(name) / part).mkdir()
            build(Path(name) / part, content)
        (Path(name) / "source/.file").write_text("mounted")
        world = World()
        base = Mount(host=os.fsencode(f"{name}/view"), read_only=read_only)
        world.tree.attach(base, world.tree.root.root)
        world.task.context.root = base.root
        for place, kind in mounts:
            one = synthetic() if kind == "synthetic" else Mount(host=os.fsencode(f"{name}/source"))
            try:
                world.mount(one, "/" + place)
            except OSError:
                continue
        if world.tree.base is not base:
            return
        world.decider.load(settle_calls(), settle_mounts(world.tree), on_behalf=True, crawl=crawl)
        where = os.path.realpath(f"{name}/view/{begin}")
        if not where.startswith(f"{name}/view") or not os.path.isdir(where):
            where = f"{name}/view"
        dirfd = os.open(where, os.O_PATH)
        text = os.fsencode("/" + path if absolute else path.lstrip("/") or ".")
        try:
            kind = compare(world, dirfd, text, follow=follow)
            found = world.resolve(world.tasks.descriptor(world.task, dirfd), text, follow=follow)
        finally:
            os.close(dirfd)
        if isinstance(found, Place) and found.mount is base and not found.missing:
            # All that is in the root can be settled: let run from a directory in it, else done.
            assert kind == (RUN if found.straight and not read_only else VALUE)


kinds = st.sampled_from(["write", "remove", "mkdir", "rename", "mode", "link"])
changes = st.lists(st.tuples(kinds, places, places), max_size=5)


@dataclass
class Covered:
    """The host's own root with a layer over it, of which `view` is changed."""

    world: World
    tree: LayeredTree
    view: Path

    def change(self, how: str, name: str, other: str) -> None:
        """Make one change, if it can be made."""
        path, target = (os.fsencode(self.view / one) for one in (name, other))
        with contextlib.suppress(OSError):
            if how in ("mkdir", "link"):
                self.make(path, os.mkdir if how == "mkdir" else lambda real: os.symlink("../file", real))
            elif how == "write":
                self.write(path)
            elif how == "remove":
                self.tree.remove(path)
            elif how == "mode":
                os.chmod(self.tree.raise_up(path, content=False), 0o751)
            elif self.there(path) and not self.there(target) and not target.startswith(path):
                self.tree.rename(path, target)

    def write(self, path: bytes) -> None:
        if not self.there(path):
            self.make(path, lambda real: Path(os.fsdecode(real)).touch())
        Path(os.fsdecode(self.tree.raise_up(path))).write_text("written")

    def there(self, path: bytes) -> bool:
        try:
            self.tree.find(path)
        except OSError:
            return False
        return True

    def make(self, path: bytes, make: Callable[[bytes], None]) -> None:
        if self.there(path):
            return
        real, is_hidden = self.tree.room(path)
        if is_hidden:
            self.tree.make_over(path, make)
        else:
            make(real)
            self.tree.lookup.forget()


def cover(name: str, content: dict[str, object], *, read_only: bool = False) -> Covered:
    """A directory `view` with a layer over it, and everything around."""
    view, layer = Path(name) / "view", Path(name) / "layer"
    view.mkdir()
    build(view, content)
    for part in ("tree", "work"):
        (layer / part).mkdir(parents=True)
    upper = Upper(os.fsencode(layer / "tree"), os.fsencode(layer / "work"))
    tree = LayeredTree([b"/"], upper, hidden=frozenset({os.fsencode(layer)}))
    world = World()
    mount = Mount(layers=tree, read_only=read_only)
    rooted(world, mount)
    tree.on_identity = lambda status: world.decider.identity(status.st_dev, status.st_ino)
    return Covered(world, tree, view)


@pytest.mark.timeout(300)
@settings(max_examples=400, deadline=None)
@given(
    content=trees, made=changes, path=paths, begin=places, absolute=st.booleans(), follow=st.booleans(),
    read_only=st.booleans(),
)  # fmt: skip
def test_verdicts_over_a_layer_are_those_of_the_resolver(
    scratch: Path,
    content: dict[str, object],
    made: list[tuple[str, str, str]],
    path: str,
    begin: str,
    absolute: bool,
    follow: bool,
    read_only: bool,
) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        covered = cover(name, content, read_only=read_only)
        for one in made:
            covered.change(*one)
        where = os.path.realpath(f"{name}/view/{begin}")
        if not where.startswith(f"{name}/view") or not os.path.isdir(where):
            where = f"{name}/view"
        text = os.fsencode(f"{name}/view/{path}" if absolute else path.lstrip("/") or ".")
        dirfd = os.open(where, os.O_PATH)
        try:
            kind = compare(covered.world, dirfd, text, follow=follow)
            start = covered.world.tasks.descriptor(covered.world.task, dirfd)
            found = covered.world.resolve(start, text, follow=follow)
            flags = os.O_RDONLY | (0 if follow else os.O_NOFOLLOW)
            opened = covered.world.ask("openat", dirfd, text, flags, may_give=True)
            if opened.kind == GIVE:
                os.close(opened.fd)
            assert opened.kind in (kind, GIVE) or read_only
            for call, more in (("truncate", ()), ("chmod", (0o600,)), ("unlink", ()), ("mkdir", (0o700,))):
                if absolute:
                    assert covered.world.ask(call, text, *more).kind == ASK
        finally:
            os.close(dirfd)
            covered.tree.close()
        if isinstance(found, Place) and not (found.missing or made or read_only or found.view_path == b"/"):
            assert kind == RUN


@pytest.fixture
def covered(tmp_path: Path) -> Iterator[Covered]:
    content: dict[str, object] = {"file": "file", "a/b/file": "file", "a/link": ("link", "b/file")}
    made = cover(os.path.realpath(tmp_path), content)
    yield made
    made.tree.close()


def ask(covered: Covered, call: str, name: str, *args: object) -> VerdictKind:
    return covered.world.ask(call, os.fsencode(covered.view / name), *args).kind


def stat_kind(covered: Covered, name: str) -> VerdictKind:
    buffer = ctypes.create_string_buffer(256)
    return covered.world.ask("newfstatat", AT_FDCWD, os.fsencode(covered.view / name), buffer, 0).kind


def test_what_the_layer_left_is_let_run_until_it_changes(covered: Covered) -> None:
    assert stat_kind(covered, "a/b/file") == RUN
    assert stat_kind(covered, "a/link") == RUN
    assert stat_kind(covered, "a/none") == RUN
    covered.change("write", "a/b/file", "a")
    assert [stat_kind(covered, one) for one in ("a/b/file", "a/link", "a/b", "file", "a/none")] == [
        ASK, ASK, ASK, RUN, RUN,
    ]  # fmt: skip
    covered.change("write", "a/none", "a")
    assert stat_kind(covered, "a/none") == ASK
    covered.change("remove", "file", "a")
    assert stat_kind(covered, "file") == ASK


def test_what_is_below_an_opaque_directory_is_hidden(covered: Covered) -> None:
    covered.change("rename", "a", "c")
    covered.change("mkdir", "a", "a")
    assert stat_kind(covered, "a/b/file") == ASK
    assert stat_kind(covered, "c/b/file") == ASK
    covered.change("mkdir", "a/b", "a")
    assert stat_kind(covered, "a/b/file") == ASK


def test_changes_are_never_let_run(covered: Covered) -> None:
    for call, args in (("truncate", ()), ("chmod", (0,)), ("mkdir", (0,)), ("unlink", ()), ("chown", (0, 0))):
        assert ask(covered, call, "a/b/file", *args) == ASK
        assert ask(covered, call, "none", *args) == ASK
    for flags in (os.O_RDWR, os.O_WRONLY, os.O_TRUNC, os.O_CREAT, os.O_RDONLY | os.O_TMPFILE):
        assert covered.world.ask("openat", AT_FDCWD, os.fsencode(covered.view / "file"), flags).kind == ASK
    assert ask(covered, "access", "file", os.R_OK) == RUN
    assert ask(covered, "access", "file", os.R_OK | os.W_OK) == ASK
    fd = os.open(covered.view / "file", os.O_RDONLY)
    try:
        assert covered.world.ask("utimensat", fd, 0, 0, 0).kind == ASK
        buffer = ctypes.create_string_buffer(256)
        assert covered.world.ask("newfstatat", fd, b"", buffer, AT_EMPTY_PATH).kind == RUN
    finally:
        os.close(fd)


def test_the_layer_is_not_to_be_seen(covered: Covered) -> None:
    layer = covered.view.parent / "layer"
    assert covered.world.ask("access", os.fsencode(layer), os.F_OK).kind == ASK
    assert covered.world.ask("access", os.fsencode(layer / "tree"), os.F_OK).kind == ASK
    fd = os.open(layer / "tree", os.O_RDONLY)
    above = os.open(covered.view.parent, os.O_RDONLY)
    try:
        assert covered.world.ask("newfstatat", fd, b"x", 0, 0).kind == ASK
        assert covered.world.ask("newfstatat", above, b"layer", 0, 0).kind == ASK
    finally:
        os.close(fd)
        os.close(above)


def test_the_names_of_a_directory_are_the_kernel_s_until_they_change(covered: Covered) -> None:
    world = covered.world
    world.decider.load(settle_calls(layered=True, merged=True), settle_mounts(world.tree), on_behalf=True)
    names = [covered.view, covered.view / "a", covered.view.parent]
    fds = [os.open(name, os.O_RDONLY) for name in names]

    def kinds() -> list[VerdictKind]:
        return [world.ask("getdents64", fd, 0, 0).kind for fd in fds]

    try:
        assert kinds() == [RUN, RUN, ASK]
        covered.change("write", "a/new", "a")
        assert kinds() == [ASK, ASK, ASK]
        assert world.ask("fchmod", fds[0], 0o755).kind == ASK
    finally:
        for fd in fds:
            os.close(fd)


def test_the_current_directory_is_told_by_the_kernel_if_it_can(
    covered: Covered, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    buffer = ctypes.create_string_buffer(4096)
    monkeypatch.chdir(covered.view / "a")
    assert covered.world.ask("getcwd", buffer, 4096).kind == RUN
    covered.change("rename", "a", "c")
    assert covered.world.ask("getcwd", buffer, 4096).kind == ASK
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    elsewhere = rooted(World(), Mount(host=os.fsencode(tmp_path / "other")))
    assert elsewhere.ask("getcwd", buffer, 4096).kind == ASK
    assert elsewhere.ask("newfstatat", AT_FDCWD, b"none", buffer, 0).kind == RUN
    monkeypatch.chdir(tmp_path)
    assert elsewhere.ask("newfstatat", AT_FDCWD, b"none", buffer, 0).kind == ASK


def test_what_is_opened_in_another_root_is_no_mount_s(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the root")
    (tmp_path / "directory").mkdir()
    world = rooted(World(), Mount(host=os.fsencode(os.path.realpath(tmp_path))))
    for name in (b"/file", b"/directory"):
        given = world.ask("openat", AT_FDCWD, name, os.O_RDONLY, may_give=True)
        assert given.kind == GIVE
        status = os.fstat(given.fd)
        os.close(given.fd)
        assert status.st_ino == os.stat(os.fsencode(tmp_path) + name).st_ino
        assert world.decider.opened_through(os.getpid(), status.st_dev, status.st_ino) is None
    assert world.ask("openat", AT_FDCWD, b"/none", os.O_RDONLY).value == -errno.ENOENT
    assert world.ask("mkdir", b"/new", 0o700).kind == ASK


def test_a_root_that_is_made_is_asked_about() -> None:
    world = rooted(World(), synthetic())
    buffer = ctypes.create_string_buffer(256)
    for call, args in (
        ("newfstatat", (AT_FDCWD, b"/file", buffer, 0)),
        ("truncate", (b"/file",)),
        ("getcwd", (buffer, 256)),
        ("execve", (b"/bin/true", 0, 0)),
    ):
        assert world.ask(call, *args).kind == ASK


def test_where_the_root_is_restricted_what_is_open_is_asked_about(tmp_path: Path) -> None:
    world = rooted(World(), Mount(host=os.fsencode(tmp_path), read_only=True))
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert world.ask("fchmod", fd, 0o755).kind == ASK
        assert world.ask("mkdirat", fd, b"new", 0o755).kind == ASK
        assert world.ask("utimensat", fd, 0, 0, 0).kind == ASK
    finally:
        os.close(fd)


def test_the_mount_of_a_root_is_told_by_python(tmp_path: Path) -> None:
    world = rooted(World(), Mount(host=os.fsencode(tmp_path)))
    (tmp_path / "file").write_text("")
    buffer = ctypes.create_string_buffer(256)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert world.ask("statx", fd, b"file", 0, 0x7FF, buffer).kind == RUN
        assert world.ask("statx", fd, b"file", 0, 0x1000, buffer).kind == ASK
        assert world.ask("statx", AT_FDCWD, b"/file", 0, 0x1000, buffer).kind == ASK
    finally:
        os.close(fd)


def test_a_resolution_error_is_a_value(tmp_path: Path) -> None:
    world = rooted(World(), Mount(host=os.fsencode(tmp_path)))
    found = world.resolve(world.task.root, b"/none/none", follow=True)
    assert isinstance(found, ResolutionError)
    assert world.ask("newfstatat", AT_FDCWD, b"/none/none", 0, 0).value == -errno.ENOENT
