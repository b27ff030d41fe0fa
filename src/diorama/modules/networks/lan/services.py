"""Services: what the keeper of a LAN does for its hosts while they talk to each other and to others."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final

from diorama.errors import UsageError
from diorama.modules.networks.lan.addresses import (
    ADDRESS4,
    ADDRESS6,
    ANY6,
    GATEWAY,
    Place,
    parse_real,
    relayed,
)
from diorama.modules.networks.lan.conditions import Conditions, conditions_between, name_of
from diorama.modules.networks.lan.datagrams import LONGEST_QUEUE, Datagrams
from diorama.modules.networks.lan.echo import GatewayEcho
from diorama.modules.networks.lan.gateway import Gateway
from diorama.modules.networks.lan.hearing import is_heard
from diorama.modules.networks.lan.loop import Loop
from diorama.modules.networks.lan.pcap import Capture, End, TcpTap
from diorama.modules.networks.lan.pipe import Pipes
from diorama.modules.networks.lan.publishing import Publishing, candidates
from diorama.modules.networks.lan.refusing import Refusal
from diorama.modules.networks.lan.relay import Connection, Doors, Real, Way, beside
from diorama.modules.networks.lan.resolver import Resolver, has_dns
from diorama.modules.networks.lan.roster import gateway_record
from diorama.modules.networks.lan.wire import Pinged, Published, State

__all__ = ["Services"]

_MOST: Final = 10_000


class Services:
    """Those of one LAN.  On the loop's thread."""

    def __init__(self, loop: Loop, state: Callable[[], State]) -> None:
        self._loop, self._state = loop, state
        self._pipes = Pipes(self._conditions)
        self._doors = Doors()
        self._connections: set[Connection] = set()
        self._refusals: dict[tuple[Real, Real], Refusal] = {}
        self._reasons: dict[Real, int] = {}
        self._datagrams = Datagrams(loop, self._pipes, self._passed)
        self._gateway = Gateway(loop, self._go_out, self._datagrams.refuse)
        self._publishing = Publishing(loop, state, self._come_in, self._way_in)
        self._resolver = Resolver(loop, state, self._gateway.may_ask, self._gateway.learn)
        self._capture: Capture | None = None
        self._echo = GatewayEcho(loop, state, self._conditions, self.pinged)

    def start(self) -> list[str]:
        """There is a LAN now: what its users should be told."""
        try:
            self._echo.start(self._state().number)
        except OSError as error:
            return [f"its gateway answers no ping: {error.strerror}", *self._start_names()]
        return self._start_names()

    def _start_names(self) -> list[str]:
        if not has_dns():
            return ["names are not served: dnspython is missing (pip install 'diorama[net]')"]
        try:
            self._resolver.start(self._state().number)
        except OSError as error:
            return [f"names are not served: {error.strerror}"]
        return []

    def prepare(self, state: State, *, again: bool = False) -> None:
        """Have what a state wants that may fail; `UsageError` leaves all as it was."""
        capture = self._capture
        if state.pcap != (capture.path if capture else ""):
            capture = Capture(state.pcap, state.number, again=again) if state.pcap else None
        try:
            self._publishing.prepare(state)
        except UsageError:
            if capture is not None and capture is not self._capture:
                capture.close()
            raise
        if self._capture is not None and capture is not self._capture:
            self._capture.close()
        self._capture = capture

    def follow(self) -> None:
        """The state has changed."""
        self._pipes.refresh()
        for connection in [*self._connections]:
            connection.refresh()
        self._gateway.follow(self._state().gateway)
        self._publishing.follow(self._state())

    def _conditions(self, one: int, other: int) -> Conditions:
        state = self._state()
        return conditions_between(state, name_of(state, one), name_of(state, other))

    # -- between hosts ------------------------------------------------------------------------

    def relay(self, source: Real, target: Real, protocol: str) -> Real:
        """Where to connect or send to in place of a target; `UsageError`."""
        one, other = self._check(source), self._check(target)
        try:
            if protocol == "udp":
                return self._datagrams.ask(source, target)
            # A program of the machine's that is at all addresses is nobody here.
            targets = [target] if is_heard(target, socket.IPPROTO_TCP) else []
            door = relayed(target[0]), target[1]
            tap = self._tap(self._end(one, other), self._end(other, one))
            self._connect(source, door, targets, beside(source), (one.host, other.host), tap)
        except OSError as error:
            raise UsageError(f"no relay to {target}: {error}", error.errno or errno.EIO) from None
        return door

    def _check(self, real: Real) -> Place:
        place = parse_real(*real)
        if place is None or place.number != self._state().number or not place.port:
            raise UsageError(f"{real} is not of this LAN", errno.EINVAL)
        return place

    def _connect(
        self,
        source: Real,
        door: Real,
        targets: list[Real],
        make: Callable[[], socket.socket],
        ends: tuple[int, int],
        tap: TcpTap | None,
    ) -> None:
        way = Way(targets, self._pipes.between(*ends), self._pipes.between(*reversed(ends)), make, tap)
        self._reasons.pop(source, None)
        refusal = self._refusals.pop((source, door), None)
        if refusal is not None:
            refusal.cancel()
        gone = self._is_gone
        self._connections.add(Connection(self._loop, way, gone, doors=self._doors, real=door, source=source))

    def _is_gone(self, connection: Connection) -> None:
        """A connection has ended; who waits for one that could not be made is told."""
        self._connections.discard(connection)
        source, _ = connection.ends
        if connection.code:
            _limit(self._reasons)
            self._reasons[source] = connection.code
        refusal = connection.refuse()
        if refusal is not None:
            _limit(self._refusals)
            self._refusals[connection.ends] = refusal

    def why(self, source: Real) -> int:
        """The errno with which the last connection from there could not be made; 0: there is none."""
        return self._reasons.pop(source, 0)

    # -- to the outside and from there ----------------------------------------------------------

    def outside(self, source: Real, address: str, port: int, protocol: str) -> Real | None:
        """Where to connect or send to in place of an address outside; None if nobody may go there."""
        here = self._check(source)
        if not self._gateway.allows(address, port, protocol):
            return None
        try:
            stand = self._gateway.stand(here.number, address, port, protocol)
            if protocol != "udp":
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                tap = self._tap(self._end(here, None, address), End(GATEWAY, address, port))
                ends = here.host, GATEWAY
                self._connect(source, stand, [(address, port)], lambda: socket.socket(family), ends, tap)
        except OSError as error:
            raise UsageError(f"no way to {address}: {error}", error.errno or errno.EIO) from None
        return stand

    def _go_out(
        self, data: bytes | None, source: Real, outside: Real, call: Callable[[], None], *, forth: bool
    ) -> None:
        """As `gateway.Carry`."""
        place = parse_real(*source)
        if place is None:
            return
        host, there = self._end(place, None, outside[0]), End(GATEWAY, *outside)
        if self._capture is not None and data is not None:
            self._capture.datagram(*((host, there) if forth else (there, host)), data)
        ends = (place.host, GATEWAY) if forth else (GATEWAY, place.host)
        pipe = self._pipes.between(*ends)
        if not pipe.conditions.has_relay:
            call()
        elif pipe.waits <= LONGEST_QUEUE:
            self._loop.at(pipe.arrival(len(data or b"")), call)

    def _way_in(self, source: Real, target: Real) -> Real:
        """Where a datagram from a published port is sent in place of an address of a host."""
        place = parse_real(*target)
        if place is None or not self._conditions(GATEWAY, place.host).has_relay:
            return target
        return self._datagrams.ask(source, target)

    def _come_in(self, client: socket.socket, published: Published) -> None:
        """Somebody has connected to a published port."""
        state = self._state()
        host = next((host for host in state.hosts if host.name == published.host), None)
        if host is None:
            _reset(client)
            return
        make = beside(Place(state.number, GATEWAY, ADDRESS4, 0).real())
        there = candidates(state.number, host.host, published.target)
        targets = [real for real in there if is_heard(real, socket.IPPROTO_TCP)]
        if not targets:
            _reset(client)
            return
        source = End(GATEWAY, gateway_record(state).address, client.getpeername()[1])
        tap = self._tap(source, End(host.host, host.address, published.target))
        forth, back = self._pipes.between(GATEWAY, host.host), self._pipes.between(host.host, GATEWAY)
        way = Way(targets, forth, back, make, tap)
        self._connections.add(Connection(self._loop, way, self._connections.discard, client=client))

    # -- what is written down -------------------------------------------------------------------

    def _tap(self, client: End, server: End) -> TcpTap | None:
        return None if self._capture is None else TcpTap(self._capture, client, server)

    def _passed(self, source: Real, target: Real, data: bytes) -> None:
        """A datagram has set out."""
        one, other = parse_real(*source), parse_real(*target)
        if self._capture is not None and one is not None and other is not None:
            self._capture.datagram(self._end(one, other), self._end(other, one), data)

    def pinged(self, ping: Pinged) -> None:
        """A ping has, or its answer."""
        if self._capture is not None:
            known = {host.address: host.host for host in self._state().hosts}
            known |= {host.address6: host.host for host in self._state().hosts}
            source, target = (End(known.get(text, GATEWAY), text) for text in (ping.source, ping.target))
            self._capture.echo(source, target, ping.body, is_reply=ping.is_reply)

    def _end(self, place: Place, other: Place | None, outside: str = "") -> End:
        """A place as programs see it; of which version of IP, if it has both, its other end says."""
        state = self._state()
        record = next((host for host in state.hosts if host.host == place.host), gateway_record(state))
        is6 = bool(outside) and ip_address(outside).version == 6
        for one in (place, other):
            is6 = is6 or (one is not None and one.index in (ADDRESS6, ANY6))
        return End(place.host, record.address6 if is6 else record.address, place.port)


def _limit(known: dict[Any, Any]) -> None:
    """Forget the oldest of many."""
    if len(known) >= _MOST:
        del known[next(iter(known))]


def _reset(client: socket.socket) -> None:
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
