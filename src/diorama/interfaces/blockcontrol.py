"""Blockcontrol: what ioctl(2) asks of all block devices alike (blkdev_ioctl() of Linux, hdio.h)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from diorama.abi import ioctl
from diorama.interfaces.device import Argument, refuse
from diorama.interfaces.partitions import Partition

if TYPE_CHECKING:
    from diorama.interfaces.blockfile import OpenedBlock

__all__ = ["control"]

_HEADS: Final = 255
_SECTORS: Final = 63
_MAX_SECTORS: Final = 2560
_ADD, _DELETE, _RESIZE = 1, 2, 3

Answer = Callable[["OpenedBlock", Argument], int]


def control(opened: OpenedBlock, command: int, argument: Argument) -> int:
    """The result; what nobody else knows the device is asked, which knows nothing but ENOTTY."""
    answer = _ANSWERS.get(command)
    if answer is None:
        return opened.file.ask(lambda: opened.file.device.ioctl(command, argument))
    return answer(opened, argument)


def _tells(format: str, value: Callable[[OpenedBlock], int]) -> Answer:
    def tell(opened: OpenedBlock, argument: Argument) -> int:
        argument.pack(format, value(opened))
        return 0

    return tell


def _size(opened: OpenedBlock, argument: Argument) -> int:
    sectors = opened.file.size >> 9
    if argument.word < 8 and sectors >> 32:
        raise refuse(errno.EFBIG)
    argument.pack("<Q" if argument.word == 8 else "<I", sectors)
    return 0


def _tell_ahead(opened: OpenedBlock, argument: Argument) -> int:
    argument.pack("<Q" if argument.word == 8 else "<I", opened.file.ahead)
    return 0


def _set_ahead(opened: OpenedBlock, argument: Argument) -> int:
    opened.file.ahead = argument.value & 0xFFFFFFFF
    return 0


def _protect(opened: OpenedBlock, argument: Argument) -> int:
    """BLKROSET; what cannot be written stays protected."""
    (wanted,) = argument.unpack("<i")
    opened.file.is_protected = bool(wanted) or opened.file.device.read_only
    if not opened.file.partition:
        opened.file.disk.is_protected = opened.file.is_protected
    return 0


def _set_block_size(opened: OpenedBlock, argument: Argument) -> int:
    (size,) = argument.unpack("<i")
    if size & size - 1 or not max(512, opened.file.device.sector) <= size <= os.sysconf("SC_PAGESIZE"):
        raise refuse(errno.EINVAL)
    return 0


def _flush(opened: OpenedBlock, _argument: Argument) -> int:
    opened.file.sync()
    return 0


def _range(opened: OpenedBlock, argument: Argument) -> tuple[int, int]:
    offset, size = argument.unpack("<QQ")
    if not opened.writes:
        raise refuse(errno.EBADF)
    if (offset | size) % opened.file.device.sector or offset + size > opened.file.size:
        raise refuse(errno.EINVAL)
    return offset, size


def _discard(opened: OpenedBlock, argument: Argument) -> int:
    offset, size = _range(opened, argument)
    if opened.file.is_read_only:
        raise refuse(errno.EPERM)
    opened.file.ask(lambda: opened.file.device.discard(opened.file.start + offset, size))
    return 0


def _zero(opened: OpenedBlock, argument: Argument) -> int:
    opened.zero(*_range(opened, argument))
    return 0


def _geometry(opened: OpenedBlock, argument: Argument) -> int:
    """`struct hd_geometry`, as of all disks that have none."""
    cylinders = min(opened.file.size // 512 // (_HEADS * _SECTORS), 0xFFFF)
    start = opened.file.start // 512
    if argument.word == 8:
        argument.pack("<BBHxxxxQ", _HEADS, _SECTORS, cylinders, start)
    else:
        argument.pack("<BBHI", _HEADS, _SECTORS, cylinders, start & 0xFFFFFFFF)
    return 0


def _identity(opened: OpenedBlock, argument: Argument) -> int:
    """`struct hd_driveid`: the words of ATA's IDENTIFY DEVICE that tell of a disk of this size."""
    words = bytearray(512)
    device = opened.file.device
    sectors = device.size // 512
    cylinders = min(sectors // (16 * _SECTORS), 16383)
    for word, value in {
        0: 0x0040, 1: cylinders, 3: 16, 6: _SECTORS, 47: 0x8001, 49: 0x0300, 53: 7, 54: cylinders, 55: 16,
        56: _SECTORS, 60: min(sectors, 0x0FFFFFFF) & 0xFFFF, 61: min(sectors, 0x0FFFFFFF) >> 16,
        80: 0x01F0, 83: 0x7400, 84: 0x4000, 86: 0x3400, 87: 0x4000,
    }.items():  # fmt: skip
        words[2 * word : 2 * word + 2] = value.to_bytes(2, "little")
    words[200:208] = sectors.to_bytes(8, "little")
    for at, size, text in ((20, 20, f"{opened.file.number:X}"), (46, 8, "1"), (54, 40, device.model)):
        words[at : at + size] = text.encode("ascii", "replace")[:size].ljust(size)
    argument.write(bytes(words))
    return 0


def _read_table(opened: OpenedBlock, _argument: Argument) -> int:
    """BLKRRPART, of a whole disk."""
    if opened.file.partition or not opened.file.device.has_partitions:
        raise refuse(errno.EINVAL)
    opened.file.disk.read_table()
    return 0


def _partition(opened: OpenedBlock, argument: Argument) -> int:
    """BLKPG: one partition is added, taken away or has another size (blkpg.h)."""
    disk = opened.file.disk
    wide = argument.word == 8
    operation, _, _, address = argument.unpack("<iii4xQ" if wide else "<iiiI")
    start, length, number = argument.at(address).unpack("<qqi")
    if opened.file.partition or not opened.file.device.has_partitions or number <= 0:
        raise refuse(errno.EINVAL)
    if operation == _DELETE:
        disk.remove(number)
        return 0
    if start < 0 or length <= 0 or start + length > disk.device.size or (start | length) % disk.device.sector:
        raise refuse(errno.EINVAL)
    if operation == _ADD:
        disk.add(Partition(number, start, length))
    elif operation == _RESIZE:
        disk.resize(Partition(number, start, length))
    else:
        raise refuse(errno.EINVAL)
    return 0


_ANSWERS: Final[dict[int, Answer]] = {
    ioctl.BLKROSET: _protect,
    ioctl.BLKROGET: _tells("<i", lambda opened: opened.file.is_read_only),
    ioctl.BLKRRPART: _read_table,
    ioctl.BLKGETSIZE: _size,
    ioctl.BLKFLSBUF: _flush,
    ioctl.BLKRASET: _set_ahead,
    ioctl.BLKFRASET: _set_ahead,
    ioctl.BLKRAGET: _tell_ahead,
    ioctl.BLKFRAGET: _tell_ahead,
    ioctl.BLKSECTGET: _tells("<H", lambda _opened: _MAX_SECTORS),
    ioctl.BLKSSZGET: _tells("<i", lambda opened: opened.file.device.sector),
    ioctl.BLKPG: _partition,
    ioctl.BLKBSZGET: _tells("<i", lambda _opened: 4096),
    ioctl.BLK32BSZGET: _tells("<i", lambda _opened: 4096),
    ioctl.BLKBSZSET: _set_block_size,
    ioctl.BLK32BSZSET: _set_block_size,
    ioctl.BLKGETSIZE64: _tells("<Q", lambda opened: opened.file.size),
    ioctl.BLK32GETSIZE64: _tells("<Q", lambda opened: opened.file.size),
    ioctl.BLKDISCARD: _discard,
    ioctl.BLKIOMIN: _tells("<I", lambda opened: opened.file.device.physical_sector),
    ioctl.BLKIOOPT: _tells("<I", lambda _opened: 0),
    ioctl.BLKALIGNOFF: _tells("<i", lambda _opened: 0),
    ioctl.BLKPBSZGET: _tells("<I", lambda opened: opened.file.device.physical_sector),
    ioctl.BLKDISCARDZEROES: _tells("<I", lambda _opened: 0),
    ioctl.BLKROTATIONAL: _tells("<H", lambda _opened: 0),
    ioctl.BLKZEROOUT: _zero,
    ioctl.BLKGETDISKSEQ: _tells("<Q", lambda opened: opened.file.disk.sequence),
    ioctl.HDIO_GETGEO: _geometry,
    ioctl.HDIO_GET_IDENTITY: _identity,
}
