"""Endpoint: one socket of the kernel's whose addresses are judged before they are used.

A message and a connection that is allowed may go elsewhere than the program has said: to where a rule
redirects it, to our resolver in the place of a DNS server, into the tunnel to a proxy. The program is told
what it has asked for: what it connected to, and who has answered.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from diorama.abi.socket import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    Inet6Address,
    InetAddress,
    SocketAddress,
    parse_address,
)
from diorama.engine.rawsocket import bind_raw, name_raw
from diorama.interfaces.network import Endpoint, Sent, refuse
from diorama.modules.networks.host.options import check_control, check_option

if TYPE_CHECKING:
    from diorama.interfaces.rules import Address, Rule
    from diorama.modules.networks.host.network import PolicyNetwork

__all__ = ["PolicyEndpoint"]

_ANSWERS_MAX: Final = 64
_TCP_INFO: Final = 11
_TCP_CLOSE: Final = 7

Where = tuple[str, int]


class PolicyEndpoint(Endpoint):
    """A TCP, UDP or ping socket.  Any thread."""

    guarded = True

    def __init__(self, network: PolicyNetwork, family: int, type: int, protocol: int) -> None:
        super().__init__(family, type, protocol)
        self._network = network
        self._shown_port: int | None = None
        self._shown_peer: SocketAddress | None = None
        self._failure = 0
        self._answers: dict[Where, SocketAddress] = {}
        icmp = protocol in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)
        self._title = "tcp" if type == socket.SOCK_STREAM else "icmp" if icmp else "udp"

    # -- what is ours -------------------------------------------------------------------------

    def bind(self, at: socket.socket, address: SocketAddress) -> None:
        address = self._inet(address)
        port = address.port
        if self._title == "icmp":
            bind_raw(at.fileno(), address.pack())
            return
        if port:
            self._network.judge.listening(self._title, port)
        real = self._network.privileged.real(port)
        bind_raw(at.fileno(), address._replace(port=real).pack())
        if real != port:
            self._shown_port = port
            self._network.moved[self._title, port] = real

    def listen(self, at: socket.socket, backlog: int) -> None:
        if self._title == "tcp":
            if not self._port(at):
                bind_raw(at.fileno(), self._any())
            self._network.judge.listening(self._title, self._port(at))
        at.listen(backlog)

    def accepted(self, new: socket.socket) -> Endpoint | None:
        try:
            peer = _address(parse_address(name_raw(new.fileno(), peer=True)))
            if peer is not None:
                self._network.judge.incoming(self._title, peer[0], self._port(new))
        except OSError:
            return None
        return self.like(new)

    def like(self, new: socket.socket) -> Endpoint:
        made = PolicyEndpoint(self._network, self.family, self.type, self.protocol)
        made._shown_port = self._shown_port
        return made

    def name(self, at: socket.socket) -> SocketAddress:
        own = parse_address(name_raw(at.fileno()))
        if self._shown_port is not None and isinstance(own, (InetAddress, Inet6Address)):
            return own._replace(port=self._shown_port)
        return own

    def _port(self, at: socket.socket) -> int:
        name = self.name(at)
        return name.port if isinstance(name, (InetAddress, Inet6Address)) else 0

    def _any(self) -> bytes:
        return (InetAddress("0.0.0.0", 0) if self.family == AF_INET else Inet6Address("::", 0)).pack()

    # -- whom it reaches ----------------------------------------------------------------------

    def connect(self, at: socket.socket, address: SocketAddress) -> bytes | None:
        if _family(address) == AF_UNSPEC:
            self._shown_peer = None
            return address.pack()
        address = self._inet(address)
        found, self._failure = _address(address), 0
        assert found is not None
        server = self._network.resolver_for(*found)
        if server is not None and self._title in ("tcp", "udp"):
            return self._instead(address, server[self._title])
        rule = self._network.judge.outgoing(self._title, *found)
        target = self._target(rule, *found)
        if target is None:
            target = self._tunnel(at, *found)
        if target is not None:
            return self._instead(address, target)
        self._shown_peer = None
        return address.pack()

    def _tunnel(self, at: socket.socket, address: Address, port: int) -> Where | None:
        """Where the way through a proxy begins; None if there is none, or it needs none."""
        tunnels = self._network.tunnels
        if tunnels is None or address.is_loopback:
            return None
        if self._title != "tcp":
            raise refuse(errno.ENETUNREACH)
        if at.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] != _TCP_CLOSE:
            return None  # it is connected, or about to be: the kernel says so
        return tunnels.open_for(self, at, port=port, address=address)

    def _instead(self, address: SocketAddress, real: Where) -> bytes:
        """Let it be connected elsewhere than it is told."""
        self._shown_peer = address
        packed = self._pack(real)
        self._remember(real, address)
        return packed

    def connected(self, at: socket.socket, code: int) -> int:
        return self._failure if code and self._failure else code

    def failed(self, code: int) -> None:
        """The tunnel that it waits for cannot be made."""
        self._failure = code

    def peer(self, at: socket.socket) -> SocketAddress:
        real = name_raw(at.fileno(), peer=True)
        return parse_address(real) if self._shown_peer is None else self._shown_peer

    def sending(self, at: socket.socket, address: SocketAddress) -> Sent:
        address = self._inet(address)
        found = _address(address)
        assert found is not None
        server = self._network.resolver_for(*found)
        if server is not None and self._title == "udp":
            target: Where | None = server["udp"]
        else:
            target = self._target(self._network.judge.outgoing(self._title, *found), *found)
        if target is None and self._network.tunnels is not None and not found[0].is_loopback:
            raise refuse(errno.ENETUNREACH)
        if target is None:
            return Sent(address.pack())
        self._remember(target, address)
        return Sent(self._pack(target))

    def received(self, at: socket.socket, address: bytes) -> SocketAddress | None:
        told = parse_address(address)
        found = _address(told)
        return told if found is None else self._answers.get((str(found[0]), found[1]), told)

    def _target(self, rule: Rule | None, address: Address, port: int) -> Where | None:
        """Where something goes that is not to go where it was sent."""
        if rule is not None and rule.target is not None:
            to = rule.target
            return str(to.host), port if to.port is None else to.port
        moved = self._network.moved.get((self._title, port))
        return (str(address), moved) if moved is not None and address.is_loopback else None

    def _remember(self, real: Where, shown: SocketAddress) -> None:
        if len(self._answers) >= _ANSWERS_MAX:
            self._answers.clear()
        self._answers[real] = shown

    def _pack(self, where: Where) -> bytes:
        host, port = where
        if ip_address(host).version == 4:
            if self.family == AF_INET:
                return InetAddress(host, port).pack()
            return Inet6Address(f"::ffff:{host}", port).pack()
        if self.family == AF_INET:
            raise refuse(errno.ENETUNREACH)
        return Inet6Address(host, port).pack()

    def _inet(self, address: SocketAddress) -> InetAddress | Inet6Address:
        """An address of a family that such a socket knows; the kernel takes AF_UNSPEC for IPv4 (udp(7))."""
        if _family(address) == AF_UNSPEC and self.family == AF_INET:
            address = parse_address(AF_INET.to_bytes(2, "little") + address.pack()[2:])
        if isinstance(address, InetAddress) or (
            isinstance(address, Inet6Address) and self.family == AF_INET6
        ):
            return address
        raise refuse(errno.EINVAL if _family(address) in (AF_INET, AF_INET6) else errno.EAFNOSUPPORT)

    # -- the rest -----------------------------------------------------------------------------

    def get_option(self, at: socket.socket, level: int, option: int, size: int) -> bytes | None:
        if (level, option) != (socket.SOL_SOCKET, socket.SO_ERROR) or not self._failure:
            return None
        code = at.getsockopt(level, option)
        return (self._failure if code else 0).to_bytes(4, "little")

    def set_option(self, at: socket.socket, level: int, option: int, value: bytes) -> bool:
        return check_option(at, self.type, level, option, value)

    def sends_control(self, level: int, kind: int) -> None:
        check_control(level, kind)


def _family(address: SocketAddress) -> int:
    return int.from_bytes(address.pack()[:2], "little")


def _address(address: SocketAddress) -> tuple[Address, int] | None:
    """What is judged: an IPv4 address that is written as an IPv6 one is one of IPv4."""
    if not isinstance(address, (InetAddress, Inet6Address)):
        return None
    found = ip_address(address.host.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if int(found) == 0:
        found = IPv4Address("127.0.0.1") if isinstance(found, IPv4Address) else IPv6Address("::1")
    return found, address.port
