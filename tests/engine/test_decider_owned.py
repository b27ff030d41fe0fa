"""Verdicts where a tree remembers who owns what: never more than Python lets the task do."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from diorama.abi.fcntl import AT_FDCWD, AT_SYMLINK_NOFOLLOW
from diorama.engine.decider import Checked, VerdictKind
from diorama.modules.filesystems.owners import RememberedOwners
from diorama.view.identity import Identity
from diorama.view.mounts import Mount, Place
from diorama.view.resolve import ResolutionError
from engine.test_decider import World, told

ASK, RUN, VALUE, GIVE, _ = VerdictKind

FILES = ("file", "a/file", "a/b/file", "c/file")
DIRECTORIES = ("", "a", "a/b", "c")
LINKS = {"link": "a/file", "a/up": "../c", "c/abs": "{top}/a/b", "a/b/loop": "loop"}
MODES = st.sampled_from([0o755, 0o711, 0o700, 0o750, 0o744, 0o077, 0o4755, 0o644])
OWNERS = st.sampled_from([(0, 0), (4242, 0), (0, 4242), (4242, 4242)])
WORDS = st.sampled_from(["file", "link", "a", "b", "c", "up", "abs", "loop", "none", ".", "..", "a/b"])
PATHS = st.lists(WORDS, min_size=1, max_size=5).map("/".join)


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(os.path.realpath(name))


class Owned:
    """A tree that remembers, mounted, and a task that is somebody."""

    def __init__(self, base: Path, target: Path, who: Identity) -> None:
        for name in DIRECTORIES:
            (base / name).mkdir(exist_ok=True)
        for name in FILES:
            (base / name).write_text(name)
        for name, to in LINKS.items():
            (base / name).symlink_to(to.format(top=target))
        self.owners = RememberedOwners(os.fsencode(base))
        self.mount = Mount(host=os.fsencode(base), owners=self.owners)
        self.world = World()
        self.world.mount(self.mount, str(target))
        self.world.task.identity = who
        self.base = base

    def note(self, name: str, mode: int, owner: tuple[int, int]) -> None:
        path = os.fsencode(self.base / name)
        self.owners.change(path, os.lstat(path), uid=owner[0], gid=owner[1], mode=mode)

    def status(self, path: bytes, *, follow: bool) -> object:
        """What Python says of a path."""
        found = self.world.resolve(Place(self.world.tree.root, b"/"), path, follow=follow)
        if isinstance(found, ResolutionError):
            return found.errno
        try:
            status = os.lstat(found.host_path)
        except OSError as error:
            return error.errno
        if found.mount is not self.mount:
            return status.st_ino, status.st_mode, status.st_size
        seen = self.owners.look(found.host_path, status)
        return status.st_ino, seen.mode, status.st_size

    def may_read(self, path: bytes) -> bool:
        found = self.world.resolve(Place(self.world.tree.root, b"/"), path, follow=True)
        if isinstance(found, ResolutionError) or found.missing:
            return False
        if found.mount is not self.mount:
            return True  # the host sees to it
        seen = self.owners.look(found.host_path, os.lstat(found.host_path))
        return self.world.tasks.credentials(self.world.task).permits(seen.attributes, os.R_OK)


@pytest.mark.timeout(300)
@settings(max_examples=150, deadline=None)
@given(
    modes=st.lists(MODES, min_size=8, max_size=8), owners=st.lists(OWNERS, min_size=8, max_size=8),
    paths=st.lists(PATHS, min_size=1, max_size=8), follow=st.booleans(), crawl=st.booleans(),
    root=st.booleans(),
)  # fmt: skip
def test_what_is_answered_is_what_python_says(
    scratch: Path,
    modes: list[int],
    owners: list[tuple[int, int]],
    paths: list[str],
    follow: bool,
    crawl: bool,
    root: bool,
) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        base, target = Path(name) / "kept", Path(name) / "mnt"
        target.mkdir()
        who = Identity.of(0, 0) if root else Identity.of(4242, 4242)
        owned = Owned(base, target, who)
        for one, mode, owner in zip((*DIRECTORIES, *FILES), modes, owners, strict=True):
            owned.note(one, mode, owner)
        world = owned.world.load(crawl=crawl, checked=not root)
        for text in paths:
            path = os.fsencode(target / text) if not text.startswith(".") else os.fsencode(f"{target}/{text}")
            verdict, found = told(world, AT_FDCWD, path, 0 if follow else AT_SYMLINK_NOFOLLOW)
            event(f"{verdict.kind.name} {'root' if root else 'other'}")
            assert verdict.kind in (ASK, VALUE)
            if verdict.kind == VALUE:
                assert found == owned.status(path, follow=follow)
            opened = world.ask("openat", AT_FDCWD, path, os.O_RDONLY, may_give=True)
            if opened.kind == GIVE:
                os.close(opened.fd)
                assert owned.may_read(path)


def test_root_is_answered_and_others_where_everybody_may(scratch: Path) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        target = Path(name) / "mnt"
        target.mkdir()
        owned = Owned(Path(name) / "kept", target, Identity.of(4242, 4242))
        owned.note("a", 0o711, (0, 0))
        owned.note("a/b", 0o700, (0, 0))
        world = owned.world.load(checked=True)
        decided = {"a/file": VALUE, "a/b": VALUE, "a/b/file": ASK, "none": VALUE, "a/.": ASK, "a/../a": ASK}
        for path, kind in decided.items():
            assert told(world, AT_FDCWD, os.fsencode(f"{target}/{path}"), 0)[0].kind == kind, path
        for path, flags, kind in (("a/file", os.O_RDONLY, GIVE), ("a/file", os.O_RDWR, ASK), ("a", 0, ASK)):
            found = world.ask("openat", AT_FDCWD, os.fsencode(target / path), flags, may_give=True)
            assert found.kind == kind, path
            if found.kind == GIVE:
                os.close(found.fd)
        world.decider.process(os.getpid(), checked=Checked.NO)
        assert told(world, AT_FDCWD, os.fsencode(target / "a/b/file"), 0)[0].kind == VALUE


def test_a_device_and_what_has_capabilities_are_pythons(scratch: Path) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        target, base = Path(name) / "mnt", Path(name) / "kept"
        target.mkdir()
        owned = Owned(base, target, Identity.of(0, 0))
        (base / "null").touch()
        path = os.fsencode(base / "null")
        owned.owners.change(path, os.lstat(path), mode=stat.S_IFCHR | 0o666, device=os.makedev(1, 3))
        path = os.fsencode(base / "file")
        owned.owners.set_attribute(path, os.lstat(path), b"security.capability", bytes(20))
        world = owned.world.load()
        assert told(world, AT_FDCWD, os.fsencode(target / "null"), 0)[1][1] == stat.S_IFCHR | 0o666
        for one, flags, kind in (("null", 0, ASK), ("file", 0, GIVE), ("file", os.O_WRONLY, ASK)):
            found = world.ask("openat", AT_FDCWD, os.fsencode(target / one), flags, may_give=True)
            assert found.kind == kind, one
            if found.kind == GIVE:
                os.close(found.fd)
