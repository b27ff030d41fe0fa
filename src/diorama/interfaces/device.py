"""Device: what a module implements to be opened as a special file.

A character device reads and writes as it likes:

    class Counter(CharacterDevice):
        '''Each read gives the next number.'''

        def __init__(self):
            self.count = 0

        def read(self, offset, size):
            self.count += 1
            return b"%d\n" % self.count

        def ioctl(self, command, argument):
            if command != 0x4301:
                return super().ioctl(command, argument)
            (self.count,) = argument.unpack("<i")  # a structure of the program's
            return 0

A block device has a size, and bytes at offsets; the view answers what all of them are asked (their size,
their sectors, their partitions):

    class Mirror(BlockDevice):
        def __init__(self, *paths):
            self.files = [open(path, "r+b", buffering=0) for path in paths]
            self.size = os.path.getsize(paths[0])

        def read(self, offset, size):
            return os.pread(self.files[0].fileno(), size, offset)

        def write(self, offset, data):
            for file in self.files:
                os.pwrite(file.fileno(), data, offset)

`--mount py:./mirror.py:Mirror('a','b')=/dev/mirror` puts it where programs find it.  Methods are called by
several threads at once, each while its program waits: lock what is shared.  Who is killed while it
waits in one is not waited for.  An `OSError` is the program's
errno; whatever else they raise is EIO for the program, and a traceback.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from diorama.view.special import Argument

__all__ = ["Argument", "BlockDevice", "CharacterDevice", "Device", "refuse"]


def refuse(code: int) -> OSError:
    """The error that gives the program this errno."""
    return OSError(code, os.strerror(code))


def _nothing() -> None:
    return


class Device:
    """What both kinds have; the class attributes are what `major=` and so on are without an option."""

    kind = 0
    title = "device"
    major = 60
    """The first number, 60 to 63 and 120 to 127 are for everybody's own use (admin-guide/devices)."""
    minor: int | None = None
    """The second number; None for one that no other device of this process has."""
    mode = 0o600
    """Its permissions."""
    waits = True
    """Whether a method may take its time: then each is called on a thread of its own, so that programs can be
    killed, and the view can end, while they wait there."""
    changed: Callable[[], None] = staticmethod(_nothing)
    """To be called when `poll` would answer otherwise than before, or what was not ready may be: set by the
    view when the device is mounted."""

    def ioctl(self, command: int, argument: Argument) -> int:
        """A program controls it: the result.  ENOTTY for what is not known."""
        raise refuse(errno.ENOTTY)

    def poll(self) -> int | None:
        """Tell what it is ready for, in bits as poll.h has them; None for everything, always."""
        return None

    def sync(self) -> None:
        """Make lasting what was written, for fsync(2)."""
        return

    def close(self) -> None:
        """Release what it holds: it is mounted nowhere any more, and open nowhere."""
        return


class CharacterDevice(Device):
    """A stream of bytes, or whatever the class makes of it."""

    kind = stat.S_IFCHR
    seeks = False
    """Whether it has an offset; if not, lseek(2) and reading at an offset are ESPIPE."""

    def open(self, flags: int) -> CharacterDevice:
        """What reads and writes for who opens it now, with these flags: itself, if all see the same.

        What is returned is told of `released` when it is open no longer.
        """
        return self

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes, none at the end.

        `BlockingIOError` if there is nothing now: who may wait does until `changed` is called, and asks then.
        """
        raise refuse(errno.EINVAL)

    def write(self, offset: int, data: bytes) -> int:
        """How many bytes were taken.  `BlockingIOError` as in `read`."""
        raise refuse(errno.EINVAL)

    def seek(self, position: int, offset: int, whence: int) -> int:
        """Where lseek(2) leads from a position."""
        if whence not in (os.SEEK_SET, os.SEEK_CUR):
            raise refuse(errno.EINVAL)
        return max(offset + (position if whence == os.SEEK_CUR else 0), 0)

    def flush(self) -> None:
        """One of the descriptors of an open file is being closed; an error is told to who closes."""
        return

    def released(self) -> None:
        """What `open` returned is open no longer."""
        return


class BlockDevice(Device):
    """Bytes at offsets, as many as `size` says; what is asked is inside of that."""

    kind = stat.S_IFBLK
    size = 0
    sector = 512
    """The size of a logical sector."""
    physical_sector = 512
    read_only = False
    has_partitions = True
    """Whether its table of partitions is read, and they appear beside it."""
    model = "Diorama"
    """What HDIO_GET_IDENTITY calls it."""

    def read(self, offset: int, size: int) -> bytes:
        """Exactly so many bytes."""
        raise refuse(errno.EIO)

    def write(self, offset: int, data: bytes) -> None:
        """Keep these bytes, all of them."""
        raise refuse(errno.EROFS)

    def zero(self, offset: int, size: int) -> None:
        """Let there be zeros: BLKZEROOUT, and fallocate(2)."""
        piece = bytes(min(size, 1 << 20))
        while size > 0:
            self.write(offset, piece[:size])
            offset, size = offset + len(piece), size - len(piece)

    def discard(self, offset: int, size: int) -> None:
        """What is there is not needed any more: BLKDISCARD.  EOPNOTSUPP if that makes no difference."""
        raise refuse(errno.EOPNOTSUPP)

    def backing(self) -> tuple[int, int] | None:
        """The descriptor of a file that has the bytes, and where in it they begin; None if there is none.

        What is there is what `read` gives.  With it mmap(2) works, and `image:` without a copy.
        """
        return None
