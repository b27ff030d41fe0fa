"""Layers: a merged tree behaves as a plain directory, whatever is done to it."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diorama.modules.filesystems.layers.tree import LayeredTree
from diorama.modules.filesystems.layers.upper import Upper
from modules.layering import open_upper, seen_in_tree, seen_on_disk

Operations = list[tuple[str, bytes, bytes]]

NAMES = (b"a", b"b", b"c")
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(lambda names: b"/" + b"/".join(names))
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["mkdir", "write", "remove", "symlink", "chmod", "freeze"]), PATHS, PATHS),
        st.tuples(st.sampled_from(["rename", "rename", "exchange", "link"]), PATHS, PATHS),
    ),
    min_size=4,
    max_size=24,
)


class Both:
    """The same operations on a plain directory and on layers."""

    def __init__(self, top: Path, *, devices: bool) -> None:
        self.top, self.devices = top, devices
        self.plain = os.fsencode(top / "plain")
        shutil.copytree(top / "lower", top / "plain", symlinks=True)
        self.lowers = [os.fsencode(top / "lower")]
        self.uppers = 0
        self.upper = self._next()
        self.tree = self._tree()

    def _next(self) -> Upper:
        self.uppers += 1
        return open_upper(self.top / f"upper{self.uppers}", devices=self.devices)

    def _tree(self) -> LayeredTree:
        return LayeredTree(self.lowers, self.upper)

    def do(self, what: str, one: bytes, other: bytes) -> None:
        """One operation; on the layers only if the plain directory allows it."""
        if what == "freeze":
            self.freeze()
            return
        for path in (self.plain + one, self.plain + other):
            if os.path.realpath(os.path.dirname(path)) != os.path.dirname(path):
                return  # a tree is asked about resolved paths only
        try:
            getattr(self, f"plain_{what}")(self.plain + one, self.plain + other)
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                with pytest.raises(OSError, match="not empty"):
                    getattr(self, f"layers_{what}")(one, other)
            return
        getattr(self, f"layers_{what}")(one, other)

    def freeze(self) -> None:
        """Lay a new writable layer on top of what there is."""
        self.lowers.insert(0, self.upper.tree)
        self.upper.close()
        self.upper = self._next()
        self.tree = self._tree()
        self.part_names()

    def part_names(self) -> None:
        """Names of one file are names of several when they are in a lower layer, as in overlayfs."""
        for directory, _, files in os.walk(self.plain):
            for name in files:
                path = os.path.join(directory, name)
                if os.lstat(path).st_nlink > 1:
                    shutil.copy2(path, path + b"~", follow_symlinks=False)
                    os.rename(path + b"~", path)

    def check(self) -> None:
        """The layers show what the plain directory has, also to who opens them anew."""
        expected = seen_on_disk(os.fsdecode(self.plain))
        assert seen_in_tree(self.tree) == expected
        assert seen_in_tree(self._tree()) == expected
        assert not os.listdir(self.upper.work)

    plain_mkdir = staticmethod(lambda path, _: os.mkdir(path))
    plain_symlink = staticmethod(lambda path, other: os.symlink(os.path.basename(other), path))
    plain_link = staticmethod(lambda path, other: os.link(path, other, follow_symlinks=False))

    @staticmethod
    def plain_write(path: bytes, other: bytes) -> None:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644), "wb") as file:
            file.write(os.path.basename(other))

    @staticmethod
    def plain_remove(path: bytes, _: bytes) -> None:
        (os.rmdir if stat.S_ISDIR(os.lstat(path).st_mode) else os.unlink)(path)

    @staticmethod
    def plain_chmod(path: bytes, _: bytes) -> None:
        if stat.S_ISLNK(os.lstat(path).st_mode):
            raise OSError(errno.EOPNOTSUPP, "a link")
        os.chmod(path, os.lstat(path).st_mode & 0o7777 ^ 0o050)

    @staticmethod
    def plain_rename(path: bytes, other: bytes) -> None:
        if path == other:
            raise OSError(errno.EINVAL, "nothing")
        os.rename(path, other)

    @staticmethod
    def plain_exchange(path: bytes, other: bytes) -> None:
        from diorama.modules.filesystems.layers.upper import exchange

        if path == other:
            raise OSError(errno.EINVAL, "nothing")
        exchange(path, other)

    def make(self, path: bytes, make: object) -> None:
        assert callable(make)
        real, covered = self.tree.room(path)
        if covered:
            self.tree.make_over(path, make)
        else:
            make(real)

    def layers_mkdir(self, path: bytes, _: bytes) -> None:
        self.make(path, os.mkdir)

    def layers_symlink(self, path: bytes, other: bytes) -> None:
        self.make(path, lambda real: os.symlink(os.path.basename(other), real))

    def layers_link(self, path: bytes, other: bytes) -> None:
        real = self.tree.raise_up(path)
        self.make(other, lambda new: os.link(real, new, follow_symlinks=False))

    def layers_write(self, path: bytes, other: bytes) -> None:
        try:
            self.tree.find(path)
        except FileNotFoundError:
            self.make(path, lambda real: self.plain_write(real, other))
            return
        self.plain_write(self.tree.raise_up(path), other)

    def layers_remove(self, path: bytes, other: bytes) -> None:
        real = self.tree.plain_removal(path)
        if real is None:
            self.tree.remove(path)
        else:
            self.plain_remove(real, other)

    def layers_chmod(self, path: bytes, other: bytes) -> None:
        self.plain_chmod(self.tree.raise_up(path), other)

    def layers_rename(self, path: bytes, other: bytes) -> None:
        if os.path.samestat(self.tree.look(path), self.status(other)):
            return
        self.tree.rename(path, other)

    def layers_exchange(self, path: bytes, other: bytes) -> None:
        if not os.path.samestat(self.tree.look(path), self.status(other)):
            self.tree.rename(path, other, exchanges=True)

    def status(self, path: bytes) -> os.stat_result:
        try:
            return self.tree.look(path)
        except FileNotFoundError:
            return os.lstat("/")


@contextmanager
def laid_out(*, devices: bool) -> Iterator[Both]:
    """A lower directory with something in it, and layers upon it."""
    top = Path(tempfile.mkdtemp())
    try:
        for name in ("a/a", "a/b", "b/c"):
            (top / "lower" / name).mkdir(parents=True)
        for name in ("a/a/a", "a/b/c", "a/c", "b/a", "c"):
            (top / "lower" / name).write_text(name)
        (top / "lower/b/b").symlink_to("../a")
        (top / "lower").chmod(0o755)
        both = Both(top, devices=devices)
        try:
            yield both
        finally:
            both.upper.close()
    finally:
        shutil.rmtree(top, ignore_errors=True)


@pytest.mark.parametrize("devices", [True, False])
@settings(max_examples=25, deadline=None)
@given(operations=OPERATIONS)
@example(operations=[("remove", b"/b/a", b"/a"), ("exchange", b"/a", b"/b")])
def test_layers_behave_as_a_plain_directory(devices: bool, operations: Operations) -> None:
    with laid_out(devices=devices) as both:
        for what, one, other in operations:
            both.do(what, one, other)
        both.check()


def mounts_overlays() -> bool:
    """Whether the kernel's overlayfs can be mounted here with user attributes."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    with tempfile.TemporaryDirectory() as top:
        for name in ("l", "u", "w", "m"):
            os.mkdir(f"{top}/{name}")
        done = subprocess.run(
            ["unshare", "-m", "mount", "-t", "overlay", "-o",
             f"userxattr,lowerdir={top}/l,upperdir={top}/u,workdir={top}/w", "overlay", f"{top}/m"],
            capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode == 0


DUMP = """
import sys
sys.path[:0] = {path!r}
from modules.layering import seen_on_disk
print(sorted(seen_on_disk({top!r}).items()))
"""


@pytest.mark.root
@pytest.mark.skipif(not mounts_overlays(), reason="needs to mount the kernel's overlayfs")
@settings(max_examples=8, deadline=None)
@given(operations=OPERATIONS)
def test_the_kernel_s_overlay_shows_the_same(operations: Operations) -> None:
    import sys

    with laid_out(devices=True) as both:
        for what, one, other in operations:
            both.do(what, one, other)
        layers = b":".join([both.upper.tree, *both.lowers]).decode()
        mountpoint = both.top / "mounted"
        mountpoint.mkdir()
        script = DUMP.format(path=sys.path, top=str(mountpoint))
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c",
             f"mount -t overlay -o userxattr,lowerdir={layers} overlay {mountpoint} && exec \"$0\" -c \"$1\"",
             sys.executable, script],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == str(sorted(seen_on_disk(os.fsdecode(both.plain)).items()))
