"""Control: control data of datagrams, which names addresses, and is of IPv4 on what looks like IPv6."""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, Final

from diorama.abi.socket import AF_INET, AF_INET6, SOL_IP, SOL_IPV6, Inet6Address, InetAddress, parse_address
from diorama.interfaces.network import refuse
from diorama.modules.networks.lan.addresses import LOOPBACK4, LOOPBACK6, is_mapped, parse_real, unmap
from diorama.modules.networks.lan.story import ETH0, LO

if TYPE_CHECKING:
    from diorama.modules.networks.lan.udp import DatagramEndpoint

__all__ = ["given", "told"]

Part = tuple[int, int, bytes]

IP_TOS: Final = 1
IP_TTL: Final = 2
IP_PKTINFO: Final = 8
IP_RECVERR: Final = 11
IP_ORIGDSTADDR: Final = 20
IPV6_RECVERR: Final = 25
IPV6_PKTINFO: Final = 50
IPV6_HOPLIMIT: Final = 52
IPV6_TCLASS: Final = 67
IPV6_ORIGDSTADDR: Final = 74
_ERROR: Final = struct.Struct("=IBBB9x")
"""struct sock_extended_err: errno, origin, type, code, and what is left."""
_ICMP: Final = 2
_ICMP6: Final = 3
_UNREACHABLE: Final = 3
_UNREACHABLE6: Final = 1
_CODES6: Final = {0: 0, 1: 3, 2: 4, 3: 4, 9: 1, 10: 1, 13: 1}
"""Why it was unreachable: what ICMPv6 says for what ICMP says (RFC 4443, 3.1; RFC 792)."""
_SOME_PORT: Final = 1536
"""One that may stand at any address: below 1024 or not."""
_LOOPBACKS: Final = (LOOPBACK4, LOOPBACK6)


def told(endpoint: DatagramEndpoint, at: socket.socket, level: int, kind: int, data: bytes) -> Part:
    """What a program is told in place of what the kernel tells."""
    what = level, kind
    is_ipv6 = endpoint.family == AF_INET6
    if what == (SOL_IP, IP_PKTINFO) and len(data) >= 12:
        text, link = _heard_at(endpoint, socket.inet_ntoa(data[8:12]))
        packed = socket.inet_aton(text) if ":" not in text else data[8:12]
        return level, kind, struct.pack("=I", link) + packed + packed
    if what == (SOL_IPV6, IPV6_PKTINFO) and len(data) >= 20:
        text, link = _heard_at(endpoint, unmap(socket.inet_ntop(AF_INET6, data[:16])))
        return level, kind, _packed6(text) + struct.pack("=I", link)
    if what == (SOL_IP, IP_TTL) and is_ipv6:
        return SOL_IPV6, IPV6_HOPLIMIT, data
    if what == (SOL_IP, IP_TOS) and is_ipv6:
        return SOL_IPV6, IPV6_TCLASS, data[:1] + bytes(3)
    if what in ((SOL_IP, IP_ORIGDSTADDR), (SOL_IPV6, IPV6_ORIGDSTADDR)):
        return _original(endpoint, data)
    if what in ((SOL_IP, IP_RECVERR), (SOL_IPV6, IPV6_RECVERR)):
        return level, kind, _error(endpoint, data)
    return level, kind, data


def _heard_at(endpoint: DatagramEndpoint, real: str) -> tuple[str, int]:
    """Which address of the host a datagram was sent to, and by which link it came."""
    place = parse_real(real, _SOME_PORT)
    if place is None:
        return real, ETH0
    came = getattr(endpoint.plan.heard, "place", None)
    is_loopback = came is not None and came.host == endpoint.plan.host and came.index in _LOOPBACKS
    version = 6 if endpoint.family == AF_INET6 and endpoint.version(place, came) == 6 else 4
    text = endpoint.plan.text(place, version, is_loopback=is_loopback)
    return text, LO if is_loopback or place.host != endpoint.plan.host or _is_loopback(text) else ETH0


def _is_loopback(text: str) -> bool:
    return text == "::1" or text.startswith("127.")


def _packed6(text: str) -> bytes:
    return socket.inet_pton(AF_INET6, text if ":" in text else f"::ffff:{text}")


def _original(endpoint: DatagramEndpoint, data: bytes) -> Part:
    address = parse_address(data)
    if not isinstance(address, (InetAddress, Inet6Address)):
        return SOL_IP, IP_ORIGDSTADDR, data
    place = parse_real(address.host, address.port)
    text, _ = _heard_at(endpoint, unmap(address.host))
    shown = endpoint.show(text, address.port if place is None else place.port)
    if isinstance(shown, InetAddress):
        return SOL_IP, IP_ORIGDSTADDR, shown.pack()
    return SOL_IPV6, IPV6_ORIGDSTADDR, shown.pack()


def _error(endpoint: DatagramEndpoint, data: bytes) -> bytes:
    """An error of the queue, and who has sent it: one of ICMP is one of ICMPv6 for what looks like IPv6."""
    if len(data) < _ERROR.size:
        return data
    head, rest = data[: _ERROR.size], data[_ERROR.size :]
    address = parse_address(rest)
    place = parse_real(getattr(address, "host", ""), _SOME_PORT)
    if place is None:
        return data
    version = 4 if endpoint.family == AF_INET else endpoint.version(place, None)
    _, origin, what, code = _ERROR.unpack(head)
    if version == 6 and (origin, what) == (_ICMP, _UNREACHABLE):
        why = bytes((_ICMP6, _UNREACHABLE6, _CODES6.get(code, _CODES6[1])))
        head = head[:4] + why + head[7:]
    target = getattr(endpoint.target, "host", "")
    text = endpoint.plan.text(place, version, is_loopback=_is_loopback(unmap(target)))
    return head + endpoint.show(text, 0).pack()[: len(rest)]


def given(endpoint: DatagramEndpoint, at: socket.socket, level: int, kind: int, data: bytes) -> Part | None:
    """What the kernel is given in place of what a program gives."""
    what = level, kind
    if what == (SOL_IP, IP_PKTINFO) and len(data) >= 12:
        if not any(data[4:8]):
            return None
        return _from(endpoint, at, socket.inet_ntoa(data[4:8]))
    if what == (SOL_IPV6, IPV6_PKTINFO) and len(data) >= 20:
        if not any(data[:16]):
            return None
        return _from(endpoint, at, socket.inet_ntop(AF_INET6, data[:16]))
    if what == (SOL_IPV6, IPV6_HOPLIMIT) and len(data) >= 4:
        return None if data[:4] == b"\xff" * 4 else (SOL_IP, IP_TTL, data[:4])
    if what == (SOL_IPV6, IPV6_TCLASS) and len(data) >= 4:
        return None if data[:4] == b"\xff" * 4 else (SOL_IP, IP_TOS, data[:4])
    return level, kind, data


def _from(endpoint: DatagramEndpoint, at: socket.socket, text: str) -> Part:
    here = endpoint.here(at)
    index = endpoint.plan.own_index(unmap(text) if is_mapped(text) else text)
    if index is None:
        raise refuse(errno.EINVAL)
    port = here.port if here is not None else 0
    return endpoint.from_address(endpoint.plan.place(endpoint.plan.host, index, port).real()[0])
