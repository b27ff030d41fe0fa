"""A network to tell of: `lo`, and `eth0` with addresses and routes."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_interface, ip_network

from diorama.abi.netlink import NLM_F_ACK, NLMSG_ERROR, Message, split_messages, walk_attributes
from diorama.interfaces.localstory import ETHERNET, LocalStory, loopback
from diorama.interfaces.netlink.asked import Settings
from diorama.interfaces.netlink.responder import RouteResponder
from diorama.interfaces.network import Link, Route, Story

ETH0 = 3
PLAIN = Settings(port=99)
MAC = b"\x02\0\0\0\0\1"


def office() -> LocalStory:
    made = LocalStory([loopback(), Link(ETH0, "eth0", ETHERNET, mtu=1400, address=MAC, driver="veth")])
    made.set_link(ETH0, flags=ETHERNET | 1)
    for address in ("10.0.0.1/24", "10.0.0.9/24", "192.168.7.7/32", "fd00::1/64"):
        made.add_address(ETH0, ip_interface(address))
    made.add_route(Route(ip_network("0.0.0.0/0"), ETH0, "10.0.0.254"))
    made.add_route(Route(ip_network("172.16.0.0/12"), ETH0, "10.0.0.253", 50))
    made.add_route(Route(ip_network("::/0"), ETH0, "fd00::fe", 1024))
    return made


def request(kind: int, flags: int, body: bytes, sequence: int = 7) -> bytes:
    """A datagram with one request."""
    return Message(kind, flags | 1, sequence, 0, body).pack()


def replies(datagrams: list[bytes]) -> list[Message]:
    """The messages in datagrams."""
    return [message for datagram in datagrams for message in split_messages(datagram)]


def attributes(message: Message, width: int) -> dict[int, bytes]:
    """What stands behind the head of a message."""
    return dict(walk_attributes(message.body[width:]))


def code(message: Message) -> int:
    """The errno of an acknowledgement, or of the end of a dump."""
    (number,) = struct.unpack_from("=i", message.body)
    return -int(number)


def ask(story: Story, kind: int, flags: int, body: bytes, settings: Settings = PLAIN) -> list[Message]:
    """The messages that answer a request."""
    return replies(RouteResponder(story).answer(request(kind, flags, body), settings))


def refused(story: Story, kind: int, body: bytes, flags: int = NLM_F_ACK) -> int:
    """The errno of what answers a request."""
    (answer,) = ask(story, kind, flags, body)
    assert answer.type == NLMSG_ERROR
    return code(answer)


def receive_all(at: socket.socket, end: int) -> list[Message]:
    """The messages that come, until one of this type."""
    found: list[Message] = []
    while not found or found[-1].type != end:
        found += split_messages(at.recv(65536))
    return found
