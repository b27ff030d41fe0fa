"""Adopting: sockets that a program has and its own network has not made.

One that was handed over (SCM_RIGHTS) by another view is another host's, and its address of the kernel's tells
whose. It is read, written and accepted from, tells its names, and sends datagrams to hosts of the LAN; but
it is not bound or connected any more, which is a matter of its own host's addresses. One that has no address
yet is anybody's, and has those of its program from now on.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Final

from diorama.abi.socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM, SOL_IPV6, SocketAddress
from diorama.engine.rawsocket import Sent
from diorama.interfaces.network import Endpoint, refuse
from diorama.modules.networks.lan.addresses import ANY6, PING4, PING4_RAW, PING6, Place, parse_real
from diorama.modules.networks.lan.endpoint import LanEndpoint, StreamEndpoint
from diorama.modules.networks.lan.groups import is_group
from diorama.modules.networks.lan.options import IPV6_V6ONLY
from diorama.modules.networks.lan.ping import PingEndpoint
from diorama.modules.networks.lan.udp import DatagramEndpoint

if TYPE_CHECKING:
    from diorama.modules.networks.lan.plan import Plan

__all__ = ["adopt"]

_PINGS: Final = {PING4: (SOCK_DGRAM, 1), PING4_RAW: (SOCK_RAW, 1), PING6: (SOCK_DGRAM, 58)}


def adopt(plan: Plan, at: socket.socket, family: int) -> Endpoint:
    """The endpoint of a socket that was made elsewhere; EACCES if it is none of this LAN."""
    if family not in (AF_INET, AF_INET6) or at.type not in (SOCK_STREAM, SOCK_DGRAM):
        raise refuse(errno.EACCES)
    address, port = at.getsockname()[:2]
    place = parse_real(address, port)
    if place is None:
        if port:
            raise refuse(errno.EACCES)
        return _new(plan, at, family)
    if place.number != plan.number:
        raise refuse(errno.EACCES)
    return _made(plan, at, family, place)


def _new(plan: Plan, at: socket.socket, family: int) -> Endpoint:
    made = _kind(at)(plan, family, int(at.type), at.proto)
    if family == AF_INET6:
        made.is_v6_only = bool(at.getsockopt(SOL_IPV6, IPV6_V6ONLY))
        at.setsockopt(SOL_IPV6, IPV6_V6ONLY, 0)
    plan.filter(at)
    return made


def _made(plan: Plan, at: socket.socket, family: int, place: Place) -> Endpoint:
    is_ours = place.host == plan.host
    if place.index in _PINGS:
        if not is_ours:
            raise refuse(errno.EACCES)
        return PingEndpoint(plan, family, *_PINGS[place.index])
    kind = _kind(at) if is_ours else _AWAY[int(at.type)]
    made = kind(plan, family, int(at.type), at.proto)
    made.is_v6_only = family == AF_INET6 and place.index == ANY6
    if isinstance(made, DatagramEndpoint) and is_ours:
        made.bound = place
        plan.directory.add(made)
    return made


def _kind(at: socket.socket) -> type[LanEndpoint]:
    return StreamEndpoint if at.type == SOCK_STREAM else DatagramEndpoint


class _Away(LanEndpoint):
    """One of another host."""

    def bind(self, at: socket.socket, address: SocketAddress) -> None:
        raise refuse(errno.EACCES)

    def connect(self, at: socket.socket, address: SocketAddress) -> bytes | None:
        raise refuse(errno.EACCES)

    def listen(self, at: socket.socket, backlog: int) -> None:
        raise refuse(errno.EACCES)


class _AwayStream(_Away, StreamEndpoint):
    """TCP."""


class _AwayDatagram(_Away, DatagramEndpoint):
    """UDP."""

    def sending(self, at: socket.socket, address: SocketAddress) -> Sent:
        text, port = self.check(address)
        if is_group(self.plan, text):
            raise refuse(errno.EACCES)
        destination = self.plan.locate(text)
        if destination.is_loopback or destination.is_outside:
            raise refuse(errno.EACCES)
        return Sent(self.pack(self.plan.reach(destination, port, self.type, self.protocol)))


_AWAY: Final[dict[int, type[LanEndpoint]]] = {SOCK_STREAM: _AwayStream, SOCK_DGRAM: _AwayDatagram}
