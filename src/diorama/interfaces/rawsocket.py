"""Raw sockets calls: with addresses as the kernel has them, of any family."""

from __future__ import annotations

import ctypes
import os
from typing import Final

__all__ = ["bind_raw", "connect_raw", "name_raw"]

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_ADDRESS_MAX: Final = 128


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def bind_raw(fd: int, address: bytes) -> None:
    """bind(2)."""
    _check(_LIBC.bind(fd, address, len(address)))


def connect_raw(fd: int, address: bytes) -> None:
    """connect(2), which waits if the socket does."""
    _check(_LIBC.connect(fd, address, len(address)))


def name_raw(fd: int, *, peer: bool = False) -> bytes:
    """The address of a socket (getsockname(2)), or of its peer."""
    data, size = ctypes.create_string_buffer(_ADDRESS_MAX), ctypes.c_uint32(_ADDRESS_MAX)
    _check((_LIBC.getpeername if peer else _LIBC.getsockname)(fd, data, ctypes.byref(size)))
    return data.raw[: min(size.value, _ADDRESS_MAX)]
