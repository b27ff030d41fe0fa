"""Raw socket calls: with addresses as the kernel has them, of any family."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = [
    "RawMessage",
    "Sent",
    "bind_raw",
    "connect_raw",
    "name_raw",
    "pack_control",
    "receive_raw",
    "send_raw",
]

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.sendmsg.restype = _LIBC.recvmsg.restype = ctypes.c_ssize_t
_ADDRESS_MAX: Final = 128
_WORD: Final = ctypes.sizeof(ctypes.c_void_p)


class _IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class _MsgHdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iov_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class RawMessage(NamedTuple):
    """What recvmsg(2) gave; `size` is what it returned, which may be more than there is of `data`."""

    size: int
    data: bytes
    address: bytes
    control: bytes
    flags: int


class Sent(NamedTuple):
    """A message on its way to the kernel: the address in place of the program's, and more control data.

    As sendmsg(2) takes them.  `drop`: nobody gets it, and the program is told that it was sent; or only those
    at the addresses of `copies` do, as far as there is room.
    """

    address: bytes | None
    control: Sequence[tuple[int, int, bytes]] = ()
    drop: bool = False
    copies: Sequence[bytes] = ()


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


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


def send_raw(fd: int, data: bytes, address: bytes | None, control: bytes, flags: int) -> int:
    """sendmsg(2)."""
    buffer = ctypes.create_string_buffer(data, max(len(data), 1))
    iov = _IoVec(ctypes.addressof(buffer), len(data))
    header = _MsgHdr(iov=ctypes.addressof(iov), iov_count=1)
    if address is not None:
        name = ctypes.create_string_buffer(address, max(len(address), 1))
        header.name, header.name_size = ctypes.addressof(name), len(address)
    if control:
        room = ctypes.create_string_buffer(control, len(control))
        header.control, header.control_size = ctypes.addressof(room), len(control)
    return _check(_LIBC.sendmsg(fd, ctypes.byref(header), flags))


def receive_raw(fd: int, size: int, control_size: int, flags: int) -> RawMessage:
    """recvmsg(2)."""
    buffer, name = ctypes.create_string_buffer(max(size, 1)), ctypes.create_string_buffer(_ADDRESS_MAX)
    control = ctypes.create_string_buffer(max(control_size, 1))
    iov = _IoVec(ctypes.addressof(buffer), size)
    header = _MsgHdr(iov=ctypes.addressof(iov), iov_count=1)
    header.name, header.name_size = ctypes.addressof(name), _ADDRESS_MAX
    if control_size:
        header.control, header.control_size = ctypes.addressof(control), control_size
    got = _check(_LIBC.recvmsg(fd, ctypes.byref(header), flags))
    told = control.raw[: header.control_size] if control_size else b""
    return RawMessage(got, buffer.raw[: min(got, size)], name.raw[: header.name_size], told, header.flags)


def pack_control(parts: Sequence[tuple[int, int, bytes]]) -> bytes:
    """Control data of a message (cmsg(3)), of (level, type, data)."""
    packed = b""
    for level, kind, data in parts:
        head = (_WORD + 8 + len(data)).to_bytes(_WORD, sys.byteorder) + struct.pack("=ii", level, kind)
        packed += head + data + bytes(-len(data) % _WORD)
    return packed
