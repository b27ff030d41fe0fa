"""File systems of fsspec."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from diorama.interfaces.filesystem import Entry
from diorama.modules.filesystems.fsspec import open_fsspec
from modules.test_archives import content, find, names, status


@pytest.fixture
def memory() -> Iterator[Any]:
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/top/sub/file", b"text")
    filesystem.pipe("/top/readme", b"hello")
    yield filesystem
    filesystem.rm("/top", recursive=True)


def test_memory(memory: Any) -> None:
    mounted = open_fsspec("memory", "top")
    assert names(mounted) == [b"readme", b"sub"]
    assert status(mounted, "sub").kind == stat.S_IFDIR
    assert status(mounted, "sub/file").size == 4
    assert status(mounted, "sub/file").modified > 10**18
    assert content(mounted, find(mounted, "sub/file")) == b"text"
    with pytest.raises(FileNotFoundError):
        find(mounted, "none")


def test_the_root_of_memory(memory: Any) -> None:
    assert b"top" in names(open_fsspec("memory", ""))


def test_inode_numbers_are_stable(memory: Any) -> None:
    mounted = open_fsspec("memory", "top")
    before = find(mounted, "sub/file")
    assert Entry(b"file", before, stat.S_IFREG) in mounted.entries(find(mounted, "sub"))
    memory.pipe("/top/sub/another", b"")
    assert find(mounted, "sub/file") == before


def test_local_files_keep_links_and_permissions(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("#!/bin/sh")
    (tmp_path / "program").chmod(0o750)
    (tmp_path / "link").symlink_to("program")
    mounted = open_fsspec("file", str(tmp_path))
    assert status(mounted, "program").mode == stat.S_IFREG | 0o750
    assert status(mounted, "link").kind == stat.S_IFLNK
    assert mounted.readlink(find(mounted, "link")) in (b"program", os.fsencode(tmp_path / "program"))
