"""Plan: the addresses of a LAN as one host of it has them, and where they lead.

What a program names is *located*: the host that has it, and the index of the address there. Who listens at
one of its wildcards can be reached as well as who has the very address; nobody keeps a table of that, since
the kernel knows: an address that cannot be bound is somebody's.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from diorama.interfaces.network import Endpoint, refuse
from diorama.modules.networks.lan.addresses import (
    ADDRESS4,
    ADDRESS6,
    ALSO,
    ANY,
    ANY4,
    ANY6,
    FIRST_MORE,
    GATEWAY,
    LOOPBACK4,
    LOOPBACK6,
    Place,
    parse_real,
)
from diorama.modules.networks.lan.conditions import attach
from diorama.modules.networks.lan.groups import Directory
from diorama.modules.networks.lan.hearing import is_foreign
from diorama.modules.networks.lan.reaching import open_sockets
from diorama.modules.networks.lan.silence import hear, ignore
from diorama.modules.networks.lan.wiring import Wiring

if TYPE_CHECKING:
    from diorama.modules.networks.lan.member import Member

__all__ = ["Destination", "Plan", "is_bound"]


@dataclass(frozen=True, slots=True)
class Destination:
    """What an address of a LAN leads to."""

    host: int
    index: int
    version: int
    text: str
    is_loopback: bool = False
    is_outside: bool = False
    """Whether only the gateway may know the way."""

    def source(self) -> int:
        """The index of the address from which the own host reaches it."""
        if self.is_loopback:
            return LOOPBACK4 if self.version == 4 else LOOPBACK6
        return ADDRESS4 if self.version == 4 else ADDRESS6


class Plan:
    """The addresses of a LAN as one host sees them.  Any thread."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.number: int = member.number
        self.host: int = member.host
        self.binding = threading.RLock()
        """Held while an address is looked at and bound."""
        self.wiring = Wiring(member)
        self._filtered = member.filter()
        """The program that all sockets have."""
        self._ignored: frozenset[int] = frozenset()
        """The hosts that have been cut off from this one at any time."""
        self.directory = Directory(self)
        self.heard = threading.local()
        """Where the message came from that a thread has received last: its `place`."""
        self._more: dict[str, int] = {}
        self._texts: dict[tuple[int, int], str] = {
            (member.host, 4): str(member.address.ip),
            (member.host, 6): str(member.address6.ip),
        }
        self.remember()

    # -- from the program's addresses ---------------------------------------------------------

    def own_index(self, text: str) -> int | None:
        """The index of an address of the own host; None for one of others."""
        if text == "127.0.0.1":
            return LOOPBACK4
        if text == "::1":
            return LOOPBACK6
        for version, index in ((4, ADDRESS4), (6, ADDRESS6)):
            if text == self._texts[self.host, version]:
                return index
        return self._more_index(text) if text.startswith("127.") else None

    def _more_index(self, text: str) -> int:
        with self.binding:
            if text not in self._more:
                index = FIRST_MORE + len(self._more)
                if index >= ALSO.start:
                    raise refuse(errno.EADDRNOTAVAIL)
                self._more[text] = index
            return self._more[text]

    def own_indexes(self, version: int) -> list[int]:
        """The indexes of all addresses of the own host, of one version of IP."""
        if version == 6:
            return [LOOPBACK6, ADDRESS6]
        return [LOOPBACK4, ADDRESS4, *self._more.values()]

    def locate(self, text: str) -> Destination:
        """What an address leads to; EHOSTUNREACH, ENETUNREACH."""
        version = 6 if ":" in text else 4
        if text in ("0.0.0.0", "::"):
            text = "127.0.0.1" if version == 4 else "::1"
        own = self.own_index(text)
        if own is not None:
            is_loopback = own not in (ADDRESS4, ADDRESS6)
            return Destination(self.host, own, version, text, is_loopback)
        index = ADDRESS4 if version == 4 else ADDRESS6
        other = self.member.find(text)
        if other is not None:
            return Destination(other.host, index, version, text)
        address = ip_address(text)
        subnet = (self.member.address if version == 4 else self.member.address6).network
        if address in subnet:
            raise refuse(errno.EHOSTUNREACH)
        return Destination(GATEWAY, index, version, text, is_outside=True)

    def reach(
        self, destination: Destination, port: int, kind: int, protocol: int = 0, *, nobody: int = 1
    ) -> Place:
        """The place where a port of a destination is: that of the address, or of a wildcard that hears it.

        `nobody`: which of these, if nobody has it.
        """
        there = [self.place(destination.host, index, port) for index in self.hearing(destination)]
        self._check(there[0], kind, protocol)
        for place in there:
            if is_bound(kind, place.real(), protocol):
                return place
        return there[nobody]

    def way(
        self, source: tuple[str, int], destination: Destination, port: int, endpoint: Endpoint
    ) -> tuple[str, int]:
        """The address of the kernel's that leads to a port of a destination; ENETUNREACH, EHOSTUNREACH."""
        if not port:  # resolvers connect so, to be told from which address they would send
            return self.place(destination.host, destination.index, port).real()
        protocol = "tcp" if endpoint.type == socket.SOCK_STREAM else "udp"
        if destination.is_outside:
            real = self.member.outside(source, destination.text, port, protocol)
            if real is None:
                raise refuse(errno.ENETUNREACH)
            return real
        # Who is told that nobody has it is found by the address that it was sent from: that of the socket.
        nobody = 1 if protocol == "tcp" else 0
        real = self.reach(destination, port, endpoint.type, endpoint.protocol, nobody=nobody).real()
        return self.through(source, destination.host, real, endpoint)

    def through(
        self, source: tuple[str, int], host: int, real: tuple[str, int], endpoint: Endpoint
    ) -> tuple[str, int]:
        """The address of the kernel's that leads to another, of a host, by a relay if there is one."""
        if not self.is_relayed(host) or endpoint.protocol == socket.IPPROTO_UDPLITE:
            return real
        return self.member.relay(source, real, "tcp" if endpoint.type == socket.SOCK_STREAM else "udp")

    def needs_port(self, destination: Destination) -> bool:
        """Whether somebody else must know the port that a destination is reached from."""
        return destination.is_outside or self.is_relayed(destination.host)

    def is_relayed(self, host: int) -> bool:
        """Whether what goes to a host goes through the keeper now."""
        return host != self.host and self.member.conditions(host).has_relay

    def hearing(self, destination: Destination) -> tuple[int, int, int]:
        """The indexes at which a destination is heard, the nearest first."""
        return destination.index, ANY4 if destination.version == 4 else ANY6, ANY

    def _check(self, place: Place, kind: int, protocol: int) -> None:
        """ECONNREFUSED if a program of the machine's, which is at all addresses, would be taken for it."""
        told = protocol or (socket.IPPROTO_TCP if kind == socket.SOCK_STREAM else socket.IPPROTO_UDP)
        if is_foreign(place.real(), told):
            raise refuse(errno.ECONNREFUSED)

    def rivals(self, index: int) -> list[int]:
        """The indexes at which nobody else may have the port of a socket at this one."""
        if index == ANY:
            return [ANY4, ANY6, *self.own_indexes(4), *self.own_indexes(6)]
        if index == ANY4:
            return [ANY, *self.own_indexes(4)]
        if index == ANY6:
            return [ANY, *self.own_indexes(6)]
        return [ANY, ANY6 if index in (LOOPBACK6, ADDRESS6) else ANY4]

    def place(self, host: int, index: int, port: int) -> Place:
        """A place on this LAN."""
        return Place(self.number, host, index, port)

    def filter(self, at: socket.socket) -> None:
        """Let a socket hear only whom its host can hear now."""
        if at.type == socket.SOCK_STREAM:
            self._silence(at)
            return
        attach(at, self.member.filter())

    def _silence(self, at: socket.socket) -> None:
        cut = self.member.silent()
        hear(at, self.number, self._ignored - cut)
        self._ignored |= cut
        ignore(at, self.number, cut)

    def filter_all(self, own: Iterable[socket.socket]) -> None:
        """The same for all sockets that the programs of the host have, and some of ours."""
        program = self.member.filter()
        if program == self._filtered and not (self._ignored or self.member.silent()):
            return
        self._filtered = program
        for at in own:
            self.filter(at)
        for at in open_sockets():
            with at:
                place = parse_real(*at.getsockname()[:2])
                if place is None or (place.number, place.host) == (self.number, self.host):
                    self.filter(at)

    # -- to the program's addresses -----------------------------------------------------------

    def text(self, place: Place, version: int, *, is_loopback: bool = False) -> str:
        """The address of a place; one of a wildcard is that of the version, which may be the loopback's."""
        index = place.index
        if place.is_wildcard:
            index = (LOOPBACK4 if is_loopback else ADDRESS4) + (version == 6)
        if index == LOOPBACK4:
            return "127.0.0.1"
        if index == LOOPBACK6:
            return "::1"
        if index not in (ADDRESS4, ADDRESS6):
            return next((text for text, more in self._more.items() if more == index), "127.0.0.1")
        return self.address_of(place.host, 4 if index == ADDRESS4 else 6)

    def remember(self) -> None:
        """Those who are on the LAN now: what they have sent may be read when they have left."""
        for number, host in self.member.hosts().items():
            self._texts[number, 4] = str(host.address.ip)
            self._texts[number, 6] = str(host.address6.ip)

    def address_of(self, number: int, version: int) -> str:
        """The address of a host, as long as it is known that it has been there."""
        host = self.member.hosts().get(number)
        if host is not None:
            return str((host.address if version == 4 else host.address6).ip)
        known = self._texts.get((number, version))
        if known is not None:
            return known
        if number == GATEWAY:
            return str((self.member.gateway if version == 4 else self.member.gateway6).ip)
        subnet = (self.member.address if version == 4 else self.member.address6).network
        return str(subnet.network_address + number)


def is_bound(kind: int, real: tuple[str, int], protocol: int = 0) -> bool:
    """Whether somebody has an address of the kernel's: for SOCK_STREAM, somebody who listens there."""
    with socket.socket(socket.AF_INET, kind, protocol) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(real)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
    return False
