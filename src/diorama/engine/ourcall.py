"""Ourcall: system calls that this thread makes itself, by number."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

from diorama.engine import _native

__all__ = ["OurMemory", "add_watch", "make_call", "take_lease"]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.inotify_add_watch.argtypes = ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32


def make_call(number: int, *args: int) -> int:
    """A system call; `OSError` if it fails."""
    result: int = _libc.syscall(number, *[ctypes.c_ulong(arg) for arg in args])
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def add_watch(inotify: int, path: bytes, mask: int) -> int:
    """Watch a file (inotify_add_watch(2)): the watch; `OSError`."""
    watch: int = _libc.inotify_add_watch(inotify, path, mask)
    if watch < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return watch


def take_lease(fd: int, kind: int) -> int:
    """Take a lease on an open file (fcntl(2)), and give it back: 0, or why that cannot be."""
    return int(_native.lib.dio_lease(fd, kind))


class OurMemory:
    """Room for what a call of ours points at, as long as this object lives."""

    def __init__(self) -> None:
        self._placed: list[Any] = []

    def place(self, data: bytes) -> int:
        """Put data somewhere; its address."""
        buffer = ctypes.create_string_buffer(data, max(len(data), 1))
        self._placed.append(buffer)
        return ctypes.addressof(buffer)

    def copy(self, address: int, size: int) -> bytes:
        """What stands there: what a call has written."""
        return ctypes.string_at(address, size)

    def read(self, address: int, size: int) -> bytes:
        """Nothing: what a call of ours points at is given by hand."""
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))

    def read_string(self, address: int, limit: int = 4096) -> bytes:
        """Nothing."""
        return self.read(address, limit)

    def write(self, address: int, data: bytes) -> None:
        """Nothing."""
        self.read(address, len(data))
