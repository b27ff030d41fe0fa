"""Devices without a view: what their special files answer."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import struct
import threading
from collections.abc import Callable

import pytest

from diorama.abi import ioctl
from diorama.interfaces.blockfile import BlockFile, OpenedBlock
from diorama.interfaces.device import Argument, BlockDevice, CharacterDevice
from diorama.interfaces.devicefile import CharacterFile, Numbers
from diorama.interfaces.disk import Disk
from diorama.testing.fakes import FakeMemory
from diorama.view.filesystem import Changes

SIZE = 1 << 20


class Memory(BlockDevice):
    """A block device in a bytearray, with the errors of its author."""

    def __init__(self, size: int = SIZE) -> None:
        self.data = bytearray(size)
        self.size = size
        self.is_closed = False

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        self.data[offset : offset + len(data)] = data

    def close(self) -> None:
        self.is_closed = True


class Queue(CharacterDevice):
    """What is written can be read, once."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, offset: int, data: bytes) -> int:
        self.data += data
        self.changed()
        return len(data)

    def read(self, offset: int, size: int) -> bytes:
        if not self.data:
            raise BlockingIOError
        found, self.data = self.data[:size], self.data[size:]
        return found

    def poll(self) -> int:
        return select.POLLOUT | (select.POLLIN if self.data else 0)


def argument(size: int = 64, value: bytes = b"") -> tuple[Argument, Callable[[str], tuple[int, ...]]]:
    """Room in a program's memory, and how to look at it afterwards."""
    memory = FakeMemory()
    address = memory.place(value.ljust(size, b"\xee"))
    return Argument(address, memory), lambda format: struct.unpack(
        format, memory.read(address, struct.calcsize(format))
    )


def ask(opened: OpenedBlock, command: int, format: str) -> int:
    """What a request tells."""
    where, look = argument()
    assert opened.ioctl(command, where) == 0
    return look(format)[0]


def whole(disk: Disk) -> BlockFile:
    found = disk.mount().filesystem
    assert isinstance(found, BlockFile)
    return found


def error(work: Callable[[], object]) -> int | None:
    """The errno of what goes wrong."""
    try:
        work()
    except OSError as failure:
        return failure.errno
    return None


@pytest.fixture
def disk() -> Disk:
    return Disk(Memory(), Numbers(), "disk")


def test_its_status_is_what_was_asked_for() -> None:
    numbers = Numbers(major=42, minor=7, mode=0o640, uid=3, gid=4)
    file = whole(Disk(Memory(), numbers, "disk"))
    found = file.attributes(1)
    assert (stat.S_ISBLK(found.mode), stat.S_IMODE(found.mode)) == (True, 0o640)
    assert (found.device, found.uid, found.gid, found.size) == (os.makedev(42, 7), 3, 4, 0)
    file.set_attributes(1, Changes(mode=0o600, uid=9))
    changed = file.attributes(1)
    assert (stat.S_IMODE(changed.mode), changed.uid, changed.gid) == (0o600, 9, 4)


def test_two_disks_have_not_the_same_number(disk: Disk) -> None:
    one, other = whole(disk), whole(Disk(Memory(), Numbers(), "other"))
    assert os.major(one.number) == os.major(other.number)
    assert abs(os.minor(one.number) - os.minor(other.number)) >= 64


def test_a_block_device_ends(disk: Disk) -> None:
    opened = whole(disk).open_special(1, os.O_RDWR)
    assert opened.write(SIZE - 2, b"abcd") == 2
    assert error(lambda: opened.write(SIZE, b"x")) == errno.ENOSPC
    assert opened.write(SIZE, b"") == 0
    assert opened.read(SIZE - 2, 10) == b"ab"
    assert opened.read(SIZE, 10) == b""


@pytest.mark.parametrize(
    ("offset", "whence", "found"),
    [
        (5, os.SEEK_SET, 5), (5, os.SEEK_CUR, 105), (-5, os.SEEK_END, SIZE - 5), (0, os.SEEK_END, SIZE),
        (7, os.SEEK_DATA, 7), (7, os.SEEK_HOLE, SIZE),
    ],
)  # fmt: skip
def test_where_lseek_leads(disk: Disk, offset: int, whence: int, found: int) -> None:
    assert whole(disk).open_special(1, os.O_RDONLY).place(100, offset, whence) == found


@pytest.mark.parametrize(
    ("offset", "whence", "code"),
    [(1, os.SEEK_END, errno.EINVAL), (-1, os.SEEK_SET, errno.EINVAL), (0, 9, errno.EINVAL),
     (SIZE, os.SEEK_DATA, errno.ENXIO)],
)  # fmt: skip
def test_where_lseek_does_not_lead(disk: Disk, offset: int, whence: int, code: int) -> None:
    opened = whole(disk).open_special(1, os.O_RDONLY)
    assert error(lambda: opened.place(100, offset, whence)) == code


def test_what_all_block_devices_are_asked(disk: Disk) -> None:
    opened = whole(disk).open_special(1, os.O_RDWR)
    assert ask(opened, ioctl.BLKGETSIZE64, "<Q") == SIZE
    assert ask(opened, ioctl.BLKGETSIZE, "<Q") == SIZE // 512
    assert ask(opened, ioctl.BLKSSZGET, "<i") == 512
    assert ask(opened, ioctl.BLKPBSZGET, "<I") == 512
    assert ask(opened, ioctl.BLKROGET, "<i") == 0
    assert ask(opened, ioctl.BLKALIGNOFF, "<i") == 0
    assert ask(opened, ioctl.BLKBSZGET, "<i") == 4096
    where, look = argument()
    assert opened.ioctl(ioctl.HDIO_GETGEO, where) == 0
    assert look("<BBHxxxxQ") == (255, 63, SIZE // 512 // (255 * 63), 0)
    where, look = argument(512)
    assert opened.ioctl(ioctl.HDIO_GET_IDENTITY, where) == 0
    assert look("<54x40s418x")[0].rstrip() == b"Diorama"
    assert error(lambda: opened.ioctl(0x5401, argument()[0])) == errno.ENOTTY


def test_a_program_of_32_bits_is_told_in_its_words(disk: Disk) -> None:
    memory = FakeMemory()
    where = Argument(memory.place(b"\xee" * 8), memory, word=4)
    whole(disk).open_special(1, os.O_RDONLY).ioctl(ioctl.BLKGETSIZE, where)
    assert memory.read(where.value, 8) == struct.pack("<I", SIZE // 512) + b"\xee" * 4


def test_read_ahead_is_remembered(disk: Disk) -> None:
    opened = whole(disk).open_special(1, os.O_RDONLY)
    opened.ioctl(ioctl.BLKRASET, Argument(64, FakeMemory()))
    assert ask(opened, ioctl.BLKRAGET, "<Q") == 64


def test_zeros_are_written_and_ranges_checked(disk: Disk) -> None:
    opened = whole(disk).open_special(1, os.O_RDWR)
    opened.write(0, b"\xff" * 4096)
    where, _ = argument(16, struct.pack("<QQ", 512, 1024))
    assert opened.ioctl(ioctl.BLKZEROOUT, where) == 0
    assert opened.read(0, 4096) == b"\xff" * 512 + bytes(1024) + b"\xff" * (4096 - 1536)
    for start, size in ((1, 512), (0, 511), (SIZE, 512), (SIZE - 512, 1024)):
        bad, _ = argument(16, struct.pack("<QQ", start, size))
        assert error(lambda bad=bad: opened.ioctl(ioctl.BLKZEROOUT, bad)) == errno.EINVAL  # type: ignore[misc]
    reading = whole(disk).open_special(1, os.O_RDONLY)
    assert error(lambda: reading.ioctl(ioctl.BLKZEROOUT, where)) == errno.EBADF
    assert error(lambda: opened.ioctl(ioctl.BLKDISCARD, where)) == errno.EOPNOTSUPP


def test_what_is_protected_is_not_written(disk: Disk) -> None:
    file = whole(disk)
    opened = file.open_special(1, os.O_RDWR)
    where, _ = argument(4, struct.pack("<i", 1))
    opened.ioctl(ioctl.BLKROSET, where)
    assert error(lambda: opened.write(0, b"x")) == errno.EPERM
    assert error(lambda: file.open_special(1, os.O_WRONLY)) == errno.EROFS
    assert file.open_special(1, os.O_RDONLY).read(0, 1) == b"\0"
    where, _ = argument(4, struct.pack("<i", 0))
    opened.ioctl(ioctl.BLKROSET, where)
    assert opened.write(0, b"x") == 1


def test_what_cannot_be_written_stays_protected() -> None:
    device = Memory()
    device.read_only = True
    opened = whole(Disk(device, Numbers(), "disk")).open_special(1, os.O_RDONLY)
    opened.ioctl(ioctl.BLKROSET, argument(4, struct.pack("<i", 0))[0])
    assert ask(opened, ioctl.BLKROGET, "<i") == 1


def test_a_device_that_gives_too_little_is_an_error() -> None:
    class Short(Memory):
        def read(self, offset: int, size: int) -> bytes:
            return b"x"

    device = Short()
    device.has_partitions = False
    opened = whole(Disk(device, Numbers(), "disk")).open_special(1, os.O_RDONLY)
    assert error(lambda: opened.read(0, 10)) == errno.EIO


def test_the_device_is_closed_with_the_last_of_its_files() -> None:
    device = Memory()
    device.data[446:462] = struct.pack("<B3sB3sII", 0, b"", 0x83, b"", 8, 8)
    device.data[510:512] = b"\x55\xaa"
    disk = Disk(device, Numbers(), "disk")
    one = whole(disk)
    (part,) = disk.partitions
    one.close()
    assert not device.is_closed
    part.close()
    assert device.is_closed


# -- who waits ------------------------------------------------------------------------------------


def test_who_may_wait_is_woken() -> None:
    file = CharacterFile(Queue(), Numbers())
    reader, writer = file.open_special(1, os.O_RDONLY), file.open_special(1, os.O_WRONLY)
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(reader.read(0, 10)))
    thread.start()
    writer.write(0, b"hello")
    thread.join(60)
    assert found == [b"hello"]
    file.close()


def test_who_may_not_wait_does_not() -> None:
    file = CharacterFile(Queue(), Numbers())
    with pytest.raises(BlockingIOError):
        file.open_special(1, os.O_RDONLY | os.O_NONBLOCK).read(0, 10)
    file.close()


def test_who_polls_is_told_of_changes() -> None:
    file = CharacterFile(Queue(), Numbers())
    opened = file.open_special(1, os.O_RDWR)
    told = threading.Event()
    assert opened.poll(told.set) == select.POLLOUT
    opened.write(0, b"x")
    assert told.wait(60)
    assert opened.poll(told.set) == select.POLLOUT | select.POLLIN
    opened.close()
    file.close()


def test_what_raises_when_polled_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    class Raises(Queue):
        def poll(self) -> int:
            raise RuntimeError("of its author")

    opened = CharacterFile(Raises(), Numbers()).open_special(1, os.O_RDWR)
    assert error(lambda: opened.poll(lambda: None)) == errno.EIO
    assert "of its author" in capsys.readouterr().err


def test_each_open_may_have_a_device_of_its_own() -> None:
    released: list[int] = []

    class One(CharacterDevice):
        def __init__(self, number: int) -> None:
            self.number = number

        def read(self, offset: int, size: int) -> bytes:
            return b"%d" % self.number

        def released(self) -> None:
            released.append(self.number)

    class Many(CharacterDevice):
        count = 0

        def open(self, flags: int) -> CharacterDevice:
            self.count += 1
            return One(self.count)

    file = CharacterFile(Many(), Numbers())
    one, other = file.open_special(1, os.O_RDONLY), file.open_special(1, os.O_RDONLY)
    assert (one.read(0, 9), other.read(0, 9)) == (b"1", b"2")
    other.close()
    assert released == [2]


# -- arguments ------------------------------------------------------------------------------------


class Pair(ctypes.Structure):
    """A structure with two numbers."""

    _fields_ = (("one", ctypes.c_int), ("other", ctypes.c_int))


def test_an_argument_is_read_and_written_as_a_structure() -> None:
    where, look = argument(8, struct.pack("<ii", 3, 4))
    pair = where.get(Pair)
    assert (pair.one, pair.other, where.unpack("<i", 4)) == (3, 4, (4,))
    pair.other = 7
    where.put(pair)
    assert look("<ii") == (3, 7)
    where.pack("<i", 9, offset=4)
    assert look("<ii") == (3, 9)


def test_a_bad_address_is_efault() -> None:
    where = Argument(0xDEAD, FakeMemory())
    assert error(lambda: where.read(4)) == errno.EFAULT
    where, _ = argument(8)
    assert error(lambda: where.read(9)) == errno.EFAULT
