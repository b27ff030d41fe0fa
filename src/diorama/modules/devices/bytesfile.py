"""Bytesfile: a block device whose bytes are those of a file, the kernel's cache of it included."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from diorama.abi.arch import Abi
from diorama.abi.fcntl import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE
from diorama.abi.numbers import NUMBERS
from diorama.engine.ourcall import make_call
from diorama.interfaces.device import BlockDevice, refuse

__all__ = ["BytesFile"]

_FALLOCATE: Final = NUMBERS[Abi.native()[0].title]["fallocate"]


class BytesFile(BlockDevice):
    """The first `size` bytes of the open file `fd`, which is closed in the end.

    `save` makes lasting what is written, if fsync(2) does not.
    """

    title = "disk"
    major = 3
    waits = False

    def __init__(
        self, fd: int, size: int, *, read_only: bool = False, save: Callable[[], None] | None = None
    ) -> None:
        self.fd = fd
        self.size = size
        self.read_only = read_only
        self._save = save

    def read(self, offset: int, size: int) -> bytes:
        """EIO where the file has become shorter than it was."""
        found = os.pread(self.fd, size, offset)
        while len(found) < size:
            piece = os.pread(self.fd, size - len(found), offset + len(found))
            if not piece:
                raise refuse(errno.EIO)
            found += piece
        return found

    def write(self, offset: int, data: bytes) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self.fd, memoryview(data)[done:], offset + done)

    def zero(self, offset: int, size: int) -> None:
        try:
            self.discard(offset, size)
        except OSError:
            super().zero(offset, size)

    def discard(self, offset: int, size: int) -> None:
        """Leave a hole, which reads as zeros."""
        make_call(_FALLOCATE, self.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size)

    def sync(self) -> None:
        if self._save is None:
            os.fsync(self.fd)
        else:
            self._save()

    def backing(self) -> tuple[int, int]:
        return self.fd, 0

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
