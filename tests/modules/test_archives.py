"""Archives look like what they would be unpacked to."""

from __future__ import annotations

import errno
import gzip
import io
import os
import random
import stat
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import pytest

from diorama.errors import UsageError
from diorama.interfaces.filesystem import FileSystem
from diorama.modules.filesystems.tar import open_tar
from diorama.modules.filesystems.zip import open_zip
from diorama.view.filesystem import Attributes


def content(filesystem: FileSystem, inode: int) -> bytes:
    with tempfile.TemporaryFile() as file:
        filesystem.copy_content(inode, file.fileno())
        file.seek(0)
        return file.read()


def find(filesystem: FileSystem, path: str) -> int:
    inode = filesystem.root
    for name in path.split("/"):
        inode = filesystem.lookup(inode, name.encode())
    return inode


def status(filesystem: FileSystem, path: str) -> Attributes:
    return filesystem.attributes(find(filesystem, path))


def names(filesystem: FileSystem, path: str = "") -> list[bytes]:
    return sorted(
        entry.name for entry in filesystem.entries(find(filesystem, path) if path else filesystem.root)
    )


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    (top / "sub/deep").mkdir(parents=True)
    (top / "readme").write_text("hello\n")
    (top / "sub/program").write_bytes(b"\x7fELF" + bytes(100_000))
    (top / "sub/program").chmod(0o755)
    (top / "private").write_text("secret")
    (top / "private").chmod(0o600)
    (top / "link").symlink_to("sub/program")
    os.link(top / "readme", top / "sub/second")
    os.utime(top / "readme", (1_000_000_000, 1_000_000_000))
    return top


def compare(filesystem: FileSystem, top: Path, *, hard_links: bool) -> None:
    for path in sorted(top.rglob("*")):
        mine = status(filesystem, str(path.relative_to(top)))
        real = path.lstat()
        assert mine.mode == real.st_mode, path
        assert abs(mine.modified / 1e9 - real.st_mtime) < 2
        if path.is_symlink():
            assert filesystem.readlink(find(filesystem, str(path.relative_to(top)))) == os.fsencode(
                path.readlink()
            )
        elif path.is_file():
            assert mine.size == real.st_size
            assert content(filesystem, find(filesystem, str(path.relative_to(top)))) == path.read_bytes()
            assert mine.links == (real.st_nlink if hard_links else 1)
        else:
            assert mine.links == real.st_nlink
            assert names(filesystem, str(path.relative_to(top))) == sorted(map(os.fsencode, os.listdir(path)))


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_a_tar_archive(unpacked: Path, tmp_path: Path, compression: str) -> None:
    file = tmp_path / "archive"
    with tarfile.open(file, f"w:{compression}") as tar:  # type: ignore[call-overload]
        tar.add(unpacked, ".")
    tree = open_tar(str(file))
    compare(tree, unpacked, hard_links=True)
    assert find(tree, "readme") == find(tree, "sub/second")
    tree.close()


def test_a_zip_archive(unpacked: Path, tmp_path: Path) -> None:
    file = tmp_path / "archive.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(unpacked.rglob("*")):
            name = str(path.relative_to(unpacked))
            if path.is_symlink():
                info = zipfile.ZipInfo(name, time.localtime(path.lstat().st_mtime)[:6])
                info.external_attr = path.lstat().st_mode << 16
                archive.writestr(info, os.fsencode(path.readlink()))
            else:
                archive.write(path, name)
    tree = open_zip(str(file))
    compare(tree, unpacked, hard_links=False)
    tree.close()


def test_directories_that_an_archive_omits_are_there(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/b/c", "text")
    tree = open_zip(str(file))
    assert status(tree, "a/b").mode == stat.S_IFDIR | 0o755
    assert status(tree, "a").links == 3
    assert content(tree, find(tree, "a/b/c")) == b"text"
    assert tree.statistics().files == 4


def test_inode_numbers_are_unique(unpacked: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.tar"
    with tarfile.open(file, "w") as tar:
        tar.add(unpacked, ".")
    tree = open_tar(str(file))
    paths = [str(path.relative_to(unpacked)) for path in unpacked.rglob("*")]
    assert len({find(tree, path) for path in paths}) == len(paths) - 1


def test_a_zip_made_elsewhere_has_usual_permissions(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    info = zipfile.ZipInfo("file")
    info.create_system, info.external_attr = 0, 0x20
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(info, "text")
    assert status(open_zip(str(file)), "file").mode == stat.S_IFREG | 0o644


def test_special_files_and_sparse_ones_of_a_tar(tmp_path: Path) -> None:
    file = tmp_path / "a.tar"
    with tarfile.open(file, "w") as tar:
        fifo = tarfile.TarInfo("fifo")
        fifo.type = tarfile.FIFOTYPE
        tar.addfile(fifo)
        device = tarfile.TarInfo("device")
        device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
        tar.addfile(device)
    tree = open_tar(str(file))
    assert status(tree, "fifo").kind == stat.S_IFIFO
    assert status(tree, "device").device == os.makedev(1, 3)


def test_a_sparse_member(tmp_path: Path) -> None:
    hole = tmp_path / "hole"
    with hole.open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
        file.truncate(2 << 20)
    archive = tmp_path / "a.tar"
    if os.system(f"cd {tmp_path} && tar -cSf a.tar hole 2>/dev/null"):
        pytest.skip("needs GNU tar")
    tree = open_tar(str(archive))
    whole = hole.read_bytes()
    inode = find(tree, "hole")
    assert content(tree, inode) == whole
    for offset in (0, (1 << 20) - 2, (1 << 20) + 1, (2 << 20) - 2):
        assert tree.read(inode, offset, 10) == whole[offset : offset + 10]


def test_a_large_member_of_a_tar_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diorama.modules.filesystems.tar._LAZY", 1 << 20)
    big = b"".join(number.to_bytes(8, "big") for number in range(3 << 17))
    (tmp_path / "big").write_bytes(big)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "big", "big")
    tree = open_tar(str(tmp_path / "a.tar"))
    assert tree.lazy_above is not None
    inode = find(tree, "big")
    for offset in (0, 2 << 20, len(big) - 10):
        assert tree.read(inode, offset, 100) == big[offset : offset + 100]
    os.truncate(tmp_path / "a.tar", 2 << 20)
    with pytest.raises(OSError, match="Input/output error"):
        tree.read(inode, (2 << 20) - 100, 100)


# -- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("opener", [open_zip, open_tar])
def test_a_missing_archive_is_one_line(opener: object) -> None:
    with pytest.raises(UsageError, match="no such file or directory"):
        opener("/no/such/archive")  # type: ignore[operator]


@pytest.mark.parametrize("opener", [open_zip, open_tar])
def test_what_is_no_archive_is_one_line(opener: object, tmp_path: Path) -> None:
    file = tmp_path / "noise"
    file.write_bytes(random.Random(1).randbytes(5000))
    with pytest.raises(UsageError) as caught:
        opener(str(file))  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_a_truncated_compressed_archive_is_one_line(tmp_path: Path) -> None:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = 100_000
        tar.addfile(info, io.BytesIO(random.Random(1).randbytes(100_000)))
    file = tmp_path / "a.tar.gz"
    file.write_bytes(gzip.compress(whole.getvalue())[:50_000])
    with pytest.raises(UsageError, match="cannot mount tar:"):
        open_tar(str(file))


def test_damaged_content_is_an_input_output_error(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("file", "text that will be damaged")
    file.write_bytes(file.read_bytes().replace(b"will be", b"has been"[:7]))
    tree = open_zip(str(file))
    with pytest.raises(OSError, match="Input/output error") as caught:
        content(tree, find(tree, "file"))
    assert caught.value.errno == errno.EIO
