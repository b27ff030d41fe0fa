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

from diorama.abi.socket import (
    AF_INET,
    SOL_IP,
    SOL_IPV6,
    Inet6Address,
    InetAddress,
    SocketAddress,
    parse_address,
)
from diorama.engine.rawsocket import Sent
from diorama.interfaces.network import refuse
from diorama.modules.networks.lan import control, groups
from diorama.modules.networks.lan.addresses import (
    ADDRESS4,
    ADDRESS6,
    ALSO,
    ANY,
    ANY6,
    GATEWAY,
    LOOPBACK4,
    LOOPBACK6,
    WILDCARDS,
    Place,
    parse_real,
    unmap,
)
from diorama.modules.networks.lan.endpoint import LanEndpoint
from diorama.modules.networks.lan.groups import is_broadcast, is_group
from diorama.modules.networks.lan.plan import is_bound
from diorama.modules.networks.lan.story import LO

if TYPE_CHECKING:
    from diorama.modules.networks.lan.plan import Destination, Plan

__all__ = ["DatagramEndpoint"]

IP_PKTINFO: Final = 8
IPV6_PKTINFO: Final = 50
_LOOPBACKS: Final = (LOOPBACK4, LOOPBACK6)


class DatagramEndpoint(LanEndpoint):
    """UDP."""

    has_control = True

    def __init__(self, plan: Plan, family: int, type: int, protocol: int) -> None:
        super().__init__(plan, family, type, protocol)
        self.bound: Place | None = None
        self.groups: set[str] = set()
        """The groups that it has joined."""
        self.group = ""
        """The group that it is bound to."""
        self.hears_all = True
        """Whether it hears what any socket of the host has joined (IP_MULTICAST_ALL)."""
        self.group_link = 0
        """By which link it sends to groups."""

    # -- several ------------------------------------------------------------------------------

    def hears(self, text: str, others: bool) -> bool:
        """Whether it hears a group, which others of the host may have joined, or everybody hears."""
        if self.bound is None or not self.bound.is_wildcard or (self.group and self.group != text):
            return False
        if ":" not in text and (self.bound.index == ANY6 or self.is_v6_only):
            return False
        if ":" in text and self.family == AF_INET:
            return False
        return text in self.groups or (others and self.hears_all)

    def index_of(self, at: socket.socket, text: str, *, is_mapped: bool) -> int:
        if text not in ("0.0.0.0", "::") and is_group(self.plan, text):
            self.group = text
            return self.wildcard()
        return super().index_of(at, text, is_mapped=is_mapped)

    def index_for(self, at: socket.socket, index: int, port: int) -> int:
        if index not in WILDCARDS:
            return index
        is_shared = at.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) and is_bound(
            self.type, self.plan.place(self.plan.host, index, port).real(), self.protocol
        )
        if not (is_shared or self.group):
            return index
        if not self.group:
            self.check_shared(at, index, port)
        for also in ALSO:
            if not is_bound(self.type, self.plan.place(self.plan.host, also, port).real(), self.protocol):
                return also
        raise refuse(errno.EADDRINUSE)

    def _show_wildcard(self, here: Place) -> SocketAddress:
        return self.show(self.group, here.port) if self.group else super()._show_wildcard(here)

    def bind_index(self, at: socket.socket, index: int, port: int) -> None:
        super().bind_index(at, index, port)
        self.bound = self.here(at)
        self.plan.directory.add(self)

    def _to_group(self, at: socket.socket, text: str, port: int) -> Sent:
        """A datagram for several: to each host but for what the socket says otherwise."""
        plan, is_six = self.plan, ":" in text
        if is_broadcast(plan, text) and not at.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST):
            raise refuse(errno.EACCES)
        if self.here(at) is None:
            self.bind_index(at, self.wildcard(), 0)
        level, loop, hops = (SOL_IPV6, 19, 18) if is_six else (SOL_IP, 34, 33)
        hosts = [] if self.group_link == LO or not at.getsockopt(level, hops) else [*plan.member.hosts()]
        hosts = [host for host in hosts if host != plan.host]
        if is_broadcast(plan, text) or at.getsockopt(level, loop):
            hosts.append(plan.host)
        source = (LOOPBACK4 if self.group_link == LO else ADDRESS4) + is_six
        places = plan.directory.everywhere(text, port, hosts)
        here = self.here(at)
        assert here is not None
        control = [self.from_address(plan.place(plan.host, source, here.port).real()[0])]
        return Sent(None, control, drop=True, copies=[self.pack(place) for place in places])

    def connect(self, at: socket.socket, address: SocketAddress) -> bytes | None:
        """Now: that need not wait, and the way that it leads may be another one at any moment (`wiring`)."""
        connect = super().connect

        def find() -> bytes:
            found = connect(at, address)
            assert found is not None
            return found

        self.plan.wiring.connect(at, find)
        return None

    def way(self, at: socket.socket, destination: Destination, port: int) -> tuple[str, int]:
        if destination.is_outside or not port:
            return super().way(at, destination, port)
        real = self.plan.reach(destination, port, self.type, self.protocol).real()
        address, own = at.getsockname()[:2]
        return self.plan.through((unmap(address), own), destination.host, real, self)

    # -- one ----------------------------------------------------------------------------------

    def sending(self, at: socket.socket, address: SocketAddress) -> Sent:
        text, port = self.check(address)
        if not port:
            raise refuse(errno.EINVAL)
        if is_group(self.plan, text):
            return self._to_group(at, text, port)
        destination = self.find(at, text)
        here = self.here(at)
        if here is None:
            self.bind_index(at, self.wildcard(), 0)
            here = self.here(at)
            assert here is not None
        elif here.index in _LOOPBACKS and not destination.is_loopback:
            raise refuse(errno.EINVAL)
        real = super().way(at, destination, port)
        place = parse_real(*real)
        assert place is not None
        return Sent(self.pack_real(*real), self._source(here, place, destination))

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
        there = self.heard(address)
        if there is None or self.is_deaf_to(there):
            return None
        outside = self._outside(there, parse_address(address))
        if outside is not None:
            return outside
        here = self.here(at)
        self.plan.heard.place = there
        version = self.version(here, there)
        is_loopback = there.host == self.plan.host and here is not None and here.index in _LOOPBACKS
        return self.show(self.plan.text(there, version, is_loopback=is_loopback), there.port)

    def heard(self, address: bytes) -> Place | None:
        """The place that an address of the kernel's stands for; None if it is not on this LAN."""
        parsed = parse_address(address)
        there = parse_real(getattr(parsed, "host", ""), getattr(parsed, "port", 0))
        return there if there is not None and there.number == self.plan.number else None

    def _outside(self, there: Place, address: SocketAddress) -> SocketAddress | None:
        if there.host != GATEWAY or not isinstance(address, (InetAddress, Inet6Address)):
            return None
        found = self.plan.member.outside_name((unmap(address.host), address.port))
        return None if found is None else self.show(*found)

    def version(self, here: Place | None, there: Place | None) -> int:
        """Which version of IP a datagram is of."""
        if self.family == AF_INET:
            return 4
        for place in (here, there):
            if place is not None and place.index != ANY and place.index not in ALSO:
                return 6 if place.index in (ANY6, LOOPBACK6, ADDRESS6) else 4
        return 6

    # -- control data -------------------------------------------------------------------------

    def get_option(self, at: socket.socket, level: int, option: int, size: int) -> bytes | None:
        getter = groups.GETTERS.get((level, option))
        found: bytes | None = None if getter is None else getter(self, at, size)
        return super().get_option(at, level, option, size) if found is None else found

    def set_option(self, at: socket.socket, level: int, option: int, value: bytes) -> bool:
        setter = groups.SETTERS.get((level, option))
        return super().set_option(at, level, option, value) if setter is None else setter(self, at, value)

    def told(self, at: socket.socket, level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
        return control.told(self, at, level, kind, data)

    def given(self, at: socket.socket, level: int, kind: int, data: bytes) -> tuple[int, int, bytes] | None:
        return control.given(self, at, level, kind, data)
