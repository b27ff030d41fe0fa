"""A tree on disk, the same tree in an archive, and a view in which the archive is mounted."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from diorama.dispatch.mediator import Mediator
from diorama.modules.sources import make_mount
from dispatch.support import Inside


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    top = tmp_path / "unpacked"
    (top / "sub/deep").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "readme").write_text("hello\n")
    (top / "large").write_bytes(bytes(range(256)) * 1000)
    (top / "sub/program").write_text("#!/bin/sh -e x\necho program\n")
    (top / "sub/program").chmod(0o755)
    (top / "sub/deep/file").write_text("deep")
    (top / "link").symlink_to("sub/deep/file")
    (top / "dangling").symlink_to("nothing")
    (top / "absolute").symlink_to("/etc/passwd")
    (top / "loop").symlink_to("loop")
    os.link(top / "readme", top / "second")
    for path in top.rglob("*"):
        os.utime(path, (1_500_000_000, 1_500_000_000), follow_symlinks=False)
    return top


@pytest.fixture(params=[False, True], ids=["opened by the program", "given"])
def gives(request: pytest.FixtureRequest) -> bool:
    """Whether the engine gives descriptors, or a program must open what stands for a file itself."""
    return bool(request.param)


@pytest.fixture
def inside(unpacked: Path, tmp_path: Path, *, gives: bool) -> Iterator[Inside]:
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(unpacked, ".")
    (tmp_path / "mnt").mkdir()
    mediator = Mediator()
    mediator.mount(make_mount(f"tar:{archive}"), tmp_path / "mnt")
    cwd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    yield Inside(mediator, gives=gives)
    os.fchdir(cwd)
    os.close(cwd)
    mediator.close()
