"""Memory: the address space of a tracee.

Short reads are normal at the end of a mapping; EFAULT means that not one byte was there, and a tracee
that is gone is not a fault (`TraceeDied`).
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING

from diorama.engine import _native
from diorama.errors import TraceeDied

if TYPE_CHECKING:
    from diorama.engine.tracee import Tracee

_PATH_MAX = 4096


def _checked(result: int) -> int:
    if result == -errno.ESRCH:
        raise TraceeDied
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


class Memory:
    """Read, write and place data in the address space of one tracee."""

    __slots__ = ("_tracee",)

    def __init__(self, tracee: Tracee) -> None:
        self._tracee = tracee

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes; fewer where the mapping ends; EFAULT if there are none."""
        buffer = ctypes.create_string_buffer(size)
        got = _checked(_native.lib.dio_memory_read(self._tracee.tid, address, buffer, size))
        return buffer.raw[:got]

    def read_string(self, address: int, limit: int = _PATH_MAX) -> bytes:
        """The bytes before the first NUL; ENAMETOOLONG if there is none within `limit`."""
        buffer = ctypes.create_string_buffer(limit)
        got = _checked(_native.lib.dio_memory_string(self._tracee.tid, address, buffer, limit))
        return buffer.raw[:got]

    def write(self, address: int, data: bytes) -> None:
        """All of `data`, or EFAULT."""
        while data:
            done = _checked(_native.lib.dio_memory_write(self._tracee.tid, address, data, len(data)))
            address, data = address + done, data[done:]

    def place(self, data: bytes) -> int:
        """Put data into the tracee's private arena, valid until its current call ends.

        Only while a call of the tracee is held; ENOMEM when the arena (64 KiB a thread) is full.
        """
        address = ctypes.c_uint64()
        guardian = self._tracee.guardian
        if guardian is None:
            raise TraceeDied
        _checked(guardian.place(self._tracee.tid, data, address))
        return address.value
