"""Publishing: ports of the machine that lead to hosts of a LAN.

Who comes in is the gateway to the host. A host that is not there, or does not listen, resets who has
connected.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import Final

from diorama.errors import UsageError
from diorama.modules.networks.lan.addresses import ADDRESS4, ANY, ANY4, GATEWAY, Place
from diorama.modules.networks.lan.hearing import is_heard
from diorama.modules.networks.lan.loop import READ, Loop
from diorama.modules.networks.lan.relay import Real
from diorama.modules.networks.lan.wire import Published, State

__all__ = ["Publishing", "candidates", "parse_published"]

_PATTERN: Final = re.compile(
    r"(?:(?P<address>\[[^]]+\]|[0-9.]+):)?(?P<port>\d+)=(?P<host>[^:]+):(?P<target>\d+)(?:/(?P<protocol>tcp|udp))?"
)
_LARGEST: Final = 1 << 16
_BACKLOG: Final = 128
_MOST_WAYS: Final = 1000
_HEARING: Final = (ADDRESS4, ANY4, ANY)
"""Where a host hears what comes to its IPv4 address."""


def parse_published(text: str) -> Published:
    """`[ADDRESS:]PORT=HOST:PORT[/udp]`; `UsageError`."""
    match = _PATTERN.fullmatch(text)
    if match is None or not all(int(match[part]) < 1 << 16 for part in ("port", "target")):
        raise UsageError(f"{text!r} publishes nothing: write [ADDRESS:]PORT=HOST:PORT[/udp], as 8080=web:80")
    address = (match["address"] or "127.0.0.1").strip("[]")
    try:
        ip_address(address)
    except ValueError as error:
        raise UsageError(f"{text!r} publishes nothing: {error}") from None
    return Published(
        address, int(match["port"]), match["host"], int(match["target"]), match["protocol"] or "tcp"
    )


def candidates(number: int, host: int, port: int) -> list[Real]:
    """The real addresses at which a port of a host may be heard, the nearest first."""
    return [Place(number, host, index, port).real() for index in _HEARING]


@dataclass(slots=True)
class _Port:
    """One published port."""

    published: Published
    at: socket.socket
    ways: dict[Real, socket.socket] = field(default_factory=dict[Real, socket.socket])
    """Of datagrams: the gateway's sockets by whom outside they are for."""


class Publishing:
    """All that is published.  On the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        state: Callable[[], State],
        connect: Callable[[socket.socket, Published], None],
        way: Callable[[Real, Real], Real],
    ) -> None:
        self._loop, self._state, self._connect, self._way = loop, state, connect, way
        self._ports: dict[tuple[str, int, str], _Port] = {}

    def prepare(self, state: State) -> None:
        """Have the ports that a state wants, which knows their numbers then; `UsageError` changes nothing."""
        opened: list[_Port] = []
        try:
            for index, published in enumerate(state.published):
                if _key(published) not in self._ports:
                    port = _opened(published)
                    opened.append(port)
                    state.published[index] = port.published
        except BaseException:
            for port in opened:
                port.at.close()
            raise
        for port in opened:
            self._ports[_key(port.published)] = port
            call = self._hear if port.published.protocol == "udp" else self._accept
            self._loop.watch(port.at.fileno(), READ, partial(call, port))

    def follow(self, state: State) -> None:
        """Have no other ports than a state wants."""
        wanted = {_key(published): published for published in state.published}
        for key, port in [*self._ports.items()]:
            if key in wanted:
                port.published = wanted[key]
                continue
            del self._ports[key]
            for made in (port.at, *port.ways.values()):
                self._loop.ignore(made.fileno())
                made.close()

    def _accept(self, port: _Port, events: int) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            client, _ = port.at.accept()
            self._connect(client, port.published)

    # -- datagrams ----------------------------------------------------------------------------

    def _hear(self, port: _Port, events: int) -> None:
        with suppress(OSError):
            while True:
                data, peer = port.at.recvfrom(_LARGEST)
                self._carry(port, peer, data)

    def _carry(self, port: _Port, peer: Real, data: bytes) -> None:
        state = self._state()
        host = next((host.host for host in state.hosts if host.name == port.published.host), 0)
        if not host:
            return
        way = port.ways.get(peer)
        if way is None:
            if len(port.ways) > _MOST_WAYS:
                oldest = port.ways.pop(next(iter(port.ways)))
                self._loop.ignore(oldest.fileno())
                oldest.close()
            way = port.ways[peer] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            way.settimeout(0)
            way.bind(Place(state.number, GATEWAY, ADDRESS4, 0).real())
            made = way
            self._loop.watch(way.fileno(), READ, lambda _: _hand_back(made, port.at, peer))
        for real in candidates(state.number, host, port.published.target):
            if is_heard(real, socket.IPPROTO_UDP):
                way.sendto(data, self._way(way.getsockname(), real))
                return


def _hand_back(way: socket.socket, port: socket.socket, peer: Real) -> None:
    with suppress(OSError):
        while True:
            port.sendto(way.recv(_LARGEST), peer)


def _key(published: Published) -> tuple[str, int, str]:
    return published.address, published.port, published.protocol


def _opened(published: Published) -> _Port:
    """A port of the machine, which may be any (0); `UsageError`."""
    family = socket.AF_INET6 if ":" in published.address else socket.AF_INET
    is_tcp = published.protocol == "tcp"
    made = socket.socket(family, socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM)
    try:
        made.settimeout(0)
        if is_tcp:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((published.address, published.port))
        if is_tcp:
            made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        where = f"port {published.port} of {published.address}"
        raise UsageError(
            f"cannot publish {where}: {os.strerror(error.errno or 0)}", error.errno or 22
        ) from None
    chosen = Published(
        published.address, made.getsockname()[1], published.host, published.target, published.protocol
    )
    return _Port(chosen, made)
