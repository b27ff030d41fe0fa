"""Settings: the options of a socket of a packet stack, as getsockopt(2) tells them.

lwIP is told of those that mean something to it; what the kernel knows of a socket of AF_UNIX too is left to
it. Options that neither knows are refused: ENOPROTOOPT.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final

from diorama.interfaces.network import refuse

__all__ = ["Settings"]

_IP: Final = socket.IPPROTO_IP
_IPV6: Final = 41
_TCP: Final = socket.IPPROTO_TCP
_SOL: Final = socket.SOL_SOCKET
_RAW: Final = 255
_ICMPV6: Final = 58


def _number(value: int) -> bytes:
    return struct.pack("i", value)


_TOLD: Final[dict[tuple[int, int], bytes]] = {
    (_SOL, socket.SO_REUSEADDR): _number(0),
    (_SOL, socket.SO_REUSEPORT): _number(0),
    (_SOL, socket.SO_KEEPALIVE): _number(0),
    (_SOL, socket.SO_BROADCAST): _number(0),
    (_SOL, socket.SO_LINGER): struct.pack("ii", 0, 0),
    (_SOL, socket.SO_OOBINLINE): _number(0),
    (_SOL, socket.SO_DONTROUTE): _number(0),
    (_SOL, socket.SO_SNDBUF): _number(212992),
    (_SOL, socket.SO_RCVBUF): _number(212992),
    (_TCP, socket.TCP_NODELAY): _number(0),
    (_TCP, socket.TCP_MAXSEG): _number(1460),
    (_TCP, socket.TCP_CORK): _number(0),
    (_TCP, socket.TCP_QUICKACK): _number(1),
    (_TCP, socket.TCP_KEEPIDLE): _number(7200),
    (_TCP, socket.TCP_KEEPINTVL): _number(75),
    (_TCP, socket.TCP_KEEPCNT): _number(9),
    (_TCP, socket.TCP_DEFER_ACCEPT): _number(0),
    (_IP, socket.IP_TOS): _number(0),
    (_IP, socket.IP_TTL): _number(255),
    (_IP, socket.IP_MULTICAST_TTL): _number(1),
    (_IP, socket.IP_MULTICAST_LOOP): _number(1),
    (_IP, 11): _number(0),  # IP_RECVERR: the queue of errors is always empty
    (_IPV6, 25): _number(0),  # IPV6_RECVERR
    (_IPV6, 26): _number(0),  # IPV6_V6ONLY
    (_IPV6, 16): _number(255),  # IPV6_UNICAST_HOPS
    (_IPV6, 18): _number(1),  # IPV6_MULTICAST_HOPS
    (_IPV6, 19): _number(1),  # IPV6_MULTICAST_LOOP
    (_IPV6, 67): _number(0),  # IPV6_TCLASS
    (_RAW, 1): b"",  # ICMP_FILTER: what is not wanted comes nevertheless
    (_ICMPV6, 1): b"",  # ICMP6_FILTER
}
"""What is told before anybody has set it: how it is, with lwIP."""
_ACTS: Final = frozenset({
    (_IP, socket.IP_ADD_MEMBERSHIP),
    (_IP, socket.IP_DROP_MEMBERSHIP),
    (_IPV6, 20),
    (_IPV6, 21),
})
"""Not a value but a deed."""
_SILENT: Final = frozenset({
    (_SOL, socket.SO_SNDBUF),
    (_SOL, socket.SO_RCVBUF),
    (_TCP, socket.TCP_CORK),
    (_TCP, socket.TCP_QUICKACK),
    (_TCP, socket.TCP_DEFER_ACCEPT),
    (_IP, 11),
    (_IPV6, 25),
    (_RAW, 1),
    (_ICMPV6, 1),
})
"""Hints that lwIP has no use for."""
_DOUBLED: Final = frozenset({(_SOL, socket.SO_SNDBUF), (_SOL, socket.SO_RCVBUF)})
_LEAST: Final = 4608


class Settings:
    """The options of one socket."""

    def __init__(self, family: int, type: int, protocol: int) -> None:
        self._is_stream = type == socket.SOCK_STREAM
        self._family = family
        self._set: dict[tuple[int, int], bytes] = {}

    def copy(self) -> Settings:
        """Those of a connection that is accepted: it has its listener's."""
        made = Settings(self._family, socket.SOCK_STREAM, 0)
        made._set = dict(self._set)
        return made

    def _check(self, level: int, option: int) -> None:
        known = (level, option) in _TOLD or (level, option) in _ACTS
        is_tcp, is_ipv6 = self._is_stream, self._family == socket.AF_INET6
        if not known or (level == _TCP and not is_tcp) or (level == _IPV6 and not is_ipv6):
            raise refuse(errno.ENOPROTOOPT)

    def get(self, level: int, option: int) -> bytes | None:
        """The value of an option; None if the kernel knows it."""
        if level == _SOL and (level, option) not in _TOLD:
            return None
        self._check(level, option)
        return self._set.get((level, option), _TOLD.get((level, option), b""))

    def set(self, level: int, option: int, value: bytes) -> tuple[bool, bool]:
        """An option is set: whether that is all (the kernel need not hear of it), whether lwIP must."""
        if level == _SOL and (level, option) not in _TOLD:
            return False, False
        self._check(level, option)
        key = level, option
        if key not in _ACTS:
            if key in _DOUBLED:
                value = _number(max(_LEAST, 2 * int.from_bytes(value[:4], "little", signed=True)))
            elif len(value) < 4 and level != _IP:
                raise refuse(errno.EINVAL)
            self._set[key] = value
        return True, key not in _SILENT
