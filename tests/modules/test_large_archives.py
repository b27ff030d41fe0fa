"""Archives of a hundred thousand files take little memory: measured in processes of their own."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

COUNT = 100_000
MOST = 60 << 10
"""In KiB, of the 100 MB that opening all of them in a view may take besides."""

LISTING = """
import resource, sys
from diorama.modules.sources import make_mount
import diorama.modules.filesystems.{kind}

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = peak()
filesystem = make_mount("{kind}:" + sys.argv[1]).filesystem
count = 0
for directory in filesystem.entries(filesystem.root):
    for entry in filesystem.entries(directory.inode):
        assert filesystem.attributes(filesystem.lookup(directory.inode, entry.name)).size == 4
        count += 1
print(count, peak() - before)
"""


def measure(kind: str, path: Path) -> None:
    command = [sys.executable, "-c", LISTING.format(kind=kind), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    count, taken = map(int, done.stdout.split())
    assert count == COUNT
    assert taken < MOST


def names() -> list[str]:
    return [f"directory{number // 500:04}/file-with-a-name-{number:07}.txt" for number in range(COUNT)]


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names():
            archive.writestr(name, b"text")
    measure("zip", tmp_path / "a.zip")


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_tar(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in names():
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"text"))
    measure("tar", tmp_path / "a.tar")
