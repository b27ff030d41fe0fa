"""Resolution against the kernel's own answers, in directories full of links."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diorama.view.host import RealHost
from diorama.view.inodes import Inodes
from diorama.view.mounts import Mount, MountTree, Place
from diorama.view.resolve import Resolver
from diorama.view.task import Task, Tasks

NAMES = ["a", "b", "c", "link", "abs", "up", "file", "none", ".", "..", ""]
names = st.sampled_from(NAMES)
paths = st.lists(names, min_size=1, max_size=7).map("/".join)
nodes = st.one_of(st.none(), st.just("file"), paths.map(lambda text: ("link", text or ".")))
places = st.lists(st.sampled_from(NAMES[:7]), min_size=1, max_size=3).map("/".join)
trees = st.dictionaries(places, nodes, max_size=12)


def build(top: Path, tree: dict[str, object], *, root: str) -> None:
    for name, node in tree.items():
        path = top / name
        if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(top)):
            continue  # a link that was made before leads out of the tree: nothing is made there
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if node is None:
                path.mkdir()
            elif isinstance(node, tuple):
                target = node[1]
                path.symlink_to(root + target if name.startswith("a") and target.startswith("/") else target)
            else:
                path.write_text("content")
        except OSError:
            continue


def resolver() -> tuple[Resolver, Task, MountTree]:
    tree, inodes, host = MountTree(), Inodes(), RealHost()
    tasks = Tasks(tree, host, inodes)
    return Resolver(tree, host, inodes, tasks), tasks.first(os.getpid()), tree


def kernel(path: bytes, *, follow: bool) -> object:
    try:
        status = os.stat(path, follow_symlinks=follow)
    except OSError as error:
        return error.errno
    return status.st_dev, status.st_ino


def ours(one: Resolver, task: Task, start: Place, path: bytes, *, follow: bool) -> object:
    try:
        place = one.resolve(task, task.root if path.startswith(b"/") else start, path, follow=follow)
        status = os.lstat(place.host_path)
    except OSError as error:
        return error.errno
    return status.st_dev, status.st_ino


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(os.path.realpath(name))


@settings(max_examples=300, deadline=None)
@given(tree=trees, path=paths, follow=st.booleans(), absolute=st.booleans())
def test_resolution_on_the_host_is_the_kernels(
    scratch: Path, tree: dict[str, object], path: str, follow: bool, absolute: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        top = Path(name)
        build(top, tree, root=name)
        one, task, _ = resolver()
        text = os.fsencode(f"{name}/{path}") if absolute else path.lstrip("/").encode()
        asked = text if absolute else os.fsencode(f"{name}/") + text if text else b""
        start = Place(task.root.mount, os.fsencode(name))
        assert ours(one, task, start, text, follow=follow) == kernel(asked, follow=follow)


@settings(max_examples=200, deadline=None)
@given(tree=trees, path=paths, follow=st.booleans())
def test_a_transparent_bind_mount_changes_nothing(
    scratch: Path, tree: dict[str, object], path: str, follow: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        top = Path(name)
        build(top, tree, root=name)
        one, task, mounts = resolver()
        if (top / "a").is_dir() and not (top / "a").is_symlink():
            point = one.resolve(task, task.root, os.fsencode(f"{name}/a"))
            mounts.attach(Mount(host=point.host_path), point)
        text = os.fsencode(f"{name}/{path}")
        assert ours(one, task, task.root, text, follow=follow) == kernel(text, follow=follow)
