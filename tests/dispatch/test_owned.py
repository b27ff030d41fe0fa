"""A tree that remembers lets its users do what they may do in a file system of ours, and shows the same.

That file system is the oracle, since it is held against the kernel by root (`test_writable`): here nobody
need be root.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diorama.abi.fcntl import AT_EACCESS, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, O_PATH, RENAME_EXCHANGE
from diorama.abi.time import Times
from diorama.dispatch.mediator import Mediator
from diorama.modules.filesystems.memory import MemoryFileSystem
from diorama.modules.sources import make_mount
from diorama.testing.own import OwnExecution, OwnTracee
from diorama.view.identity import Identity
from dispatch.twins import Side, outcome_of

ROOT = Identity.of(0, 0)
STRANGER = Identity.of(4242, 4242)
OTHER = Identity.of(77, 4242, (4242, 9))
PEOPLE = (ROOT, STRANGER, OTHER)
NEW = os.O_CREAT | os.O_RDWR
DEVICE = os.makedev(1, 3)


class World:
    """A file system of ours, and a directory that remembers, with whoever asks in both."""

    def __init__(self, base: Path, *, gives: bool, options: tuple[str, ...] = ("remember",)) -> None:
        self.base, self.gives, self.options = base, gives, options
        self.kept = base / "kept"
        for name in ("kept", "ours", "theirs"):
            (base / name).mkdir()
        self.real = self._side(base / "ours", make_mount(MemoryFileSystem()))
        self.virtual = self._remembering()
        self.become(ROOT)

    def _side(self, at: Path, mount: Any) -> Side:
        mediator = Mediator()
        mediator.mount(mount, at)
        execution = OwnExecution(mediator, OwnTracee(gives_at_once=self.gives))
        mediator.rooted(execution.tracee)
        side = Side(at, execution, execution.ask)
        side.mediator = mediator
        return side

    def _remembering(self) -> Side:
        return self._side(self.base / "theirs", make_mount(self.kept, *self.options))

    def become(self, who: Identity) -> None:
        """Be somebody else from now on."""
        for side in (self.real, self.virtual):
            side.mediator.files.task(side.tracee).identity = who

    def do(self, name: str, *args: Any) -> Any:
        """Call a method of both, and demand that they agree: the result or the errno."""
        expected, found = (outcome_of(getattr(side, name), args) for side in (self.real, self.virtual))
        assert found == expected, f"{name}{args}: {found!r}, in a file system of ours {expected!r}"
        return found

    def compare(self) -> None:
        """Demand that root sees the same in both."""
        self.become(ROOT)
        assert _without_links(self.virtual.tree()) == _without_links(self.real.tree())

    def look_again(self) -> None:
        """As another view sees it."""
        self._close(self.virtual)
        self.virtual = self._remembering()
        self.compare()

    @staticmethod
    def _close(side: Side) -> None:
        for fd in side.fds:
            os.close(fd)
        side.fds.clear()
        side.mediator.close()

    def close(self) -> None:
        self._close(self.real)
        self._close(self.virtual)


def _without_links(tree: dict[str, Any]) -> dict[str, Any]:
    """How many names a directory has is for the file system of the host to say."""
    for path, seen in tree.items():
        if path.endswith("/"):
            _without_links(seen)
        elif isinstance(seen, dict) and stat.S_ISDIR(seen["st_mode"]):
            seen.pop("st_nlink", None)
    return tree


@pytest.fixture(params=[False, True], ids=["opened by the program", "given"])
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    found = World(tmp_path, gives=bool(request.param))
    yield found
    found.close()


def test_what_root_does_is_remembered(world: World) -> None:
    do = world.do
    do("mkdir", "d", 0o7755)
    do("open", "d/f", NEW, 0o640)
    do("write", 0, b"x", 0)
    do("symlink", "f", "d/s")
    do("mknod", "p", stat.S_IFIFO | 0o600)
    for kind in (stat.S_IFCHR, stat.S_IFBLK):
        do("mknod", f"d/{kind}", kind | 0o660, DEVICE)
        do("shown", f"d/{kind}")
    for name in ("d", "d/f", "d/s", "p", f"d/{stat.S_IFCHR}", "none"):
        do("chown", name, 33, 44, AT_SYMLINK_NOFOLLOW)
        do("chown", name, -1, 45, AT_SYMLINK_NOFOLLOW)
        do("shown", name)
    for mode in (0o4711, 0o2755, 0o1777, 0, 0o444, 0o111, 0o6777):
        for name in ("d", "d/f", "p", f"d/{stat.S_IFBLK}"):
            do("chmod", name, mode)
            do("shown", name)
    do("fchmod", 0, 0o4755)
    do("fstat", 0)
    do("chown", "d/f", 1, 1)
    do("shown", "d/f")
    world.look_again()


def test_what_is_remembered_goes_along(world: World) -> None:
    do = world.do
    do("mkdir", "a")
    do("mkdir", "b")
    for name in ("a/f", "a/g"):
        do("open", name, NEW, 0o600)
        do("chown", name, 33, 44)
        do("chmod", name, 0o4755)
    do("symlink", "f", "a/s")
    do("chown", "a/s", 5, 6, AT_SYMLINK_NOFOLLOW)
    do("mknod", "a/n", stat.S_IFCHR | 0o600, DEVICE)
    do("link", "a/f", "b/f2")
    do("link", "a/n", "b/n2")
    do("rename", "a/s", "b/s2")
    do("rename", "a/g", "b/f2", RENAME_EXCHANGE)
    do("chown", "a/f", 1, 2)
    do("unlink", "a/f")
    do("rename", "b", "a/b")
    world.look_again()


def test_attributes_of_administrators_are_remembered(world: World) -> None:
    do = world.do
    do("open", "f", NEW, 0o755)
    do("mkdir", "d")
    for name in ("f", "d", "none"):
        do("set_xattr", name, b"trusted.a", b"1")
        do("set_xattr", name, b"user.b", b"2")
        do("get_xattr", name, b"trusted.a")
        do("get_xattr", name, b"trusted.a", 0)
        do("list_xattrs", name)
    world.become(STRANGER)
    for name in ("f", "d"):
        do("get_xattr", name, b"trusted.a")
        do("get_xattr", name, b"user.b")
        do("list_xattrs", name)
        do("set_xattr", name, b"trusted.a", b"3")
        do("remove_xattr", name, b"trusted.a")
    world.become(ROOT)
    do("remove_xattr", "f", b"trusted.a")
    do("remove_xattr", "f", b"trusted.a")
    world.look_again()


def test_the_notes_are_no_attributes(world: World) -> None:
    side = world.virtual
    side.open("f", NEW, 0o600)
    side.chown("f", 1, 2)
    names = [name for name in os.listxattr(world.kept / "f") if "diorama" in name]
    assert names, "the host should have a note"
    assert side.list_xattrs("f") == [b""]
    for name in map(os.fsencode, names):
        assert outcome_of(side.get_xattr, ("f", name)) == "ENODATA"
        assert outcome_of(side.set_xattr, ("f", name, b"0 0 0")) == "ENOTSUP"
        assert outcome_of(side.remove_xattr, ("f", name)) != 0
    assert (side.stat("f").st_uid, side.stat("f").st_gid) == (1, 2)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o755, 0o770, 0o700, 0o711, 0o3777, 0o776])
def test_a_stranger_may_do_what_linux_lets_him(tmp_path: Path, mode: int) -> None:
    world = World(tmp_path, gives=False)
    do = world.do
    do("chmod", "", 0o755)
    do("mkdir", "d")
    do("mkdir", "d/theirs", 0o777)
    for name, permissions in (("d/a", 0o644), ("d/b", 0o666), ("d/c", 0o600), ("d/u", 0o6777)):
        do("mknod", name, permissions)
        do("chmod", name, permissions)
    do("mknod", "d/mine", 0o640)
    do("chown", "d/mine", 4242, 4242)
    do("chown", "d", 10, 4243)
    do("chmod", "d", mode)
    world.become(STRANGER)
    _try_everything(world)
    world.look_again()
    world.close()


def _try_everything(world: World) -> None:
    do = world.do
    for name in ("d", "d/a", "d/b", "d/c", "d/u", "d/mine", "d/theirs"):
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_NOATIME, os.O_TRUNC, O_PATH):
            do("open", name, flags)
        for wanted in range(8):
            do("access", name, wanted, AT_EACCESS)
            do("access", name, wanted)
        do("chmod", name, 0o2755)
        do("shown", name)
        for owner in ((4242, -1), (-1, 4242), (-1, 4244), (-1, -1)):
            do("chown", name, *owner)
        do("utimes", name, None)
        do("utimes", name, Times(1, 0, 2, 0))
        do("set_xattr", name, b"user.a", b"x")
        do("get_xattr", name, b"user.a")
        do("set_xattr", name, b"trusted.a", b"x")
        do("link", name, f"{name}2")
        do("truncate", name, 1)
        do("shown", name)
    do("mkdir", "d/new", 0o2777)
    do("open", "d/file", NEW, 0o2777)
    do("open", "d/new/file", NEW, 0o444)
    do("mknod", "d/device", stat.S_IFCHR | 0o600, 259)
    for name in ("d/new", "d/file", "d/new/file"):
        do("shown", name)
    do("rename", "d/a", "d/b")
    do("rename", "d/mine", "d/b")
    do("rename", "d/theirs", "d/new/theirs")
    do("rename", "d/a", "d/mine", RENAME_EXCHANGE)
    for name in ("d/a", "d/b", "d/mine", "d/file"):
        do("unlink", name)
    for name in ("d/theirs", "d/new"):
        do("unlink", name, AT_REMOVEDIR)


def test_without_attributes_all_is_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diorama.modules.filesystems import owners

    monkeypatch.setattr(owners, "_has_xattrs", lambda _directory: False)
    world = World(tmp_path, gives=True)
    do = world.do
    do("mkdir", "d", 0o755)
    do("open", "d/f", NEW, 0o600)
    do("chown", "d/f", 33, 44)
    do("chmod", "d/f", 0o4444)
    do("mknod", "n", stat.S_IFBLK | 0o600, DEVICE)
    do("set_xattr", "d", b"trusted.a", b"1")
    do("rename", "d", "e")
    assert not [name for name in os.listxattr(world.kept / "e/f") if "diorama" in name]
    assert (tmp_path / ".kept.owners").exists()
    world.look_again()
    world.close()


def test_what_somebody_else_makes_of_a_number_is_his_own(world: World) -> None:
    side = world.virtual
    side.symlink("x", "s")
    side.chown("s", 5, 6, AT_SYMLINK_NOFOLLOW)
    number = os.lstat(world.kept / "s").st_ino
    os.unlink(world.kept / "s")
    for at in range(100):
        os.symlink("y", world.kept / f"s{at}")
        if os.lstat(world.kept / f"s{at}").st_ino == number:
            break
    owners = {side.stat(f"s{at}").st_uid for at in range(100) if (world.kept / f"s{at}").is_symlink()}
    assert owners == {0}


def test_a_copy_with_attributes_is_seen_alike(world: World) -> None:
    side = world.virtual
    side.mkdir("d")
    side.open("d/f", NEW, 0o600)
    side.chown("d/f", 33, 44)
    side.mknod("d/n", stat.S_IFCHR | 0o600, DEVICE)
    shutil.copytree(world.kept / "d", world.kept / "copy")  # copystat(3) takes attributes along
    for name in ("f", "n"):
        assert side.shown(f"copy/{name}") == side.shown(f"d/{name}")


class Killed(BaseException):
    """In the place of a signal."""


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o4755), (0o4755, 0o644), (0o400, 0o777), (0o444, 0)])
@pytest.mark.parametrize("step", ["chmod", "setxattr", "removexattr"])
def test_who_is_killed_leaves_the_old_or_the_new(
    world: World, monkeypatch: pytest.MonkeyPatch, before: int, after: int, step: str
) -> None:
    side = world.virtual
    side.mknod("f", 0o644)
    side.chmod("f", before)
    real = getattr(os, step)

    def killed(*_args: Any, **_options: Any) -> None:
        raise Killed

    monkeypatch.setattr(os, step, killed)
    try:
        side.chmod("f", after)
    except Killed:
        monkeypatch.setattr(os, step, real)
    monkeypatch.setattr(os, step, real)
    assert stat.S_IMODE(side.stat("f").st_mode) in (before, after)
    side.chmod("f", after)
    assert stat.S_IMODE(side.stat("f").st_mode) == after


def test_layers_over_such_a_tree_show_its_owners(world: World) -> None:
    from diorama.modules.filesystems.layers.marks import Owner, owner_of

    side = world.virtual
    side.mknod("f", 0o640)
    side.chown("f", 33, 44)
    side.mknod("n", stat.S_IFCHR | 0o600, DEVICE)
    for name, owner in (("f", Owner(33, 44, 0o640)), ("n", Owner(0, 0, 0o600))):
        assert owner_of(os.fsencode(world.kept / name), stat.S_IFREG) == owner


# -- at random ------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "a/b", "a/c", "b/a", "a/b/c"])
# Without set-user-ID bits: who opens a file for writing loses them before he writes, and not then.
MODES = st.sampled_from([0o777, 0o644, 0o755, 0o770, 0o1777, 0o555, 0o400, 0])
IDS = st.sampled_from([-1, 0, 77, 4242])
OPENING = st.sampled_from([os.O_RDONLY, os.O_RDWR, NEW, NEW | os.O_EXCL, os.O_WRONLY | os.O_TRUNC]).map(
    lambda flags: flags | os.O_NONBLOCK
)
OPERATIONS = st.one_of(
    st.tuples(st.just("become"), st.sampled_from(PEOPLE)),
    st.tuples(st.just("mkdir"), NAMES, MODES),
    st.tuples(st.just("mknod"), NAMES, st.sampled_from([0o644, stat.S_IFIFO | 0o600])),
    st.tuples(st.just("symlink"), NAMES, NAMES),
    st.tuples(st.just("link"), NAMES, NAMES),
    st.tuples(st.just("unlink"), NAMES, st.sampled_from([0, AT_REMOVEDIR])),
    st.tuples(st.just("rename"), NAMES, NAMES, st.sampled_from([0, RENAME_EXCHANGE])),
    st.tuples(st.just("chmod"), NAMES, MODES),
    st.tuples(st.just("chown"), NAMES, IDS, IDS, st.sampled_from([0, AT_SYMLINK_NOFOLLOW])),
    st.tuples(st.just("open"), NAMES, OPENING, MODES),
    st.tuples(st.just("access"), NAMES, st.integers(0, 7)),
    st.tuples(st.just("shown"), NAMES),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(operations=st.lists(OPERATIONS, min_size=5, max_size=40))
def test_any_sequence_of_calls_leaves_the_same(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[Any, ...]]
) -> None:
    world = World(tmp_path_factory.mktemp("owned"), gives=True)
    try:
        world.do("chmod", "", 0o1777)
        for name, *args in operations:
            if name == "become":
                world.become(*args)
            else:
                world.do(name, *args)
        world.look_again()
    finally:
        world.close()
