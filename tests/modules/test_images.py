"""Disk images: what is found in them, and what is said of those that are no good."""

from __future__ import annotations

import os
import random
import struct
import zlib
from pathlib import Path

import pytest

from diorama.errors import UsageError
from diorama.interfaces.partitions import DamagedTable, overlap, partitions_of
from diorama.modules.filesystems.images.signatures import find_type
from diorama.modules.sources import make_mount
from modules.imaging import iso_image, needs, run, tree_of, try_damaged

MIB = 1 << 20


def reader(data: bytes):  # type: ignore[no-untyped-def]
    return lambda offset, size: data[max(offset, 0) : max(offset, 0) + size]


def mbr(*entries: tuple[int, int, int]) -> bytes:
    """A sector with a table: types, first sectors, counts of sectors."""
    table = b"".join(struct.pack("<B3xB3xII", 0, *entry) for entry in entries)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"


def gpt(*parts: tuple[int, int, str], size: int = 2048) -> bytes:
    """A disk of so many sectors with a GPT: first and last sectors, and names."""
    each = [
        struct.pack("<16s16sQQ8x72s", b"t" * 16, b"u" * 16, a, b, n.encode("utf-16-le")) for a, b, n in parts
    ]
    table = b"".join(each).ljust(128 * 128, b"\0")

    def header(mine: int, other: int, first: int) -> bytes:
        def packed(check: int) -> bytes:
            fields = (
                b"EFI PART",
                1 << 16,
                92,
                check,
                0,
                mine,
                other,
                34,
                size - 34,
                b"d" * 16,
                first,
                128,
                128,
            )
            return struct.pack("<8sIIIIQQQQ16sQII", *fields) + struct.pack("<I", zlib.crc32(table))

        return packed(zlib.crc32(packed(0))).ljust(512, b"\0")

    first = mbr((0xEE, 1, size - 1)) + header(1, size - 1, 2) + table
    last = table + header(size - 1, 1, size - 33)
    return first + bytes(size * 512 - len(first) - len(last)) + last


# -- partitions -------------------------------------------------------------------------------


def test_a_disk_without_a_table_has_no_partitions() -> None:
    assert partitions_of(reader(bytes(MIB)), MIB) == []
    assert partitions_of(reader(b"x" * 100), 100) == []


def test_the_four_entries_of_an_mbr() -> None:
    found = partitions_of(reader(mbr((0x83, 8, 8), (0, 0, 0), (0x0C, 16, 4))), 512)
    assert [(part.number, part.start, part.size) for part in found] == [(1, 4096, 4096), (3, 8192, 2048)]


def test_logical_partitions_are_numbered_from_five() -> None:
    disk = bytearray(64 * 512)
    disk[:512] = mbr((0x83, 1, 7), (0x05, 8, 56))
    disk[8 * 512 : 9 * 512] = mbr((0x83, 1, 7), (0x05, 16, 16))
    disk[24 * 512 : 25 * 512] = mbr((0x82, 2, 6))
    found = partitions_of(reader(bytes(disk)), len(disk))
    assert [(part.number, part.start // 512, part.size // 512) for part in found] == [
        (1, 1, 7), (5, 9, 7), (6, 26, 6),
    ]  # fmt: skip


def test_logical_partitions_in_a_circle_end() -> None:
    disk = bytearray(64 * 512)
    disk[:512] = mbr((0x05, 8, 56))
    disk[8 * 512 : 9 * 512] = mbr((0x83, 1, 7), (0x05, 0, 16))
    with pytest.raises(DamagedTable, match="circle"):
        partitions_of(reader(bytes(disk)), len(disk))
    disk[8 * 512 : 9 * 512] = bytes(512)
    with pytest.raises(DamagedTable, match="broken"):
        partitions_of(reader(bytes(disk)), len(disk))


def test_a_gpt_and_its_second_copy() -> None:
    disk = bytearray(gpt((40, 79, "boot"), (80, 99, "größe")))
    expected = [(1, 40 * 512, 40 * 512, "boot"), (2, 80 * 512, 20 * 512, "größe")]

    def found() -> list[tuple[int, int, int, str]]:
        return [(p.number, p.start, p.size, p.name) for p in partitions_of(reader(bytes(disk)), len(disk))]

    assert found() == expected
    disk[512 + 60] ^= 1  # the first header's check sum is wrong now
    assert found() == expected
    disk[:512] = bytes(512)
    assert found() == expected
    disk[-512] ^= 1
    assert found() == []
    disk[:512] = mbr((0xEE, 1, 2047))
    with pytest.raises(DamagedTable, match="GPT"):
        found()


def test_what_overlaps_is_told() -> None:
    apart = partitions_of(reader(mbr((0x83, 8, 8), (0x83, 16, 8))), 512)
    assert overlap(apart) is None
    meeting = partitions_of(reader(mbr((0x83, 8, 9), (0x83, 16, 8))), 512)
    found = overlap(meeting)
    assert found is not None
    assert [part.number for part in found] == [1, 2]


def test_the_same_partitions_as_sfdisk(tmp_path: Path) -> None:
    needs("sfdisk")
    disk = tmp_path / "disk"
    for label in ("gpt", "dos"):
        with disk.open("wb") as file:
            file.truncate(16 * MIB)
        more = "type=5\nsize=1MiB\nsize=2MiB\n" if label == "dos" else "size=1MiB,name=x\n"
        run("sfdisk", "-q", disk, stdin=f"label: {label}\nsize=2MiB\nsize=3MiB\n{more}")
        listed = run("sfdisk", "-d", disk)
        theirs = []
        for line in listed.splitlines():
            if line.startswith(str(disk)) and "type=5" not in line:
                name, _, rest = line.partition(" : ")
                start, size = (int(word.split("=")[1]) for word in rest.split(",")[:2])
                theirs.append((int(name.removeprefix(str(disk))), start * 512, size * 512))
        ours = partitions_of(reader(disk.read_bytes()), 16 * MIB)
        assert [(part.number, part.start, part.size) for part in ours] == theirs
        assert theirs


# -- signatures -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "type"),
    [
        ("mke2fs -q -t ext2", "ext2"),
        ("mke2fs -q -t ext3", "ext3"),
        ("mke2fs -q -t ext4", "ext4"),
        ("mkfs.vfat -F 12", "vfat"),
        ("mkfs.vfat -F 16", "vfat"),
        ("mkfs.vfat -F 32 -s 1", "vfat"),
        ("mkfs.exfat", "exfat"),
        ("mkfs.ntfs -q -F", "ntfs"),
        ("mkfs.btrfs -q", "btrfs"),
    ],
)
def test_types_are_found_with_their_size(tmp_path: Path, command: str, type: str) -> None:
    words = command.split()
    needs(words[0])
    size = (128 if type == "btrfs" else 36) * MIB
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(size)
    run(*words, image)
    found = find_type(reader(image.read_bytes()))
    assert found is not None
    assert found.type == type
    assert not found.size or size - MIB <= found.size <= size


def test_what_is_no_file_system_is_none() -> None:
    assert find_type(reader(b"")) is None
    assert find_type(reader(bytes(MIB))) is None
    assert find_type(reader(mbr((0x83, 1, 7)))) is None
    noise = random.Random(1).randbytes(MIB)
    assert find_type(reader(noise)) is None


# -- mistakes ---------------------------------------------------------------------------------


def mistake(image: Path, *options: str) -> str:
    with pytest.raises(UsageError) as caught:
        make_mount(f"image:{image}", *options)
    message = str(caught.value)
    assert message.startswith(f"cannot mount image:{image}")
    assert "\n" not in message
    return message


def test_what_is_no_image_is_told(tmp_path: Path) -> None:
    image = tmp_path / "image"
    assert "no such file" in mistake(image)
    assert "is a directory" in mistake(tmp_path)
    image.write_bytes(b"")
    assert "empty" in mistake(image)
    image.write_bytes(b"no image\n" * 1000)
    assert "no file system and no partitions" in mistake(image)
    assert "no partitions" in mistake(image, "partition=1")
    image.write_bytes(bytes(MIB))
    assert "no file system" in mistake(image)


def test_partitions_are_to_be_chosen(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(gpt((40, 79, "boot"), (80, 2000, "")))
    assert "choose a partition with partition=N: 1 (unknown, 20 KiB, boot), 2 (unknown, 960" in mistake(image)
    assert "no file system" in mistake(image, "partition=2")
    assert "it has no partition 3; it has 1 (unknown" in mistake(image, "partition=3")
    assert "it has no partition x" in mistake(image, "partition=x")
    image.write_bytes(mbr((0x83, 8, 8)))
    assert "truncated: its partition 1 ends at 8192 bytes, the image 512" in mistake(image)


def test_a_truncated_image_is_told(tmp_path: Path) -> None:
    needs("mke2fs")
    image = tmp_path / "image"
    run("mke2fs", "-q", image, "8M")
    os.truncate(image, 5 * MIB)
    assert "truncated: its ext2 has 8388608 bytes, and 5242880 are there" in mistake(image)


def test_what_would_have_to_be_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tmp_path / "image"
    superblock = struct.pack("<4s36xQ", b"hsqs", 96).ljust(4096, b"\0")
    image.write_bytes(superblock)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("diorama.modules.filesystems.images.serving.find_spec", lambda name: None)
    message = mistake(image)
    assert "it is squashfs, which needs squashfuse (Debian package squashfuse) or dissect.target" in message


# -- ISO 9660 ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "name", "link"),
    [
        ({"rock_ridge": "1.09"}, "A long name.txt", True),
        ({"joliet": 3}, "A long name.txt", False),
        ({}, "file.txt", False),
    ],
    ids=["rock-ridge", "joliet", "plain"],
)
def test_an_iso_is_read(tmp_path: Path, how: dict[str, object], name: str, link: bool) -> None:
    iso_image(tmp_path / "image", **how)
    mount = make_mount(f"image:{tmp_path / 'image'}")
    assert mount.read_only
    assert mount.filesystem is not None
    found = tree_of(mount.filesystem)
    assert found[f"sub/{name}"][1] == b"hello\n"
    assert found["large"][1] == bytes(range(256)) * 100
    assert found["empty"][1] == b""
    assert ("link" in found) == link
    if link:
        assert found["link"][1] == b"sub/A long name.txt"
    inode = mount.filesystem.lookup(1, b"large")
    assert mount.filesystem.read(inode, 255, 3) == b"\xff\0\1"
    mount.filesystem.close()
    assert "only reads" in mistake(tmp_path / "image", "rw")


def test_a_damaged_iso_is_an_error_and_no_more(tmp_path: Path) -> None:
    image = tmp_path / "image"
    iso_image(image, rock_ridge="1.09")
    try_damaged(image)
