"""What can be mounted."""

from __future__ import annotations

import os
import stat
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from diorama.errors import UsageError
from diorama.interfaces.tree import Tree
from diorama.modules.sources import make_mount


def test_a_path_is_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("text")
    monkeypatch.chdir(tmp_path)
    assert make_mount(".").host == os.fsencode(tmp_path.resolve())
    assert make_mount("file").kind == stat.S_IFREG
    assert make_mount("file", "ro").read_only
    assert not make_mount("file", "rw").read_only


def test_archives_are_found_relative_to_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("file", "text")
    monkeypatch.chdir(tmp_path)
    mount = make_mount("zip:a.zip")
    assert mount.filesystem is not None
    assert mount.filesystem.title == "zip"
    assert mount.read_only


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("/no/such", (), "cannot mount /no/such: no such file or directory"),
        ("nope:x", (), "unknown mount scheme 'nope'; known are binfmt, "),
        ("zip:/no/such", (), "cannot mount zip:/no/such: no such file or directory"),
        ("fsspec+memory:/no/such", (), "cannot mount memory:/no/such: no such file or directory"),
        ("fsspec+memory:", ("lazy=x",), "lazy=x is neither a number of bytes nor off"),
        ("s3:bucket", (), "cannot mount s3:bucket: Install s3fs"),
        ("/", ("rx",), "unknown mount option 'rx'; known are exec, noexec, remember, ro, rw"),
        ("/", ("ro", "rw"), "not both"),
    ],
)
def test_mistakes_are_told_in_one_line(source: str, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_mount(source, *options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_system_object_is_mounted() -> None:
    tree = Tree("mine")
    assert make_mount(tree).filesystem is tree


def test_an_installed_package_can_bring_a_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Tree("mine")
    entry = EntryPoint("mine", f"{__name__}:opener", "diorama.filesystems")

    def found(*, group: str, name: str = "") -> list[Any]:
        return [entry] if name in ("", entry.name) else []

    monkeypatch.setattr("importlib.metadata.entry_points", found)
    monkeypatch.setattr(EntryPoint, "load", lambda self: lambda rest: made)
    assert make_mount("mine:x").filesystem is made
    with pytest.raises(UsageError, match=r"memory, mincow, mine, nbd, .*none, .*py, .*tar, .*tmp, zero, zip"):
        make_mount("nope:x")
