"""Greeting: how client and server agree on an export, before anything is read ("fixed newstyle")."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Final

__all__ = ["Export", "ProtocolError", "greet", "receive"]

_HELLO: Final = b"NBDMAGIC"
_OPTIONS: Final = 0x49484156454F5054
_OLD: Final = 0x0000420281861253
_REPLY: Final = 0x0003E889045565A9
_FIXED, _NO_ZEROES = 1, 2
_EXPORT_NAME, _GO = 1, 7
_ACK, _INFO = 1, 3
_ERROR: Final = 1 << 31
_UNSUPPORTED: Final = _ERROR | 1
_REASONS: Final = {
    _ERROR | 2: "the server does not let it be had",
    _ERROR | 3: "the server takes the request for invalid",
    _ERROR | 4: "the server cannot do that on its system",
    _ERROR | 5: "the server wants TLS, which is not supported",
    _ERROR | 6: "the server has no export of that name",
    _ERROR | 7: "the server is shutting down",
    _ERROR | 8: "the server insists on its block sizes",
    _ERROR | 9: "the name is too long",
}
_MOST: Final = 1 << 16


class ProtocolError(Exception):
    """What a server has said that makes no sense, or no disk."""


@dataclass(frozen=True, slots=True)
class Export:
    """What a server offers."""

    size: int
    flags: int


def receive(connection: socket.socket, size: int) -> bytes:
    """So many bytes; `ProtocolError` where they end before."""
    pieces = bytearray()
    while len(pieces) < size:
        piece = connection.recv(min(size - len(pieces), 1 << 20))
        if not piece:
            raise ProtocolError("the server has ended the connection")
        pieces += piece
    return bytes(pieces)


def greet(connection: socket.socket, name: str) -> Export:
    """Ask for the export of a name, empty for the default one; `ProtocolError`."""
    magic, kind = struct.unpack(">8sQ", receive(connection, 16))
    if magic != _HELLO or kind not in (_OPTIONS, _OLD):
        raise ProtocolError("that is no NBD server")
    if kind == _OLD:
        size, flags = struct.unpack(">QI124x", receive(connection, 136))
        return Export(size, flags & 0xFFFF)
    (theirs,) = struct.unpack(">H", receive(connection, 2))
    connection.sendall(struct.pack(">I", theirs & (_FIXED | _NO_ZEROES)))
    found = _go(connection, name) if theirs & _FIXED else None
    return found or _by_name(connection, name, short=bool(theirs & _NO_ZEROES))


def _go(connection: socket.socket, name: str) -> Export | None:
    """By NBD_OPT_GO; None if the server does not know that."""
    data = name.encode()
    body = struct.pack(">I", len(data)) + data + struct.pack(">H", 0)
    connection.sendall(struct.pack(">QII", _OPTIONS, _GO, len(body)) + body)
    found: Export | None = None
    while True:
        magic, option, kind, length = struct.unpack(">QIII", receive(connection, 20))
        if magic != _REPLY or option != _GO or length > _MOST:
            raise ProtocolError("the server does not keep to the protocol")
        answer = receive(connection, length)
        if kind == _UNSUPPORTED:
            return None
        if kind & _ERROR:
            said = "".join(one for one in answer.decode(errors="replace") if one.isprintable())
            reason = _REASONS.get(kind, f"the server says no ({kind & 0xFFFF})")
            raise ProtocolError(f"{reason}: {said}" if said else reason)
        if kind == _INFO and answer[:2] == b"\0\0" and len(answer) == 12:
            size, flags = struct.unpack(">QH", answer[2:])
            found = Export(size, flags)
        elif kind == _ACK:
            if found is None:
                raise ProtocolError("the server does not say how large it is")
            return found


def _by_name(connection: socket.socket, name: str, *, short: bool) -> Export:
    data = name.encode()
    connection.sendall(struct.pack(">QII", _OPTIONS, _EXPORT_NAME, len(data)) + data)
    size, flags = struct.unpack(">QH", receive(connection, 10))
    if not short:
        receive(connection, 124)
    return Export(size, flags)
