"""Paths in layers whose host paths are too long for a system call."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from diorama.modules.filesystems.layers.shortcuts import Shortcuts
from diorama.modules.filesystems.layers.tree import LayeredTree
from diorama.modules.filesystems.layers.upper import Upper

PATH_MAX = 4096
DEEP = b"/" + b"/".join([b"d" * 250] * 15)
"""3,765 bytes: with the path of a layer before it, and a name behind, more than PATH_MAX."""


def make_deep(top: Path) -> None:
    at = os.open(top, os.O_RDONLY)
    for name in DEEP[1:].split(b"/"):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("lower", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[LayeredTree]:
    top = tmp_path / ("t" * 200) / ("u" * 200)
    for name in ("lower", "upper", "work"):
        (top / name).mkdir(parents=True)
    make_deep(top / "lower")
    upper = Upper(os.fsencode(top / "upper"), os.fsencode(top / "work"))
    found = LayeredTree([os.fsencode(top / "lower")], upper)
    yield found
    found.close()


def test_short_paths_stay(tmp_path: Path) -> None:
    shortcuts = Shortcuts(os.fsencode(tmp_path))
    assert shortcuts.short(b"/a/b") == shortcuts.full(b"/a/b") == b"/a/b"
    assert not list(tmp_path.iterdir())


def test_a_long_path_has_a_short_one_and_back(tmp_path: Path) -> None:
    shortcuts = Shortcuts(os.fsencode(tmp_path))
    long = b"/" + b"/".join([b"x" * 200] * 60)
    short = shortcuts.short(long)
    assert len(short) < PATH_MAX
    assert shortcuts.full(short) == long
    assert shortcuts.short(long) == short


def test_what_is_deep_is_found_made_copied_and_removed(tree: LayeredTree) -> None:
    name = DEEP + b"/lower"
    assert len(tree.upper.tree + name) > PATH_MAX
    assert tree.find(name).layer == 1
    assert tree.in_upper(tree.raise_up(name))
    assert tree.is_changed(tree.find(name))
    real, covered = tree.room(DEEP + b"/new")
    assert not covered
    Path(os.fsdecode(real)).write_text("new")
    assert sorted(one.name for one in tree.listing(DEEP, always=True) or ()) == [b"lower", b"new"]
    tree.rename(DEEP + b"/new", b"/moved")
    assert Path(os.fsdecode(tree.find(b"/moved").real)).read_text() == "new"
    tree.rename(b"/moved", DEEP + b"/back")
    tree.remove(name)
    assert [one.name for one in tree.listing(DEEP, always=True) or ()] == [b"back"]
