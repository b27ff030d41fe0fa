"""Addresses: which address of the kernel's loopback stands for which of a LAN.

A socket of a LAN is one of the kernel's, on the loopback, and its address says all that others must know of
it: `127.N.H.K` is on the LAN with the number N, of its host number H. K is `2 * index + low`. The index
says which address of the host it is, or which wildcard: several programs may have one port at several
addresses of a host, as on Linux. `low` marks ports below 1024, which not everybody may bind: they are 1024
more at an address of their own, so that nothing else is there.

What is 128 more in the last byte is the relay's that stands in for the same place.

Sockets of IPv6 are AF_INET6 bound to IPv4-mapped addresses (`::ffff:127.N.H.K`), since the loopback has
only one address of IPv6.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final

__all__ = [
    "ADDRESS4",
    "ADDRESS6",
    "ALSO",
    "ANY",
    "ANY4",
    "ANY6",
    "ECHO",
    "ECHO_LOOPBACK",
    "FIRST_MORE",
    "GATEWAY",
    "INDEX_MAX",
    "LOOPBACK4",
    "LOOPBACK6",
    "PING4",
    "PING4_RAW",
    "PING6",
    "WILDCARDS",
    "Place",
    "is_mapped",
    "parse_real",
    "relayed",
    "unmap",
]

ANY4: Final = 0
"""The wildcard of IPv4, `0.0.0.0`."""
ANY6: Final = 1
"""The wildcard of IPv6 alone, `::` with IPV6_V6ONLY."""
ANY: Final = 2
"""The wildcard of both, `::`."""
LOOPBACK4: Final = 3
LOOPBACK6: Final = 4
ADDRESS4: Final = 5
"""The address of the host."""
ADDRESS6: Final = 6
FIRST_MORE: Final = 7
"""The first of the indexes that are given when they are needed."""
INDEX_MAX: Final = 63
ALSO: Final = range(30, 54)
"""Wildcards of datagram sockets that share a port with another one, and hear what goes to groups."""
ECHO_LOOPBACK: Final = 57
"""Where pings of the own host are answered that go to its loopback."""
ECHO: Final = 58
"""Where other pings are answered."""
PING4: Final = 59
"""Where who pings is."""
PING4_RAW: Final = 60
PING6: Final = 61
WILDCARDS: Final = frozenset((ANY4, ANY6, ANY))
GATEWAY: Final = 254
"""The number of the host that the gateway is."""

_LOW: Final = 1024
_RELAYED: Final = 128
_MAPPED: Final = "::ffff:"
_PORTS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Place:
    """Where a socket is: the number of the LAN, that of the host, the index of the address, and the port."""

    number: int
    host: int
    index: int
    port: int

    def real(self) -> tuple[str, int]:
        """The address of the kernel's that stands for it; port 0 is any that is not low."""
        is_low = 0 < self.port < _LOW
        port = self.port + _LOW if is_low else self.port
        return f"127.{self.number}.{self.host}.{2 * self.index + is_low}", port

    @property
    def is_wildcard(self) -> bool:
        """Whether it hears what goes to several addresses."""
        return self.index in WILDCARDS or self.index in ALSO


def parse_real(address: str, port: int) -> Place | None:
    """The place that an address of the kernel's stands for, or a relay in its stead; None for others."""
    try:
        first, number, host, last = socket.inet_aton(unmap(address))
    except OSError:
        return None
    index, is_low = divmod(last & ~_RELAYED, 2)
    if first != 127 or not (number and host):
        return None
    if is_low:
        port -= _LOW
        if not 0 < port < _LOW:
            return None
    return Place(number, host, index, port) if 0 <= port < _PORTS else None


def relayed(address: str) -> str:
    """The address at which the relay stands in for one of a host: the same host's, 128 more."""
    start, _, last = address.rpartition(".")
    return f"{start}.{int(last) | _RELAYED}"


def is_mapped(address: str) -> bool:
    """Whether this is an IPv4-mapped address of IPv6."""
    return address.startswith(_MAPPED) and "." in address


def unmap(address: str) -> str:
    """An address without what maps it."""
    return address[len(_MAPPED) :] if is_mapped(address) else address
