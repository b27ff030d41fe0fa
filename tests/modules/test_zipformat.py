"""ZIP archives as `zipfile` writes them, and as others do."""

from __future__ import annotations

import errno
import io
import random
import shutil
import struct
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from diorama.errors import UsageError
from diorama.modules.filesystems.zip import open_zip
from diorama.modules.zipformat import Source, members_of, unpacked
from modules.test_archives import content, find, names, status

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
NOISE = random.Random(4).randbytes(300_000)
BIG = b"".join(number.to_bytes(8, "big") for number in range(3 << 17))  # 3 MiB


@pytest.fixture(autouse=True)
def _large_is_more_than_a_mebibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diorama.modules.filesystems.zip._LAZY", 1 << 20)


def archive_of(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("method", METHODS)
def test_every_method(tmp_path: Path, method: int) -> None:
    members = {"empty": b"", "text": b"text\n", "noise": NOISE, "zeros": bytes(9 << 20)}
    tree = open_zip(str(archive_of(tmp_path / "a.zip", members, method)))
    for name, data in members.items():
        assert content(tree, find(tree, name)) == data
        assert status(tree, name).size == len(data)


@pytest.mark.parametrize("method", METHODS)
def test_pieces_of_a_member_are_bounded(tmp_path: Path, method: int) -> None:
    path = archive_of(tmp_path / "a.zip", {"zeros": bytes(16 << 20)}, method)
    with path.open("rb") as file:
        source = Source(file)
        member = next(members_of(source))
        assert max(map(len, unpacked(source, member))) <= 1 << 20


@pytest.mark.parametrize("method", METHODS)
def test_a_large_member_is_read_in_pieces(tmp_path: Path, method: int) -> None:
    tree = open_zip(str(archive_of(tmp_path / "a.zip", {"big": BIG, "small": b"text"}, method)))
    assert tree.lazy_above is not None
    assert tree.lazy_above < len(BIG)
    inode = find(tree, "big")
    for offset in (0, 2 << 20, 12345, len(BIG) - 10):
        assert tree.read(inode, offset, 100) == BIG[offset : offset + 100]
    assert tree.read(inode, len(BIG) - 10, 100) == BIG[-10:]
    tree.close()


def test_small_members_are_not_lazy(tmp_path: Path) -> None:
    assert open_zip(str(archive_of(tmp_path / "a.zip", {"noise": NOISE}))).lazy_above is None


def test_what_stands_before_an_archive_is_skipped(tmp_path: Path) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("file", "text")
    path = tmp_path / "a.exe"
    path.write_bytes(b"#!/bin/sh\n" + bytes(1000) + whole.getvalue())
    tree = open_zip(str(path))
    assert content(tree, find(tree, "file")) == b"text"


def test_comments_and_an_empty_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"PK\5\6" + b"x" * 60_000
        info = zipfile.ZipInfo("file")
        info.comment = b"of a member"
        archive.writestr(info, "text")
    with pytest.raises(UsageError):  # the signature in the comment is taken for the record, as unzip(1) does
        open_zip(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"x" * 60_000
        archive.writestr(info, "text")
    tree = open_zip(str(path))
    assert content(tree, find(tree, "file")) == b"text"
    assert names(open_zip(str(archive_of(tmp_path / "empty.zip", {})))) == []


def test_64_bit_records(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("file")
        with archive.open(info, "w", force_zip64=True) as file:
            file.write(b"text")
        archive.filelist[0].header_offset = 0
    # The sizes in the central directory, moved to an extra field of 64 bits.
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    extra = struct.pack("<HHQQ", 1, 16, 4, 4)
    data[at + 20 : at + 28] = b"\xff" * 8
    old = struct.unpack_from("<H", data, at + 30)[0]
    struct.pack_into("<H", data, at + 30, len(extra))
    data[at + 50 : at + 50 + old] = extra
    end = data.index(b"PK\5\6")
    struct.pack_into("<L", data, end + 12, end - at)
    path.write_bytes(data)
    tree = open_zip(str(path))
    assert status(tree, "file").size == 4
    assert content(tree, find(tree, "file")) == b"text"


@pytest.mark.slow
def test_more_members_than_16_bits_count(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", {f"{number % 100}/{number}": b"" for number in range(70_000)})
    tree = open_zip(str(path))
    assert tree.statistics().files == 70_000 + 100 + 1
    assert len(names(tree, "42")) == 700


def test_names_are_the_bytes_of_the_archive(tmp_path: Path) -> None:
    tree = open_zip(str(archive_of(tmp_path / "a.zip", {"häßlich": b"", "plain": b""})))
    assert names(tree) == ["häßlich".encode(), b"plain"]


def test_encrypted_members_are_not_permitted(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", {"file": b"text"}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    for magic, at in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        data[data.index(magic) + at] |= 1
    path.write_bytes(data)
    tree = open_zip(str(path))
    with pytest.raises(PermissionError):
        content(tree, find(tree, "file"))
    with pytest.raises(PermissionError):
        tree.read(find(tree, "file"), 0, 4)


def test_a_method_that_nobody_knows(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", {"file": b"text"}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 10] = 99
    path.write_bytes(data)
    tree = open_zip(str(path))
    with pytest.raises(OSError, match="compression method 99") as caught:
        content(tree, find(tree, "file"))
    assert caught.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize("method", METHODS)
def test_damage_is_never_taken_for_content(tmp_path: Path, method: int) -> None:
    path = archive_of(tmp_path / "a.zip", {"big": BIG}, method)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    tree = open_zip(str(path))
    with pytest.raises(OSError, match="Input/output error"):
        content(tree, find(tree, "big"))
    if method != zipfile.ZIP_STORED:
        for _ in range(2):
            with pytest.raises(OSError, match="Input/output error"):
                tree.read(find(tree, "big"), len(BIG) - 10, 10)


@pytest.mark.parametrize("cut", [10, 60, 3000])
def test_a_truncated_archive_is_one_line(tmp_path: Path, cut: int) -> None:
    path = archive_of(tmp_path / "a.zip", {"noise": NOISE}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(UsageError) as caught:
        open_zip(str(path))
    assert "\n" not in str(caught.value)


def test_times_are_exact_where_the_archive_has_them(tmp_path: Path) -> None:
    if shutil.which("zip") is None:
        path = archive_of(tmp_path / "a.zip", {"file": b""})
        assert abs(status(open_zip(str(path)), "file").modified / 1e9 - time.time()) < 100
        return
    (tmp_path / "file").write_text("text")
    subprocess.run(["zip", "-q", "a.zip", "file"], cwd=tmp_path, check=True)
    found = status(open_zip(str(tmp_path / "a.zip")), "file").modified
    assert found // 10**9 == int((tmp_path / "file").stat().st_mtime)
