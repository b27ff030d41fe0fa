"""LAN: a host of a private network, as its programs have it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from diorama.abi.socket import AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM
from diorama.interfaces.netlink import Netlink
from diorama.interfaces.network import Endpoint, Network, refuse
from diorama.interfaces.procnet import proc_files
from diorama.interfaces.story import SocketState
from diorama.modules.networks.lan.adopting import adopt
from diorama.modules.networks.lan.endpoint import StreamEndpoint
from diorama.modules.networks.lan.ping import Echo, PingEndpoint
from diorama.modules.networks.lan.plan import Plan
from diorama.modules.networks.lan.story import LanStory, hosts_file, resolver_file, sockets
from diorama.modules.networks.lan.udp import DatagramEndpoint

if TYPE_CHECKING:
    from diorama.modules.networks.lan.member import Member

__all__ = ["LanNetwork"]

_KINDS: Final = {
    (SOCK_STREAM, 0): StreamEndpoint,
    (SOCK_STREAM, socket.IPPROTO_TCP): StreamEndpoint,
    (SOCK_DGRAM, 0): DatagramEndpoint,
    (SOCK_DGRAM, socket.IPPROTO_UDP): DatagramEndpoint,
    (SOCK_DGRAM, socket.IPPROTO_UDPLITE): DatagramEndpoint,
}
_ICMP: Final = {AF_INET: socket.IPPROTO_ICMP, AF_INET6: socket.IPPROTO_ICMPV6}


class LanNetwork(Network):
    """The stack."""

    title = "lan"
    guards = True

    def __init__(self, member: Member) -> None:
        self.member = member
        self.plan = Plan(member)
        self.story = LanStory(self.plan)
        self._netlink = Netlink(self.story, self.sockets)
        self._files = {
            "/etc/hosts": lambda: hosts_file(self.plan),
            "/etc/resolv.conf": lambda: resolver_file(self.plan),
            **proc_files(self.story, self.sockets),
        }
        self._echo = Echo(self.plan)
        member.on_change = self._changed

    def make(self, family: int, type: int, protocol: int) -> Endpoint:
        """A socket of IPv4 or IPv6, or of netlink."""
        if family == AF_NETLINK:
            return self._netlink.make(type, protocol)
        if family not in (AF_INET, AF_INET6):
            raise refuse(errno.EPERM if family == AF_PACKET else errno.EAFNOSUPPORT)
        kind: Callable[..., Endpoint] | None = _KINDS.get((type, protocol))
        if type in (SOCK_DGRAM, SOCK_RAW) and protocol == _ICMP[family]:
            kind = PingEndpoint
        if kind is None:
            raise refuse(_why_not(type))
        return kind(self.plan, family, type, protocol)

    def adopt(self, at: socket.socket, family: int) -> Endpoint | None:
        """One that another view of this LAN has made, or another host in this view; EACCES for others."""
        return adopt(self.plan, at, family)

    def sockets(self) -> Sequence[SocketState]:
        """Those of this host."""
        return sockets(self.plan)

    def files(self) -> Mapping[str, Callable[[], bytes]]:
        """The names of the hosts, who tells of others, and `/proc/net`."""
        return self._files

    def _changed(self) -> Callable[[int], ExitStack] | None:
        """The LAN is not as it was: hosts have come or gone, or hear each other otherwise."""
        self.plan.remember()
        self._netlink.changed()
        self.plan.filter_all([*self._echo.sockets, self.plan.directory.socket])
        return self.plan.wiring.changed()

    def close(self) -> None:
        self._netlink.close()
        self._echo.close()
        self.plan.directory.close()
        self.member.leave()


def _why_not(type: int) -> int:
    if type == SOCK_RAW:
        return errno.EPERM
    return errno.EPROTONOSUPPORT if type in (SOCK_STREAM, SOCK_DGRAM) else errno.ESOCKTNOSUPPORT
