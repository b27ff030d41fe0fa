"""Ping: sockets of ICMP, and the thread of a host that answers its echo requests.

A socket of ICMP is one of UDP, at an address of the kernel's that says what it is, and sends to where the
pings of a host are answered. So a ping passes, or is dropped, as everything else between two hosts.
"""

from __future__ import annotations

import errno
import heapq
import random
import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from diorama.abi.socket import (
    AF_INET,
    AF_INET6,
    SO_DOMAIN,
    SO_PROTOCOL,
    SO_TYPE,
    SOCK_DGRAM,
    SOCK_RAW,
    SOL_ICMPV6,
    SOL_IPV6,
    SOL_RAW,
    SOL_SOCKET,
    SocketAddress,
)
from diorama.engine.rawsocket import Sent, bind_raw
from diorama.interfaces.network import refuse
from diorama.modules.networks.lan.addresses import (
    ECHO,
    ECHO_LOOPBACK,
    PING4,
    PING4_RAW,
    PING6,
    Place,
    parse_real,
)
from diorama.modules.networks.lan.echo import ECHO_PORT, answer_to
from diorama.modules.networks.lan.udp import DatagramEndpoint

if TYPE_CHECKING:
    from diorama.modules.networks.lan.plan import Plan

__all__ = ["Echo", "PingEndpoint", "answer_to"]

_IP_HDRINCL: Final = 3
_IPV6_CHECKSUM: Final = 7


class PingEndpoint(DatagramEndpoint):
    """A socket of ICMP or ICMPv6, SOCK_DGRAM or SOCK_RAW."""

    def open(self) -> socket.socket:
        made = socket.socket(self.family, SOCK_DGRAM)
        self.plan.filter(made)
        return made

    @property
    def index(self) -> int:
        """That of the address where it is."""
        if self.family == AF_INET6:
            return PING6
        return PING4_RAW if self.type == SOCK_RAW else PING4

    def bind(self, at: socket.socket, address: SocketAddress) -> None:
        text, port = self.check(address)
        if text not in ("0.0.0.0", "::") and self.plan.own_index(text) is None:
            raise refuse(errno.EADDRNOTAVAIL)
        self._place(at, port if self.type == SOCK_DGRAM else 0)

    def _place(self, at: socket.socket, port: int) -> None:
        if not at.getsockname()[1]:
            place = self.plan.place(self.plan.host, self.index, port)
            bind_raw(at.fileno(), self.pack(place))

    def connect(self, at: socket.socket, address: SocketAddress) -> bytes | None:
        sent = self.sending(at, address)
        self.target = self.show(self.check(address)[0], 0)
        return sent.address

    def sending(self, at: socket.socket, address: SocketAddress) -> Sent:
        destination = self.find(at, self.check(address)[0])
        if destination.is_outside:
            raise refuse(errno.ENETUNREACH)
        self._place(at, 0)
        index = ECHO_LOOPBACK if destination.is_loopback else ECHO
        return Sent(self.pack(self.plan.place(destination.host, index, ECHO_PORT)))

    def received(self, at: socket.socket, address: bytes) -> SocketAddress | None:
        there = self.heard(address)
        if there is None:
            return None
        version = 6 if self.family == AF_INET6 else 4
        return self.show(_text(self.plan, there, version), 0)

    def name(self, at: socket.socket) -> SocketAddress:
        port = at.getsockname()[1] if self.type == SOCK_DGRAM else 0
        return self.show("::" if self.family == AF_INET6 else "0.0.0.0", port)

    def get_option(self, at: socket.socket, level: int, option: int, size: int) -> bytes | None:
        if level == SOL_SOCKET:
            told = {SO_TYPE: self.type, SO_DOMAIN: self.family, SO_PROTOCOL: self.protocol}
            if option in told:
                return told[option].to_bytes(4, "little")[:size]
        return super().get_option(at, level, option, size)

    def set_option(self, at: socket.socket, level: int, option: int, value: bytes) -> bool:
        if level in (SOL_RAW, SOL_ICMPV6) or (level, option) == (SOL_IPV6, _IPV6_CHECKSUM):
            return True  # filters: there is nothing else to hear than answers
        if (level, option) == (0, _IP_HDRINCL) and any(value):
            raise refuse(errno.EPERM)
        return super().set_option(at, level, option, value)


def _text(plan: Plan, place: Place, version: int) -> str:
    if place.index == ECHO_LOOPBACK:
        return "127.0.0.1" if version == 4 else "::1"
    return plan.address_of(place.host, version)


class _Late(NamedTuple):
    when: float
    number: int
    answer: bytes
    to: tuple[str, int]
    by: socket.socket
    told: tuple[str, str, bytes] | None
    """What the keeper writes down of it, if it does: source, target, and what both packets carry."""


class Echo:
    """The thread that answers the pings of a host, after the time that the LAN says."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._late: list[_Late] = []
        self._count = 0
        self.sockets = [socket.socket(AF_INET, SOCK_DGRAM) for _ in range(2)]
        for at, index in zip(self.sockets, (ECHO, ECHO_LOOPBACK), strict=True):
            at.settimeout(0)
            plan.filter(at)
            at.bind(plan.place(plan.host, index, ECHO_PORT).real())
        self._rest, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name=f"lan:echo:{plan.host}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._end.close()
        self._thread.join()
        for at in (*self.sockets, self._rest):
            at.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:  # not select(2), for which a number can be too large
            for at in (*self.sockets, self._rest):
                selector.register(at, selectors.EVENT_READ)
            while self._answer(selector):
                continue

    def _answer(self, selector: selectors.BaseSelector) -> bool:
        """Wait for something to do, and do it; False at the end."""
        pause = None if not self._late else max(0.0, self._late[0].when - time.monotonic())
        ready = [key.fileobj for key, _ in selector.select(pause)]
        for at in self.sockets:
            if at in ready:
                self._hear(at)
        while self._late and self._late[0].when <= time.monotonic():
            late = heapq.heappop(self._late)
            with suppress(OSError):  # who has asked may be gone
                late.by.sendto(late.answer, late.to)
            if late.told is not None:
                source, target, body = late.told
                self._plan.member.pinged(target, source, body, is_reply=True)
        return self._rest not in ready

    def _hear(self, at: socket.socket) -> None:
        try:
            request, address = at.recvfrom(1 << 16)
        except OSError:
            return
        came = parse_real(*address)
        if came is None or came.number != self._plan.number:
            return
        plan, index = self._plan, ECHO_LOOPBACK if at is self.sockets[1] else ECHO
        target = _text(plan, plan.place(plan.host, index, ECHO_PORT), 4)
        source = target if index == ECHO_LOOPBACK else plan.address_of(came.host, 4)
        answer = answer_to(request, came, source, target)
        if answer is None:
            return
        between = plan.member.conditions(came.host)
        delay = between.latency + between.jitter * random.random()
        self._count += 1
        told = self._tell(request, came) if between.is_captured else None
        heapq.heappush(self._late, _Late(time.monotonic() + delay, self._count, answer, address, at, told))

    def _tell(self, request: bytes, came: Place) -> tuple[str, str, bytes]:
        version = 6 if came.index == PING6 else 4
        source, target = (self._plan.address_of(host, version) for host in (came.host, self._plan.host))
        ident = request[4:6] if came.index == PING4_RAW else came.port.to_bytes(2, "big")
        self._plan.member.pinged(source, target, ident + request[6:], is_reply=False)
        return source, target, ident + request[6:]
