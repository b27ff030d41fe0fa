"""Special: what the view asks of an open device, besides what it asks of any open file."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from diorama.view.filesystem import OpenFile

if TYPE_CHECKING:
    from diorama.catalogue.model import Memory

__all__ = ["Argument", "OpenSpecial"]

S = TypeVar("S", bound=ctypes.Structure)


class Argument:
    """The argument of ioctl(2): a number, `value`, or where a structure of the program stands.

    `word` is the size of the program's pointers and longs, in bytes, and `file` the device and inode number
    of what it has open.  EFAULT for a bad address.
    """

    __slots__ = ("_memory", "_take", "file", "value", "word")

    def __init__(
        self,
        value: int,
        memory: Memory,
        word: int = 8,
        file: tuple[int, int] = (0, 0),
        take: Callable[[int], tuple[int, bool]] | None = None,
    ) -> None:
        self.value = value
        self.word = word
        self.file = file
        self._memory = memory
        self._take = take

    def take(self, number: int) -> tuple[int, bool]:
        """A descriptor of ours of a regular file of the host that the program has open by this number.

        Whether it may be written, whatever the program has it open for.  EBADF; EISDIR and EINVAL for others,
        ELOOP for what is not simply a file of the host, EPERM for a program that may not what we may.
        """
        if self._take is None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return self._take(number)

    def read(self, size: int, offset: int = 0) -> bytes:
        """So many bytes of what it points to."""
        data = self._memory.read(self.value + offset, size) if size else b""
        if len(data) < size:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return data

    def write(self, data: bytes, offset: int = 0) -> None:
        """Put bytes where it points to."""
        self._memory.write(self.value + offset, data)

    def unpack(self, format: str, offset: int = 0) -> tuple[Any, ...]:
        """What it points to, taken apart as `struct.unpack` does."""
        return struct.unpack(format, self.read(struct.calcsize(format), offset))

    def pack(self, format: str, *values: Any, offset: int = 0) -> None:
        """Put values where it points to, as `struct.pack` does."""
        self.write(struct.pack(format, *values), offset)

    def get(self, kind: type[S]) -> S:
        """What it points to, as a structure of ctypes."""
        return kind.from_buffer_copy(self.read(ctypes.sizeof(kind)))

    def put(self, structure: ctypes.Structure) -> None:
        """Put a structure of ctypes where it points to."""
        self.write(bytes(structure))

    def at(self, address: int) -> Argument:
        """The same for another address: where a structure has pointers."""
        return Argument(address, self._memory, self.word, self.file, self._take)


class OpenSpecial(OpenFile, Protocol):
    """One open(2) of a device.  Errors are `OSError`."""

    @property
    def size(self) -> int:
        """Where SEEK_END is."""
        ...

    def place(self, position: int, offset: int, whence: int) -> int:
        """The offset that lseek(2) sets, where it is `position` now."""
        ...

    def ioctl(self, command: int, argument: Argument) -> int:
        """A program controls it; ENOTTY for what is not known."""
        ...

    def mapping(self, offset: int, length: int) -> tuple[int, int]:
        """What is mapped in its stead: a descriptor of ours, and the offset in that.  ENODEV."""
        ...
