"""Blockfile: the special files of a block device and its partitions.

A partition is a window on its disk: what is written in one is read in the other at once.  What is asked of
all block devices alike is answered by `blockcontrol`, tables of partitions are `disk`'s.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import (
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    O_CREAT,
    O_EXCL,
)
from diorama.interfaces.blockcontrol import control
from diorama.interfaces.device import Argument, BlockDevice, refuse
from diorama.interfaces.devicefile import DeviceFile, Numbers, OpenedDevice
from diorama.interfaces.filesystem import Statistics

if TYPE_CHECKING:
    from diorama.interfaces.disk import Disk

__all__ = ["BlockFile", "OpenedBlock"]

_ZERO_RANGE: Final = 0x10
_PAGE: Final = os.sysconf("SC_PAGESIZE")


class BlockFile(DeviceFile):
    """All of a disk, its number 0, or a partition: `size` bytes from `start` on."""

    device: BlockDevice

    def __init__(
        self, disk: Disk, numbers: Numbers, partition: int = 0, start: int = 0, size: int | None = None
    ) -> None:
        super().__init__(disk.device, numbers)
        self.disk: Disk = disk
        self.partition = partition
        self.start = start
        self.size: int = disk.device.size if size is None else size
        self.is_protected: bool = disk.device.read_only
        self.opens = 0
        self.ahead = 256
        disk.use()

    @property
    def is_read_only(self) -> bool:
        """Whether it is not written; a disk that is protected protects its partitions."""
        return self.is_protected or self.disk.is_protected

    def open_special(self, inode: int, flags: int) -> OpenedBlock:
        """EBUSY for who wants it alone (O_EXCL) and is not; EROFS where who would write must not."""
        if flags & os.O_ACCMODE and self.is_read_only:
            raise refuse(errno.EROFS)
        alone = bool(flags & O_EXCL) and not flags & O_CREAT
        self.disk.enter(self, alone=alone)
        return OpenedBlock(self, flags, alone=alone)

    def statistics(self) -> Statistics:
        """How large it is, in sectors of Linux."""
        return Statistics(block_size=512, blocks=self.size // 512)

    def close(self) -> None:
        """The device is closed with the last of its files."""
        self.stop()
        self.disk.drop()


class OpenedBlock(OpenedDevice):
    """One open(2) of a block device."""

    file: BlockFile

    def __init__(self, file: BlockFile, flags: int, *, alone: bool) -> None:
        super().__init__(file, flags)
        self._alone = alone

    @property
    def size(self) -> int:
        """Where it ends."""
        return self.file.size

    @property
    def seeks(self) -> bool:
        return True

    def read(self, offset: int, size: int) -> bytes:
        size = min(size, self.file.size - offset)
        if size <= 0:
            return b""
        data = self.file.ask(lambda: self.file.device.read(self.file.start + offset, size))
        if len(data) != size:
            raise refuse(errno.EIO)
        return data

    def write(self, offset: int, data: bytes) -> int:
        """EPERM where it is protected by now, ENOSPC at the end (blkdev_write_iter() of Linux)."""
        if self.file.is_read_only:
            raise refuse(errno.EPERM)
        room = self.file.size - offset
        if room <= 0:
            if not data:
                return 0
            raise refuse(errno.ENOSPC)
        data = data[:room]
        self.file.ask(lambda: self.file.device.write(self.file.start + offset, data))
        if self.flags & os.O_DSYNC:
            self.file.ask(self.file.device.sync)
        return len(data)

    def place(self, position: int, offset: int, whence: int) -> int:
        """Between its beginning and its end; there are no holes."""
        if whence in (os.SEEK_DATA, os.SEEK_HOLE):
            if not 0 <= offset < self.file.size:
                raise refuse(errno.ENXIO)
            return offset if whence == os.SEEK_DATA else self.file.size
        if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END):
            raise refuse(errno.EINVAL)
        found = offset + {os.SEEK_SET: 0, os.SEEK_CUR: position, os.SEEK_END: self.file.size}[whence]
        if not 0 <= found <= self.file.size:
            raise refuse(errno.EINVAL)
        return found

    def ioctl(self, command: int, argument: Argument) -> int:
        return control(self, command, argument)

    def mapping(self, offset: int, length: int) -> tuple[int, int]:
        """The file that the bytes are in; ENODEV if there is none, or its pages have others' bytes too."""
        found = self.file.device.backing()
        if found is None or (found[1] + self.file.start) % _PAGE or self._is_exceeded(found, offset + length):
            raise refuse(errno.ENODEV)
        mode = os.O_RDWR if self.writes and not self.file.is_read_only else os.O_RDONLY
        fd = os.open(f"/proc/self/fd/{found[0]}", mode | os.O_CLOEXEC)
        return fd, found[1] + self.file.start + offset

    def _is_exceeded(self, backing: tuple[int, int], end: int) -> bool:
        """Whether a mapping up to an end has bytes that are behind the file's, of another partition."""
        if -(-end // _PAGE) * _PAGE <= self.file.size:
            return False
        status = os.fstat(backing[0])
        last = backing[1] + self.file.start + self.file.size
        return status.st_size > last or stat.S_ISBLK(status.st_mode)

    def allocate(self, mode: int, offset: int, length: int) -> None:
        """Zeros, or nothing that counts (blkdev_fallocate() of Linux)."""
        if mode & ~(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE | _ZERO_RANGE):
            raise refuse(errno.EOPNOTSUPP)
        if offset >= self.file.size or (offset + length > self.file.size and not mode & FALLOC_FL_KEEP_SIZE):
            raise refuse(errno.EINVAL)
        length = min(length, self.file.size - offset)
        if (offset | length) % self.file.device.sector:
            raise refuse(errno.EINVAL)
        if not mode & (FALLOC_FL_PUNCH_HOLE | _ZERO_RANGE):
            raise refuse(errno.EOPNOTSUPP)
        self.zero(offset, length)

    def zero(self, offset: int, size: int) -> None:
        """Let there be zeros."""
        if self.file.is_read_only:
            raise refuse(errno.EPERM)
        self.file.ask(lambda: self.file.device.zero(self.file.start + offset, size))

    def flush(self, owner: int = 0) -> None:
        """What was written is there already."""

    def close(self) -> None:
        self.file.unwatch(self)
        self.file.disk.leave(self.file, alone=self._alone)
