"""Commit: what cannot be done on the host stays in the layer, and is told."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from diorama.modules.filesystems.layers import commit
from diorama.modules.filesystems.layers.changes import find_changes
from diorama.modules.filesystems.layers.layer import Layer, open_layer


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    """A directory to be changed."""
    top = tmp_path / "lower"
    (top / "docs/deep").mkdir(parents=True)
    (top / "docs/deep/one").write_text("one\n")
    (top / "kept").write_text("kept\n")
    os.link(top / "kept", top / "other")
    return top


@pytest.fixture
def layer(tmp_path: Path, lower: Path) -> Iterator[Layer]:
    """A layer on it."""
    opened = open_layer(str(tmp_path / "layer"), str(lower))
    yield opened
    opened.close()


def left(layer: Layer) -> list[tuple[str, bytes]]:
    """What a layer changes."""
    return [(change.how, change.path) for change in find_changes(layer)]


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EACCES, errno.ENOTEMPTY])
def test_a_directory_that_cannot_be_removed_is_told_and_stays_in_the_layer(
    layer: Layer, lower: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    layer.upper.hide(b"/docs")

    def refuse(path: bytes) -> None:
        raise OSError(code, os.strerror(code), path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", refuse)
        count, failed = commit.apply(layer)
    assert count == 1  # the file in it
    assert {(one.path, one.why) for one in failed} == {
        (b"/docs", os.strerror(code).lower()),
        (b"/docs/deep", os.strerror(code).lower()),
    }
    assert left(layer) == [("removed", b"/docs"), ("removed", b"/docs/deep")]
    assert commit.apply(layer) == (2, [])
    assert left(layer) == []
    assert not (lower / "docs").exists()


def test_a_directory_that_is_gone_already_is_removed(
    layer: Layer, lower: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer.upper.hide(b"/docs")
    remove = os.rmdir

    def remove_twice(path: bytes) -> None:
        remove(path)
        remove(path)

    monkeypatch.setattr(os, "rmdir", remove_twice)
    assert commit.apply(layer) == (3, [])
    assert not (lower / "docs").exists()


def test_a_changed_file_with_two_names_is_separated_as_it_was_in_the_view(layer: Layer, lower: Path) -> None:
    Path(os.fsdecode(layer.upper.at(b"/kept"))).write_text("changed\n")
    assert commit.apply(layer) == (1, [])
    assert (lower / "kept").read_text() == "changed\n"
    assert (lower / "other").read_text() == "kept\n"
