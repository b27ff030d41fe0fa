"""Two hosts of a LAN, and their sockets, which are the kernel's at real addresses."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from diorama.modules.networks.lan.addresses import ADDRESS4, Place
from diorama.modules.networks.lan.member import Member
from modules.networks.lan_room import LIMIT, Room


class Pair:
    """Hosts `a` and `b`."""

    def __init__(self, room: Room) -> None:
        self.one, self.other = (
            room.join(host="a", subnet="10.1.0.0/24", subnet6="fd01::/64"),
            room.join(host="b"),
        )
        self.stack = ExitStack()

    def socket_of(
        self, member: Member, kind: int = socket.SOCK_STREAM, *, index: int = ADDRESS4, port: int = 0
    ) -> socket.socket:
        made = self.stack.enter_context(socket.socket(socket.AF_INET, kind))
        made.settimeout(LIMIT)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(Place(member.number, member.host, index, port).real())
        return made

    def listener(self, *, index: int = ADDRESS4, port: int = 0) -> socket.socket:
        made = self.socket_of(self.other, index=index, port=port)
        made.listen(128)
        return made

    def connected(self, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
        client = self.socket_of(self.one)
        client.connect(self.one.relay(client.getsockname(), listener.getsockname(), "tcp"))
        return client, self.accepted(listener)[0]

    def accepted(self, listener: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
        server, peer = listener.accept()
        server.settimeout(LIMIT)
        return self.stack.enter_context(server), peer


def read_all(at: socket.socket) -> bytes:
    return b"".join(iter(lambda: at.recv(1 << 16), b""))
