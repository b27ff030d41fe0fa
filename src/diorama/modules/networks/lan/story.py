"""Story: what a host of a LAN tells of itself: its links `lo` and `eth0`, its neighbours and its sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from diorama.abi.netdevice import IFF_LOWER_UP, IFF_RUNNING, IFF_UP
from diorama.abi.rtnetlink import NUD_PERMANENT
from diorama.abi.socket import AF_INET, AF_INET6
from diorama.interfaces.localstory import ETHERNET, loopback
from diorama.interfaces.network import Link, Route, Story
from diorama.interfaces.story import Neighbour, SocketState, TcpState
from diorama.modules.networks.lan.addresses import ADDRESS6, ANY4, ANY6, Place, parse_real
from diorama.modules.networks.lan.hearing import backlogs

if TYPE_CHECKING:
    from diorama.modules.networks.lan.plan import Plan

__all__ = ["ETH0", "LO", "LanStory", "hardware", "hosts_file", "resolver_file", "sockets"]

LO: Final = 1
ETH0: Final = 2
_MTU: Final = 65535
_TABLES: Final = (
    ("tcp", AF_INET, socket.IPPROTO_TCP),
    ("tcp6", AF_INET6, socket.IPPROTO_TCP),
    ("udp", AF_INET, socket.IPPROTO_UDP),
    ("udp6", AF_INET6, socket.IPPROTO_UDP),
)


def hardware(number: int, host: int) -> bytes:
    """The Ethernet address of a host."""
    return bytes((2, 0x4C, 0x41, 0x4E, number, host))


class LanStory(Story):
    """What one host tells; only the LAN changes it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        member = plan.member
        self._links = (
            loopback(),
            Link(
                ETH0,
                "eth0",
                ETHERNET | IFF_UP | IFF_RUNNING | IFF_LOWER_UP,
                mtu=_MTU,
                address=hardware(plan.number, plan.host),
                addresses=[member.address, member.address6],
                driver="veth",
            ),
        )

    def links(self) -> Sequence[Link]:
        return self._links

    def routes(self) -> Sequence[Route]:
        member = self._plan.member
        ways = ("0.0.0.0/0", member.gateway), ("::/0", member.gateway6)
        return [Route(ip_network(subnet), ETH0, str(gateway.ip)) for subnet, gateway in ways]

    def neighbours(self) -> Sequence[Neighbour]:
        """The other hosts."""
        plan = self._plan
        return [
            Neighbour(ETH0, str(address.ip), hardware(plan.number, host.host), NUD_PERMANENT)
            for host in plan.member.hosts().values()
            if host.host != plan.host
            for address in (host.address, host.address6)
        ]


def hosts_file(plan: Plan) -> bytes:
    """`/etc/hosts`: the names of all hosts; the machine's name (uname(2)) is that of its own host too."""
    member, machine = plan.member, os.uname().nodename
    taken = {host.name for host in member.hosts().values()}
    lines = ["127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"]
    for _, host in sorted(member.hosts().items()):
        for address in host.address, host.address6:
            also = f" {machine}" if host.host == plan.host and machine not in taken else ""
            lines.append(f"{address.ip} {host.name}.{member.lan} {host.name}{also}\n")
    return "".join(lines).encode()


def resolver_file(plan: Plan) -> bytes:
    """`/etc/resolv.conf`: the gateway is asked for names."""
    return f"nameserver {plan.member.gateway.ip}\nsearch {plan.member.lan}\n".encode()


# -- sockets ----------------------------------------------------------------------------------


class _Row(NamedTuple):
    """A line of `/proc/net/tcp` and its like, proc_net(5)."""

    local: tuple[str, int]
    peer: tuple[str, int]
    state: int
    queued_out: int
    queued_in: int
    uid: int
    inode: int


def sockets(plan: Plan) -> list[SocketState]:
    """The sockets of the host's programs, with the addresses that these know."""
    found = [
        state
        for name, family, protocol in _TABLES
        for row in _rows(f"/proc/self/net/{name}")
        if (state := _state(plan, family, protocol, row)) is not None
    ]
    if not any(_listens(one) for one in found):
        return found
    most = backlogs()  # /proc does not tell
    return [replace(one, queued_out=most.get(one.inode, 0)) if _listens(one) else one for one in found]


def _listens(one: SocketState) -> bool:
    return one.protocol == socket.IPPROTO_TCP and one.state == TcpState.LISTEN


def _rows(path: str) -> Iterator[_Row]:
    try:
        lines = Path(path).read_text().splitlines()[1:]
    except FileNotFoundError:  # a kernel without IPv6
        return
    for line in lines:
        words = line.split()
        out, _, into = words[4].partition(":")
        yield _Row(
            _end(words[1]),
            _end(words[2]),
            int(words[3], 16),
            int(out, 16),
            int(into, 16),
            int(words[7]),
            int(words[9]),
        )


def _end(text: str) -> tuple[str, int]:
    address, _, port = text.partition(":")
    words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
    packed = b"".join(words)
    return socket.inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed), int(port, 16)


def _state(plan: Plan, family: int, protocol: int, row: _Row) -> SocketState | None:
    here = parse_real(*row.local)
    if here is None or (here.number, here.host) != (plan.number, plan.host):
        return None
    there = parse_real(*row.peer) if row.peer[1] else None
    peer = ("0.0.0.0" if family == AF_INET else "::", 0)
    if there is not None:
        version = 6 if {here.index, there.index} & {ADDRESS6, ADDRESS6 - 2, ANY6} else 4
        peer = (_mapped(family, plan.text(there, version)), there.port)
    return SocketState(
        family,
        protocol,
        (_local(plan, family, here, there), here.port),
        peer,
        row.state,
        row.inode,
        row.uid,
        row.queued_in,
        row.queued_out,
        only_ipv6=here.index == ANY6,
    )


def _local(plan: Plan, family: int, here: Place, there: Place | None) -> str:
    if not here.is_wildcard:
        return _mapped(family, plan.text(here, 4))
    if there is None:
        return "0.0.0.0" if here.index == ANY4 and family == AF_INET else "::"
    return _mapped(family, plan.text(here, 6 if there.index == ADDRESS6 else 4))


def _mapped(family: int, text: str) -> str:
    return text if family == AF_INET or ":" in text else f"::ffff:{text}"
