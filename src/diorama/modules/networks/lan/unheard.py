"""Unheard: a program is told that nobody hears its datagrams where a socket of ours hears them.

For a program that is connected that is an error of its socket (udp(7), ECONNREFUSED), which the kernel makes
of an answer of ICMP to what was sent from there. So one more datagram is sent from the program's address
(IP_PKTINFO), by a socket of ours with the same port, to where the program's went; meanwhile the socket that
hears there is connected to another, so it does not hear that one. If it does in spite of that, since the
kernel was late, a mark tells (a TTL that nobody else has), and it is tried again. For that moment, some
microseconds, all that is sent there is refused.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from diorama.abi.socket import AF_UNSPEC
from diorama.engine.rawsocket import connect_raw

__all__ = ["bind", "errors_of", "hear", "prepare", "refuse"]

Real = tuple[str, int]

_LARGEST: Final = 1 << 16
_IP_PKTINFO: Final = 8
_IP_RECVERR: Final = 11
_IP_RECVTTL: Final = 12
_IP_TTL: Final = 2
_MARK: Final = struct.pack("=i", 213)
_ROOM: Final = 512
_NOBODY: Final = 1
"""A port from which nobody sends."""
_ENDS: Final = AF_UNSPEC.to_bytes(2, "little") + bytes(14)


def prepare(at: socket.socket, *, hears_errors: bool = False) -> None:
    """Let a socket know a mark, and (`errors_of`) what it has sent that nobody heard."""
    at.setsockopt(socket.SOL_IP, _IP_RECVTTL, 1)
    at.setsockopt(socket.SOL_IP, _IP_RECVERR, int(hears_errors))


def bind(at: socket.socket, real: Real) -> None:
    """Bind a socket that is to refuse: to a port that is said, since one that was chosen is not kept."""
    while not real[1]:
        with socket.socket(at.family, at.type) as scratch:
            scratch.bind(real)
            chosen = scratch.getsockname()
        try:
            at.bind(chosen)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return
    at.bind(real)


def hear(at: socket.socket) -> tuple[bytes, Real, bool]:
    """The next datagram, where it came from, and whether it has our mark; BlockingIOError."""
    data, control, _, source = at.recvmsg(_LARGEST, _ROOM)
    return data, source, (socket.SOL_IP, _IP_TTL, _MARK) in control


def errors_of(at: socket.socket) -> Iterator[tuple[Real, bytes]]:
    """The targets of datagrams that nobody has heard, and how these begin."""
    with suppress(OSError):
        while True:
            data, _, _, target = at.recvmsg(_LARGEST, _ROOM, socket.MSG_ERRQUEUE)
            yield target, data


def refuse(source: Real, stand: socket.socket, by: socket.socket, data: bytes) -> None:
    """Let a program at `source` know that nobody has heard what it has sent to where `stand` is.

    `by` is a socket with the program's port.
    """
    target = stand.getsockname()
    told = struct.pack("=I4s4s", 0, socket.inet_aton(source[0]), bytes(4))
    control = [(socket.SOL_IP, _IP_PKTINFO, told), (socket.SOL_IP, _IP_TTL, _MARK)]
    with suppress(OSError):  # the kernel has no room: datagrams are lost sometimes
        stand.connect((target[0], _NOBODY))
        try:
            by.sendmsg([data], control, 0, target)
        finally:
            connect_raw(stand.fileno(), _ENDS)
