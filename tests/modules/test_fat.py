"""FAT in an image: read and written, with mtools and fsck.vfat as witnesses."""

from __future__ import annotations

import errno
import os
import random
import stat
from pathlib import Path

import pytest

from diorama.errors import UsageError
from diorama.interfaces.filesystem import Attributes, Changes, FileSystem
from diorama.modules.sources import make_mount
from modules.imaging import needs, run, tree_of, try_damaged

FILE = Attributes(stat.S_IFREG | 0o644)
DIRECTORY = Attributes(stat.S_IFDIR | 0o755)
SECOND = 10**9


@pytest.fixture(params=["12", "16", "32"])
def image(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    needs("mkfs.vfat", "fsck.vfat", "mcopy")
    pytest.importorskip("dissect.target")
    pytest.importorskip("dissect.fat")
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate({"12": 1440 << 10, "16": 16 << 20, "32": 36 << 20}[request.param])
    run("mkfs.vfat", "-F", request.param, "-s", "1", path)
    return path


def mounted(image: Path, *options: str) -> FileSystem:
    mount = make_mount(f"image:{image}", *options)
    assert mount.filesystem is not None
    return mount.filesystem


def save(filesystem: FileSystem, inode: int, data: bytes) -> None:
    fd = os.memfd_create("content")
    try:
        os.write(fd, data)
        filesystem.save_content(inode, fd)
    finally:
        os.close(fd)


def content(image: Path, path: str) -> bytes:
    """What mtools find in a file."""
    to = image.with_name("witness")
    run("mcopy", "-n", "-o", "-i", image, f"::/{path}", to)
    return to.read_bytes()


def names(image: Path, path: str = "") -> list[str]:
    told = run("mdir", "-b", "-i", image, f"::/{path}").splitlines()
    return sorted(line.removeprefix("::/").removesuffix("/") for line in told)


def test_what_others_have_written_is_read(image: Path, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(200_000)
    (tmp_path / "large").write_bytes(data)
    (tmp_path / "small").write_bytes(b"hello\n")
    os.utime(tmp_path / "small", (1_600_000_000, 1_600_000_000))
    run("mmd", "-i", image, "::/sub", "::/sub/A longer name", "::/UPPER")
    run("mcopy", "-i", image, tmp_path / "large", "::/sub/A longer name/Größe.bin")
    run("mcopy", "-m", "-i", image, tmp_path / "small", "::/small.txt")
    filesystem = mounted(image)
    found = tree_of(filesystem)
    assert set(found) == {"sub", "sub/A longer name", "sub/A longer name/Größe.bin", "UPPER", "small.txt"}
    assert found["sub/A longer name/Größe.bin"][1] == data
    small = filesystem.lookup(1, b"small.txt")
    status = filesystem.attributes(small)
    assert (status.size, status.modified // SECOND, status.uid) == (6, 1_600_000_000, os.getuid())
    with pytest.raises(FileNotFoundError):
        filesystem.lookup(1, b"SMALL.TXT")
    filesystem.close()


def test_scattered_clusters_are_read_in_their_order(image: Path, tmp_path: Path) -> None:
    """Every second file is removed, from the end, and what is free is filled."""
    (tmp_path / "cluster").write_bytes(b"x" * 512)
    for number in range(40):
        run("mcopy", "-i", image, tmp_path / "cluster", f"::/f{number}")
    for number in range(38, -1, -2):
        run("mdel", "-i", image, f"::/f{number}")
    data = random.Random(2).randbytes(60_000)
    (tmp_path / "large").write_bytes(data)
    run("mcopy", "-i", image, tmp_path / "large", "::/large")
    filesystem = mounted(image, "ro")
    assert tree_of(filesystem)["large"][1] == data
    filesystem.close()


def test_a_chain_that_goes_backwards_is_followed() -> None:
    from diorama.modules.filesystems.images.fat import _runs

    class Table:
        entry_count = 10

        def chain(self, cluster: int) -> list[int]:
            return [6, 5, 4, 7, 8, 9]

    assert list(_runs(Table(), 6)) == [(4, 1), (3, 1), (2, 1), (5, 3)]
    Table.entry_count = 5
    with pytest.raises(OSError, match="circle"):
        list(_runs(Table(), 6))


def test_it_is_written(image: Path) -> None:
    filesystem = mounted(image)
    assert filesystem.writable
    free = filesystem.statistics().free
    assert free
    data = random.Random(3).randbytes(100_000)
    one = filesystem.make(1, b"one", FILE)
    save(filesystem, one, data)
    assert (content(image, "one"), filesystem.statistics().free) != (data, free)
    save(filesystem, one, b"short")
    assert content(image, "one") == b"short"
    sub = filesystem.make(1, b"A long [name]", DIRECTORY)
    filesystem.rename(1, b"one", sub, b"b.txt")
    filesystem.rename(1, b"A long [name]", 1, b"moved")
    assert names(image) == ["moved"]
    assert names(image, "moved") == ["moved/b.txt"]
    filesystem.rename(sub, b"b.txt", sub, b"B.txt")
    filesystem.rename(sub, b"B.txt", 1, b"\xc3\xbcber")
    assert content(image, "über") == b"short"
    filesystem.set_attributes(one, Changes(modified=1_500_000_000 * SECOND, mode=0o555))
    found = filesystem.attributes(one)
    assert (stat.S_IMODE(found.mode), found.modified, found.size) == (0o555, 1_500_000_000 * SECOND, 5)
    save(filesystem, one, b"all the same")
    assert content(image, "über") == b"all the same"
    filesystem.remove(1, "über".encode())
    filesystem.remove(1, b"moved")
    assert (names(image), filesystem.statistics().free) == ([], free)
    filesystem.close()
    run("fsck.vfat", "-n", image)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (b"a:b", errno.EINVAL),
        (b"dot.", errno.EINVAL),
        (b"ONE", errno.EEXIST),
        (b"on[e]", errno.EINVAL),
        (b"new\n", errno.EINVAL),
    ],
)
def test_names_that_fat_can_t_have(image: Path, name: bytes, code: int) -> None:
    filesystem = mounted(image)
    filesystem.make(1, b"one", FILE)
    with pytest.raises(OSError, match=r".") as caught:
        filesystem.make(1, name, FILE)
    assert caught.value.errno == code
    assert names(image) == ["one"]
    filesystem.close()


def test_what_does_not_fit_is_enospc(image: Path) -> None:
    filesystem = mounted(image)
    one = filesystem.make(1, b"one", FILE)
    with pytest.raises(OSError, match=r".") as caught:
        save(filesystem, one, bytes(40 << 20))
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(PermissionError):
        filesystem.set_attributes(one, Changes(uid=os.getuid() + 1))
    filesystem.close()


def test_without_the_tools_it_is_read_only(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    mount = make_mount(f"image:{image}")
    assert mount.read_only
    assert mount.filesystem is not None
    mount.filesystem.close()
    with pytest.raises(UsageError, match="read-write: to write it needs mcopy"):
        make_mount(f"image:{image}", "rw")


def test_a_damaged_one_is_an_error_and_no_more(image: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(5000))
    run("mmd", "-i", image, "::/sub", "::/sub/deep")
    run("mcopy", "-i", image, tmp_path / "file", "::/sub/deep/")
    if image.stat().st_size < 17 << 20:
        try_damaged(image)


def test_of_two_partitions_one_is_written(image: Path, tmp_path: Path) -> None:
    needs("sfdisk")
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate((2 << 20) + 2 * (36 << 20))
    run("sfdisk", "-q", disk, stdin="label: dos\nsize=36MiB\nsize=36MiB\n")
    with disk.open("r+b") as file:
        for number in range(2):
            file.seek((1 << 20) + number * (36 << 20))
            file.write(image.read_bytes())
    filesystem = mounted(disk, "partition=2")
    save(filesystem, filesystem.make(1, b"second", FILE), b"hello")
    filesystem.close()
    assert content(Path(f"{disk}@@{37 << 20}"), "second") == b"hello"
    assert "second" not in run("mdir", "-b", "-f", "-i", f"{disk}@@{1 << 20}", "::/").split()
