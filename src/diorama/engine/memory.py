"""Memory: the address space of a tracee.

A thread id may be given to another thread once the tracee is dead, so whoever keeps the tracee in its call
is asked after each read, before what was read is believed, and before each write.

Short reads are normal at the end of a mapping; EFAULT means that not one byte was there, EPERM that the
program has closed its memory to us (PR_SET_DUMPABLE). A tracee that is gone is not a fault (`TraceeDied`).
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
        got = _native.lib.dio_memory_read(self._tracee.tid, address, buffer, size)
        self._tracee.keeper.check()
        _checked(got)
        return buffer.raw[:got]

    def read_string(self, address: int, limit: int = _PATH_MAX) -> bytes:
        """The bytes before the first NUL; ENAMETOOLONG if there is none within `limit`."""
        buffer = ctypes.create_string_buffer(limit)
        got = _native.lib.dio_memory_string(self._tracee.tid, address, buffer, limit)
        self._tracee.keeper.check()
        _checked(got)
        return buffer.raw[:got]

    def write(self, address: int, data: bytes) -> None:
        """All of `data`, or EFAULT."""
        while data:
            self._tracee.keeper.check()
            done = _checked(_native.lib.dio_memory_write(self._tracee.tid, address, data, len(data)))
            address, data = address + done, data[done:]

    def force(self, address: int, data: bytes) -> None:
        """As `write`, of at most a page, where the program itself may not write."""
        self._tracee.keeper.check()
        fd = os.open(f"/proc/{self._tracee.tid}/mem", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(fd, data, address)
        finally:
            os.close(fd)

    def place(self, data: bytes) -> int:
        """Put data into the tracee's private arena, valid until its current call ends.

        Only while a call of the tracee is held; ENOMEM when the arena (64 KiB a thread) is full.
        """
        address = ctypes.c_uint64()
        _checked(self._tracee.keeper.place(self._tracee, data, address))
        return address.value
