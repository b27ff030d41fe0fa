"""UDP: datagrams of a LAN.

Whom a datagram goes to is found for each (`Plan.reach`). It comes from the address that its socket is bound
to. That tells the receiver enough, unless both have wildcards and speak both versions of IP, or are on one
host, which has an address and a loopback: then the sender says from which address it comes (IP_PKTINFO).
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, Final

from diorama.abi.socket import AF_INET, SOL_IP, SOL_IPV6, SocketAddress, parse_address
from diorama.interfaces.network import refuse
from diorama.interfaces.rawsocket import Sent
from diorama.modules.networks.lan import control
from diorama.modules.networks.lan.addresses import (
    ADDRESS6,
    ANY,
    ANY6,
    LOOPBACK4,
    LOOPBACK6,
    Place,
    parse_real,
)
from diorama.modules.networks.lan.endpoint import LanEndpoint

if TYPE_CHECKING:
    from diorama.modules.networks.lan.plan import Destination

__all__ = ["DatagramEndpoint"]

IP_PKTINFO: Final = 8
IPV6_PKTINFO: Final = 50
_LOOPBACKS: Final = (LOOPBACK4, LOOPBACK6)


class DatagramEndpoint(LanEndpoint):
    """UDP."""

    has_control = True

    def sending(self, at: socket.socket, address: SocketAddress) -> Sent:
        text, port = self.check(address)
        if not port:
            raise refuse(errno.EINVAL)
        destination = self.find(at, text)
        here = self.here(at)
        if here is None:
            self.bind_index(at, self.wildcard(), 0)
            here = self.here(at)
            assert here is not None
        elif here.index in _LOOPBACKS and not destination.is_loopback:
            raise refuse(errno.EINVAL)
        place = self.plan.reach(destination, port, self.type, self.protocol)
        real = self.relayed(here, place, destination)
        return Sent(self.pack_real(*real), self._source(here, place, destination))

    def relayed(self, here: Place, place: Place, destination: Destination) -> tuple[str, int]:
        """Where the kernel is to send it."""
        return place.real()

    def _source(self, here: Place, place: Place, destination: Destination) -> list[tuple[int, int, bytes]]:
        """Control data that says where a datagram comes from, where that is to be said."""
        if not (here.is_wildcard and place.is_wildcard):
            return []
        if place.host != self.plan.host and not here.index == place.index == ANY:
            return []
        source = Place(self.plan.number, self.plan.host, destination.source(), here.port)
        return [self.from_address(source.real()[0])]

    def from_address(self, host: str) -> tuple[int, int, bytes]:
        """Control data: a datagram is to come from this address of the kernel's."""
        packed = socket.inet_aton(host)
        if self.family == AF_INET:
            return SOL_IP, IP_PKTINFO, struct.pack("=I4s4s", 0, packed, bytes(4))
        return SOL_IPV6, IPV6_PKTINFO, bytes(10) + b"\xff\xff" + packed + bytes(4)

    def received(self, at: socket.socket, address: bytes) -> SocketAddress | None:
        parsed = parse_address(address)
        there = parse_real(getattr(parsed, "host", ""), getattr(parsed, "port", 0))
        here = self.here(at)
        if there is None or there.number != self.plan.number:
            return None
        self.plan.heard.place = there
        version = self.version(here, there)
        is_loopback = there.host == self.plan.host and here is not None and here.index in _LOOPBACKS
        return self.show(self.plan.text(there, version, is_loopback=is_loopback), there.port)

    def version(self, here: Place | None, there: Place | None) -> int:
        """Which version of IP a datagram is of."""
        if self.family == AF_INET:
            return 4
        for place in (here, there):
            if place is not None and place.index != ANY:
                return 6 if place.index in (ANY6, LOOPBACK6, ADDRESS6) else 4
        return 6

    # -- control data -------------------------------------------------------------------------

    def told(self, at: socket.socket, level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
        return control.told(self, at, level, kind, data)

    def given(self, at: socket.socket, level: int, kind: int, data: bytes) -> tuple[int, int, bytes] | None:
        return control.given(self, at, level, kind, data)
