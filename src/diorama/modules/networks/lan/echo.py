"""Echo: what answers a ping, and the gateway, which answers too."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from diorama.modules.networks.lan.addresses import ECHO, GATEWAY, PING4, PING4_RAW, PING6, Place, parse_real
from diorama.modules.networks.lan.conditions import Conditions
from diorama.modules.networks.lan.loop import READ, Loop
from diorama.modules.networks.lan.roster import gateway_record
from diorama.modules.networks.lan.wire import HostRecord, Pinged, State

__all__ = ["ECHO_PORT", "GatewayEcho", "answer_to"]

ECHO_PORT: Final = 7
"""The port at which pings are heard."""
_ICMP: Final = 1
_REQUEST: Final = {PING4: (8, 0), PING4_RAW: (8, 0), PING6: (128, 129)}
"""The types of a request and of what answers it."""
_TTL: Final = 64
_HEADER: Final = struct.Struct("!BBHH")
_SHORTEST: Final = 8
_LARGEST: Final = 1 << 16
_AT_ONCE: Final = 64


def answer_to(request: bytes, came: Place, source: str, target: str) -> bytes | None:
    """What answers a request that came from a place; None if it is none.  Addresses are of IPv4."""
    asked, answered = _REQUEST.get(came.index, (-1, 0))
    if len(request) < _SHORTEST or request[0] != asked:
        return None
    ident = int.from_bytes(request[4:6], "big") if came.index == PING4_RAW else came.port
    body = request[6:]
    checksum = _sum(_HEADER.pack(answered, 0, 0, ident) + body)
    message = _HEADER.pack(answered, 0, checksum, ident) + body
    if came.index != PING4_RAW:
        return message
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(message), 0, 0, _TTL, _ICMP, 0)
    ends = socket.inet_aton(target) + socket.inet_aton(source)
    return head[:10] + _sum(head + ends).to_bytes(2, "big") + ends + message


def _sum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total: int = sum(number for (number,) in struct.iter_unpack("!H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


class GatewayEcho:
    """Answers the pings of hosts, as the gateway.  On the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        state: Callable[[], State],
        conditions: Callable[[int, int], Conditions],
        told: Callable[[Pinged], None],
    ) -> None:
        self._loop, self._state, self._conditions, self._told = loop, state, conditions, told
        self._socket: socket.socket | None = None

    def start(self, number: int) -> None:
        """Answer from now on; `OSError`."""
        made = self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(0)
        made.bind(Place(number, GATEWAY, ECHO, ECHO_PORT).real())
        self._loop.watch(made.fileno(), READ, lambda _: self._hear(made))

    def _hear(self, at: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                request, address = at.recvfrom(_LARGEST)
            except OSError:
                return
            came = parse_real(*address)
            host = None if came is None else self._host(came)
            if came is not None and host is not None:
                self._answer(at, request, came, host)

    def _host(self, came: Place) -> HostRecord | None:
        state = self._state()
        if came.number != state.number:
            return None
        return next((host for host in state.hosts if host.host == came.host), None)

    def _answer(self, at: socket.socket, request: bytes, came: Place, host: HostRecord) -> None:
        gateway = gateway_record(self._state())
        answer = answer_to(request, came, host.address, gateway.address)
        between = self._conditions(came.host, GATEWAY)
        if answer is None or between.is_cut:
            return
        ident = request[4:6] if came.index == PING4_RAW else came.port.to_bytes(2, "big")
        source, target = host.address, gateway.address
        if came.index == PING6:
            source, target = host.address6, gateway.address6
        body = ident + request[6:]
        self._told(Pinged(source, target, body, is_reply=False))

        def send() -> None:
            self._told(Pinged(target, source, body, is_reply=True))
            with suppress(OSError):  # who has asked may be gone
                at.sendto(answer, came.real())

        self._loop.after(between.latency + between.jitter * random.random(), send)
