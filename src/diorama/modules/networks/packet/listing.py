"""Listing: the sockets of a stack, as `ss` and `/proc/net` tell of them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from diorama.interfaces.story import SocketState, TcpState

if TYPE_CHECKING:
    from diorama.modules.networks.packet.datagrams import Datagrams
    from diorama.modules.networks.packet.stack import Stack
    from diorama.modules.networks.packet.tcpsocket import TcpSocket

__all__ = ["STATES", "sockets_of"]

STATES: Final = (
    TcpState.CLOSE,
    TcpState.LISTEN,
    TcpState.SYN_SENT,
    TcpState.SYN_RECV,
    TcpState.ESTABLISHED,
    TcpState.FIN_WAIT1,
    TcpState.FIN_WAIT2,
    TcpState.CLOSE_WAIT,
    TcpState.CLOSING,
    TcpState.LAST_ACK,
    TcpState.TIME_WAIT,
)
"""Linux's number of each of lwIP's states."""


def sockets_of(stack: Stack) -> Iterator[SocketState]:
    """All that programs have and that have an address."""
    for connection in stack.connections.values():
        if connection.pcb:
            state = STATES[connection.look().state]
            yield _state(connection, socket.IPPROTO_TCP, state)
    for one in stack.datagrams.values():
        if one.local is not None and one.listed:
            yield _state(one, one.listed, TcpState.ESTABLISHED if one.remote else TcpState.CLOSE)


def _state(one: TcpSocket | Datagrams, protocol: int, state: int) -> SocketState:
    nothing = "0.0.0.0" if one.family == socket.AF_INET else "::", 0, 0
    local, remote = one.local or nothing, one.remote or nothing
    return SocketState(one.family, protocol, local[:2], remote[:2], state, one.inode)
