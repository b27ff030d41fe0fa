"""A network whose only host is 10.0.0.1, the loopback, with the host's ports less 20,000."""

from __future__ import annotations

import errno
import socket

from diorama.abi.socket import Inet6Address, InetAddress, SocketAddress, parse_address
from diorama.engine.rawsocket import bind_raw, name_raw
from diorama.interfaces.network import Endpoint, Network, Sent, refuse

SHIFT = 20_000
OTHER = "10.0.0.9"
STRANGER = "127.0.0.2"
"""Whose messages are for nobody."""


def real(address: SocketAddress) -> bytes:
    if isinstance(address, InetAddress):
        if address.host not in ("10.0.0.1", "0.0.0.0"):
            raise refuse(errno.ENETUNREACH)
        return InetAddress("127.0.0.1", address.port + SHIFT if address.port else 0).pack()
    raise refuse(errno.EAFNOSUPPORT)


def virtual(data: bytes) -> SocketAddress:
    address = parse_address(data)
    if isinstance(address, (InetAddress, Inet6Address)) and address.port:
        return InetAddress("10.0.0.1", address.port - SHIFT)
    return InetAddress("0.0.0.0", 0)


class Shifted(Endpoint):
    def bind(self, at: socket.socket, address: SocketAddress) -> None:
        bind_raw(at.fileno(), real(address))

    def connect(self, at: socket.socket, address: SocketAddress) -> bytes | None:
        return real(address)

    def name(self, at: socket.socket) -> SocketAddress:
        return virtual(name_raw(at.fileno()))

    def peer(self, at: socket.socket) -> SocketAddress:
        return virtual(name_raw(at.fileno(), peer=True))

    def sending(self, at: socket.socket, address: SocketAddress) -> Sent:
        if isinstance(address, InetAddress) and address.host == OTHER:
            return Sent(None, drop=True)
        return Sent(real(address))

    def received(self, at: socket.socket, address: bytes) -> SocketAddress | None:
        parsed = parse_address(address)
        is_strange = isinstance(parsed, InetAddress) and parsed.host == STRANGER
        return None if is_strange else virtual(address)

    def get_option(self, at: socket.socket, level: int, option: int, size: int) -> bytes | None:
        return b"\x2a\0\0\0" if (level, option) == (socket.SOL_IP, socket.IP_TTL) else None


class ShiftedNetwork(Network):
    title = "shifted"

    def make(self, family: int, type: int, protocol: int) -> Endpoint:
        if family != socket.AF_INET:
            raise refuse(errno.EAFNOSUPPORT)
        return Shifted(family, type, protocol)


def load(view: object) -> None:
    view.stack(ShiftedNetwork())  # type: ignore[attr-defined]
