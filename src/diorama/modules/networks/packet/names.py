"""Names: what sockets of AF_UNIX are called that stand for a connection or a peer of a packet stack.

They are abstract, so they go when their sockets do, and begin with a key that only one stack has. The name
of a peer tells its address, in as many bytes as an address of its family has room for: for who gives
recvfrom(2) no more room is told no more of it.

    NUL, key (3 bytes), number of the socket (4)
    NUL, key, number, IPv4 address (4), port (2)       as large as a `struct sockaddr_in`
    NUL, key, number, IPv6 address (16), port (2)      as large as a `struct sockaddr_in6`

The zone of a link-local address stands in bytes of it that are always zero.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

__all__ = ["KEY_SIZE", "name_of", "parse_name"]

KEY_SIZE: Final = 3
_BEGIN: Final = struct.Struct(f"!x{KEY_SIZE}sI")
_ENDS: Final = {_BEGIN.size + 6: socket.AF_INET, _BEGIN.size + 18: socket.AF_INET6}
_LINK_LOCAL: Final = b"\xfe\x80"


def name_of(key: bytes, number: int, address: tuple[str, int, int] | None = None) -> bytes:
    """The name of our side of a socket, or of a peer of it (host, port, zone)."""
    name = _BEGIN.pack(key, number)
    if address is None:
        return name
    host, port, scope = address
    packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    if packed[:2] == _LINK_LOCAL:
        packed = packed[:2] + scope.to_bytes(2, "big") + packed[4:]
    return name + packed + port.to_bytes(2, "big")


def parse_name(key: bytes, name: bytes) -> tuple[int, tuple[str, int, int] | None] | None:
    """The number and the address of a peer that a name of this stack tells; None for one of somebody else."""
    if len(name) < _BEGIN.size or name[: 1 + KEY_SIZE] != b"\0" + key:
        return None
    number = _BEGIN.unpack_from(name)[1]
    if len(name) == _BEGIN.size:
        return number, None
    family = _ENDS.get(len(name))
    if family is None:
        return None
    packed, port, scope = name[_BEGIN.size : -2], int.from_bytes(name[-2:], "big"), 0
    if family == socket.AF_INET6 and packed[:2] == _LINK_LOCAL:
        scope = int.from_bytes(packed[2:4], "big")
        packed = packed[:2] + bytes(2) + packed[4:]
    return number, (socket.inet_ntop(family, packed), port, scope)
