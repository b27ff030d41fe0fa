"""Disks and their partitions: which there are, what changes them, and who has them alone."""

from __future__ import annotations

import errno
import os
import random
import struct
from collections.abc import Callable

import pytest

from diorama.abi import ioctl
from diorama.interfaces.blockfile import BlockFile
from diorama.interfaces.device import Argument, BlockDevice
from diorama.interfaces.devicefile import Numbers
from diorama.interfaces.disk import Disk
from diorama.interfaces.partitions import Partition
from diorama.testing.fakes import FakeMemory

SECTORS = 8192
Entry = tuple[int, int, int]


class Bytes(BlockDevice):
    """A block device in memory."""

    def __init__(self, sectors: int = SECTORS) -> None:
        self.data = bytearray(sectors * 512)
        self.size = len(self.data)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        self.data[offset : offset + len(data)] = data


def table(device: Bytes, sector: int, *entries: Entry) -> None:
    """Write an MBR: types, first sectors and counts."""
    at = sector * 512
    device.data[at + 446 : at + 512] = bytes(64) + b"\x55\xaa"
    for number, (kind, start, count) in enumerate(entries):
        entry = struct.pack("<B3sB3sII", 0, b"", kind, b"", start, count)
        device.data[at + 446 + 16 * number : at + 462 + 16 * number] = entry


def mounted(device: Bytes) -> tuple[Disk, BlockFile]:
    disk = Disk(device, Numbers(), f"disk of {random.random()}")
    file = disk.mount().filesystem
    assert isinstance(file, BlockFile)
    return disk, file


def shown(disk: Disk) -> dict[int, tuple[int, int]]:
    """First sectors and counts by number."""
    return {one.partition: (one.start // 512, one.size // 512) for one in disk.partitions}


def error(work: Callable[[], object]) -> int | None:
    try:
        work()
    except OSError as failure:
        return failure.errno
    return None


def test_partitions_have_the_numbers_of_linux() -> None:
    device = Bytes()
    table(device, 0, (0x83, 8, 100), (0x05, 200, 1000), (0, 0, 0), (0x82, 2000, 10))
    table(device, 200, (0x83, 8, 92), (0x05, 300, 200))
    table(device, 500, (0x83, 8, 90))
    disk, _ = mounted(device)
    assert shown(disk) == {1: (8, 100), 2: (200, 2), 4: (2000, 10), 5: (208, 92), 6: (508, 90)}


def test_a_table_counts_in_the_sectors_of_its_disk() -> None:
    device = Bytes()
    device.sector = 4096
    table(device, 0, (0x83, 8, 100), (0x05, 200, 700))
    table(device, 200 * 8, (0x83, 8, 92))
    disk, _ = mounted(device)
    assert shown(disk) == {1: (64, 800), 2: (1600, 8), 5: (1664, 736)}


@pytest.mark.parametrize(
    ("name", "names"),
    [(b"hda", [b"hda1", b"hda2"]), (b"disk0", [b"disk0p1", b"disk0p2"])],
)
def test_names_of_partitions(name: bytes, names: list[bytes]) -> None:
    device = Bytes()
    table(device, 0, (0x83, 8, 100), (0x83, 200, 100))
    disk, _ = mounted(device)
    assert list(disk.mounts(name)) == names


def test_a_partition_is_a_window_on_its_disk() -> None:
    device = Bytes()
    table(device, 0, (0x83, 8, 4))
    disk, whole = mounted(device)
    (part,) = disk.partitions
    one, all_of_it = part.open_special(1, os.O_RDWR), whole.open_special(1, os.O_RDWR)
    assert one.write(3 * 512 + 500, b"x" * 20) == 12
    assert error(lambda: one.write(4 * 512, b"x")) == errno.ENOSPC
    assert all_of_it.read(11 * 512 + 498, 16) == bytes(2) + b"x" * 12 + bytes(2)
    all_of_it.write(8 * 512, b"start")
    assert one.read(0, 5) == b"start"
    assert os.minor(part.number) == os.minor(whole.number) + 1


def test_the_table_is_read_again_when_asked_for() -> None:
    device = Bytes()
    table(device, 0, (0x83, 8, 100), (0x83, 200, 100))
    disk, whole = mounted(device)
    changes: list[int] = []
    disk.on_change = lambda: changes.append(1)
    before = disk.mounts(b"hda")
    table(device, 0, (0x83, 8, 100), (0x83, 300, 50), (0x83, 400, 50))
    opened = whole.open_special(1, os.O_RDWR)
    assert opened.ioctl(ioctl.BLKRRPART, Argument(0, FakeMemory())) == 0
    assert shown(disk) == {1: (8, 100), 2: (300, 50), 3: (400, 50)}
    assert changes == [1]
    after = disk.mounts(b"hda")
    assert after[b"hda1"] is before[b"hda1"]  # it has not changed, and may be mounted
    assert after[b"hda2"] is not before[b"hda2"]


def test_the_table_is_not_read_while_a_partition_is_open() -> None:
    device = Bytes()
    table(device, 0, (0x83, 8, 100))
    disk, whole = mounted(device)
    opened = disk.partitions[0].open_special(1, os.O_RDONLY)
    assert error(disk.read_table) == errno.EBUSY
    opened.close()
    assert error(disk.read_table) is None
    assert error(lambda: whole.open_special(1, os.O_RDONLY).ioctl(ioctl.BLKRRPART, None)) is None  # type: ignore[arg-type]


def test_partitions_are_added_changed_and_taken_away() -> None:
    disk, _ = mounted(Bytes())
    disk.add(Partition(1, 512 * 8, 512 * 8))
    assert error(lambda: disk.add(Partition(1, 512 * 100, 512))) == errno.EBUSY
    assert error(lambda: disk.add(Partition(2, 512 * 15, 512 * 8))) == errno.EBUSY
    disk.add(Partition(2, 512 * 16, 512 * 8))
    assert error(lambda: disk.resize(Partition(1, 512 * 8, 512 * 9))) == errno.EBUSY
    assert error(lambda: disk.resize(Partition(1, 512 * 7, 512 * 4))) == errno.EINVAL
    disk.resize(Partition(1, 512 * 8, 512 * 4))
    assert shown(disk) == {1: (8, 4), 2: (16, 8)}
    opened = disk.partitions[0].open_special(1, os.O_RDONLY)
    assert error(lambda: disk.remove(1)) == errno.EBUSY
    opened.close()
    disk.remove(1)
    assert error(lambda: disk.remove(1)) == errno.ENXIO
    assert shown(disk) == {2: (16, 8)}


def blkpg(operation: int, start: int, length: int, number: int) -> Argument:
    """`struct blkpg_ioctl_arg`, which points to a `struct blkpg_partition`."""
    memory = FakeMemory()
    part = memory.place(struct.pack("<qqi", start, length, number) + bytes(128))
    return Argument(memory.place(struct.pack("<iii4xQ", operation, 0, 152, part)), memory)


def test_partitions_are_told_by_blkpg() -> None:
    disk, whole = mounted(Bytes())
    opened = whole.open_special(1, os.O_RDWR)
    assert opened.ioctl(ioctl.BLKPG, blkpg(1, 4096, 4096, 3)) == 0
    assert shown(disk) == {3: (8, 8)}
    assert opened.ioctl(ioctl.BLKPG, blkpg(3, 4096, 1024, 3)) == 0
    assert shown(disk) == {3: (8, 2)}
    for bad in (
        (1, 4096, 0, 4), (1, -512, 512, 4), (1, 100, 512, 4), (1, SECTORS * 512, 512, 4), (9, 0, 512, 4),
        (1, 4096, 512, 0),
    ):  # fmt: skip
        assert error(lambda bad=bad: opened.ioctl(ioctl.BLKPG, blkpg(*bad))) == errno.EINVAL  # type: ignore[misc]
    assert opened.ioctl(ioctl.BLKPG, blkpg(2, 0, 0, 3)) == 0
    assert shown(disk) == {}
    disk.add(Partition(1, 4096, 4096))
    part = disk.partitions[0].open_special(1, os.O_RDWR)
    assert error(lambda: part.ioctl(ioctl.BLKPG, blkpg(1, 0, 512, 2))) == errno.EINVAL
    assert error(lambda: part.ioctl(ioctl.BLKRRPART, Argument(0, FakeMemory()))) == errno.EINVAL


def test_a_table_that_tells_too_much_gives_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    device = Bytes()
    table(device, 0, (0x83, 8, 8), (0x83, SECTORS - 8, 100), (0x83, SECTORS + 8, 100))
    disk, _ = mounted(device)
    assert shown(disk) == {1: (8, 8), 2: (SECTORS - 8, 8)}
    told = capsys.readouterr().err
    assert "its partition 2 ends behind the end" in told
    assert "its partition 3 begins behind the end" in told


def test_a_chain_that_leads_in_a_circle_ends(capsys: pytest.CaptureFixture[str]) -> None:
    device = Bytes()
    table(device, 0, (0x83, 8, 8), (0x05, 100, 1000))
    table(device, 100, (0x83, 8, 8), (0x05, 100, 100))
    table(device, 200, (0x83, 8, 8), (0x05, 0, 100))
    disk, _ = mounted(device)
    assert shown(disk) == {1: (8, 8), 2: (100, 2), 5: (108, 8), 6: (208, 8)}
    assert "in a circle" in capsys.readouterr().err


def test_any_table_at_all_can_be_read() -> None:
    chance = random.Random(5)
    for _ in range(200):
        device = Bytes(256)
        kinds = [chance.choice((0x05, 0x0F, 0x83, 0xEE)) for _ in range(4)]
        table(device, 0, *[(kind, chance.randrange(300), chance.randrange(300)) for kind in kinds])
        for _ in range(6):
            far = chance.randrange(1 << 32)
            link = (0x05, chance.randrange(300), chance.randrange(300))
            table(device, chance.randrange(256), (0x83, far, far), link)
        disk, _ = mounted(device)
        for part in disk.partitions:
            assert 0 <= part.start < device.size
            assert 0 < part.size <= device.size - part.start


def test_who_wants_to_be_alone_is() -> None:
    device = Bytes()
    table(device, 0, (0x83, 8, 8), (0x83, 16, 8))
    disk, whole = mounted(device)
    first, second = disk.partitions
    alone = os.O_RDONLY | os.O_EXCL
    one = first.open_special(1, alone)
    assert error(lambda: first.open_special(1, alone)) == errno.EBUSY
    assert error(lambda: whole.open_special(1, alone)) == errno.EBUSY
    other = second.open_special(1, alone)
    first.open_special(1, os.O_RDWR).close()  # who does not ask gets in
    one.close()
    assert error(lambda: whole.open_special(1, alone)) == errno.EBUSY
    other.close()
    all_of_it = whole.open_special(1, alone)
    assert error(lambda: first.open_special(1, alone)) == errno.EBUSY
    all_of_it.close()
    first.open_special(1, alone).close()
