"""Socket diagnostics: the messages of sock_diag(7), by which `ss` lists sockets of IPv4 and IPv6.

Ports and addresses are in the order of the network, all else in that of the machine.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, Self

__all__ = ["DiagId", "DiagRequest", "pack_socket"]

SOCK_DIAG_BY_FAMILY = 20
SOCK_DESTROY = 21

INET_DIAG_SHUTDOWN = 8
INET_DIAG_PROTOCOL = 10
INET_DIAG_SKV6ONLY = 11

NO_COOKIE = 0xFFFFFFFFFFFFFFFF

_ID = struct.Struct("!HH16s16s")
_REST_OF_ID = struct.Struct("=IQ")
_REQUEST = struct.Struct("=BBBxI")
_SOCKET = struct.Struct("=BBBB")
_REST_OF_SOCKET = struct.Struct("=IIIII")


class DiagId(NamedTuple):
    """A `struct inet_diag_sockid`: two ports and addresses, a link, and the cookie of a socket."""

    local_port: int = 0
    peer_port: int = 0
    local: bytes = bytes(16)
    peer: bytes = bytes(16)
    link: int = 0
    cookie: int = NO_COOKIE

    def pack(self) -> bytes:
        """The bytes."""
        return _ID.pack(*self[:4]) + _REST_OF_ID.pack(self.link, self.cookie)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """The value of these bytes, of which there must be enough."""
        return cls(*_ID.unpack_from(data), *_REST_OF_ID.unpack_from(data, _ID.size))


class DiagRequest(NamedTuple):
    """A `struct inet_diag_req_v2`: which sockets are asked for; `states` is a mask of 1 << state."""

    family: int
    protocol: int
    extensions: int
    states: int
    id: DiagId

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """The value of these bytes; ValueError if they are too few."""
        if len(data) < _REQUEST.size + _ID.size + _REST_OF_ID.size:
            raise ValueError("short inet_diag_req_v2")
        family, protocol, extensions, states = _REQUEST.unpack_from(data)
        return cls(family, protocol, extensions, states, DiagId.unpack(data[_REQUEST.size :]))


def pack_socket(family: int, state: int, id: DiagId, queued: tuple[int, int], uid: int, inode: int) -> bytes:
    """A `struct inet_diag_msg`; `queued` is what has come and what is to go."""
    rest = _REST_OF_SOCKET.pack(0, *queued, uid, inode & 0xFFFFFFFF)
    return _SOCKET.pack(family, state, 0, 0) + id.pack() + rest
