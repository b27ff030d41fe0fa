"""Network: a packet stack that is mounted (`packet:WIRE`), and what it tells of itself."""

from __future__ import annotations

import errno
import itertools
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_address, ip_interface
from typing import Any, Final

from diorama.abi.socket import AF_NETLINK
from diorama.errors import UsageError, warn_once
from diorama.interfaces.netlink.service import Netlink
from diorama.interfaces.network import Endpoint, Link, Network, Route, Story, refuse
from diorama.interfaces.procnet import proc_files
from diorama.interfaces.stackfile import StackFile
from diorama.interfaces.story import Neighbour, SocketState
from diorama.modules.networks.packet.endpoints import DatagramEndpoint, StreamEndpoint
from diorama.modules.networks.packet.handle import Handle
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["PacketNetwork", "PacketStory", "make_packet", "open_packet"]

_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_ICMP: Final[dict[int, int]] = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
_DHCP_PATIENCE: Final = 15.0
_LOOK: Final = 0.05
_UP: Final = 1
_RESOLV: Final = "/etc/resolv.conf"
_ADDRESS_SIZE: Final = 6


class PacketStory(Story):
    """What is told of the host, and what `ip` may change."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def links(self) -> Sequence[Link]:
        links: list[Link] = self._handle.ask("links")
        return links

    def routes(self) -> Sequence[Route]:
        routes: list[Route] = self._handle.ask("routes")
        return routes

    def add_address(self, index: int, address: IPv4Interface | IPv6Interface) -> None:
        self._handle.ask("add_address", index, str(address))

    def remove_address(self, index: int, address: IPv4Interface | IPv6Interface) -> None:
        self._handle.ask("remove_address", index, str(address))

    def neighbours(self) -> Sequence[Neighbour]:
        found: list[tuple[int, str, bytes]] = self._handle.ask("neighbours")
        return [Neighbour(*each) for each in found]

    def set_link(
        self,
        index: int,
        *,
        flags: int | None = None,
        mtu: int | None = None,
        queue: int | None = None,
        name: str | None = None,
        address: bytes | None = None,
    ) -> None:
        if queue is not None:
            raise refuse(errno.EOPNOTSUPP)
        self._handle.ask("set_link", index, flags, mtu, name, address)

    def add_link(self, kind: str, name: str, data: Mapping[str, str]) -> None:
        locator = data.get("data") or data.get("wire") or data.get("url")
        if kind not in ("vde", "tap", "switch", "wire") or locator is None:
            raise refuse(errno.EOPNOTSUPP)
        if kind in ("tap", "switch") and ":" not in locator:
            locator = f"{kind}:{locator}"
        address = bytes.fromhex(data.get("address", "").replace(":", ""))
        self._handle.ask("add_wire", locator, name, address, None, 0.0, int(data.get("mtu", 0)))

    def remove_link(self, index: int) -> None:
        self._handle.ask("remove_link", index)

    def add_route(self, route: Route) -> None:
        self._check(route)
        if self.routes():
            raise refuse(errno.EEXIST)
        gateway = ip_address(route.gateway or "")
        near = (each for link in self.links() for each in link.addresses if link.index == route.link)
        if not any(gateway in each.network for each in near):
            raise refuse(errno.ENETUNREACH)
        self._handle.ask("set_gateway", route.link, route.gateway)

    def remove_route(self, route: Route) -> None:
        self._check(route)
        if not any(each.subnet == route.subnet for each in self.routes()):
            raise refuse(errno.ESRCH)
        self._handle.ask("set_gateway", route.link or self.routes()[0].link, None)

    def _check(self, route: Route) -> None:
        """There is one route besides those of its interfaces: the default one of IPv4."""
        if route.subnet.version != 4 or route.subnet.prefixlen or route.gateway is None:
            raise refuse(errno.EOPNOTSUPP)


class PacketNetwork(Network):
    """A host on wires, with a TCP/IP stack of its own."""

    title = "packet"
    guards = True

    def __init__(self) -> None:
        self.handle = Handle()
        self._own_story = PacketStory(self.handle)
        self.story = self._own_story
        self._odd = itertools.count(1, 2)
        self._netlink = Netlink(self._own_story, self.sockets)
        self._nameservers: list[str] = []
        self._switches: list[str] = []

    def make(self, family: int, type: int, protocol: int) -> Endpoint:
        if family == AF_NETLINK:
            return self._netlink.make(type, protocol)
        if family not in _FAMILIES:
            raise refuse(errno.EAFNOSUPPORT)
        number = next(self._odd)
        if type == socket.SOCK_STREAM:
            if protocol not in (0, socket.IPPROTO_TCP):
                raise refuse(errno.EPROTONOSUPPORT)
            return StreamEndpoint(self.handle, number, family, protocol)
        if type == socket.SOCK_DGRAM:
            if protocol not in (0, socket.IPPROTO_UDP, _ICMP[family]):
                raise refuse(errno.EPROTONOSUPPORT)
            return DatagramEndpoint(self.handle, number, family, type, protocol or socket.IPPROTO_UDP)
        if type == socket.SOCK_RAW:
            if not 0 < protocol < socket.IPPROTO_RAW:
                raise refuse(errno.EPROTONOSUPPORT)
            return DatagramEndpoint(self.handle, number, family, type, protocol)
        raise refuse(errno.ESOCKTNOSUPPORT)

    def add_wire(self, locator: str, options: Options) -> None:
        """Plug in a wire, with the options of the mount."""
        address = _hardware(options.take("mac"))
        record, name = options.take("pcap"), options.take("name") or ""
        arguments: tuple[Any, ...] = (locator, name, address, record, _share(options), _mtu(options))
        code, value = self.handle.consult("add_wire", *arguments)
        if code:
            raise UsageError(str(value), code)
        scheme, _, rest = locator.partition(":")
        if scheme == "switch":
            self._switches.append(rest)
        self._configure(value, options)

    def _configure(self, index: int, options: Options) -> None:
        addresses = [_interface(text) for text in options.values("address")]
        gateway, asks = options.take("gateway"), options.is_set("dhcp")
        self._nameservers = options.values("nameserver")
        if options.is_set("up") or addresses or asks:
            self._own_story.set_link(index, flags=_UP)
        for address in addresses:
            self._own_story.add_address(index, address)
        if gateway is not None:
            self.handle.ask("set_gateway", index, str(_gateway(gateway, addresses)))
        if asks:
            self.handle.ask("ask_dhcp", index, options.take("hostname") or socket.gethostname())
            self._await_lease()

    def _await_lease(self) -> None:
        until = time.monotonic() + _DHCP_PATIENCE
        while self.handle.ask("lease") is None:
            if time.monotonic() > until:
                warn_once("packet", f"no DHCP server has answered in {_DHCP_PATIENCE:.0f} s; still asking")
                return
            time.sleep(_LOOK)

    def files(self) -> Mapping[str, Callable[[], bytes]]:
        return {**proc_files(self._own_story, self.sockets), _RESOLV: self._resolv}

    def _resolv(self) -> bytes:
        """The name servers: those of the mount's options, or of DHCP."""
        lease: tuple[list[str], str] | None = self.handle.ask("lease")
        servers, domain = lease or ([], "")
        lines = [f"search {domain}"] if domain else []
        lines += [f"nameserver {each}" for each in self._nameservers or servers]
        return "".join(f"{line}\n" for line in lines).encode()

    def sockets(self) -> Sequence[SocketState]:
        states: list[SocketState] = self.handle.ask("sockets")
        return states

    def close(self) -> None:
        self._netlink.close()
        self.handle.close()
        from diorama.modules.networks.packet.switch import leave

        for name in self._switches:
            leave(name, self.handle.pid)


def _hardware(text: str | None) -> bytes:
    if text is None:
        return b""
    try:
        address = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        address = b""
    if len(address) != _ADDRESS_SIZE or address[0] & 1:
        raise UsageError(f"cannot mount packet: mac={text} is no address of an interface (02:00:00:00:00:01)")
    return address


def _share(options: Options) -> float:
    text = options.take("loss")
    try:
        share = float(text or "0") / 100
    except ValueError:
        share = -1
    if not 0 <= share < 1:
        raise UsageError(f"cannot mount packet: loss={text} is not a percentage below 100")
    return share


def _mtu(options: Options) -> int:
    text = options.take("mtu")
    if text is not None and not text.isdigit():
        raise UsageError(f"cannot mount packet: mtu={text} is not a number")
    return int(text or 0)


def _interface(text: str) -> IPv4Interface | IPv6Interface:
    try:
        if "/" in text:
            return ip_interface(text)
    except ValueError:
        pass
    raise UsageError(f"cannot mount packet: address={text} is not an address with its prefix (10.0.0.5/24)")


def _gateway(text: str, addresses: Sequence[IPv4Interface | IPv6Interface]) -> IPv4Address:
    try:
        gateway = IPv4Address(text)
    except ValueError:
        raise UsageError(f"cannot mount packet: gateway={text} is not an IPv4 address") from None
    if not any(gateway in each.network for each in addresses):
        raise UsageError(f"cannot mount packet: gateway={text} is in no network of address=")
    return gateway


def open_packet(rest: str, options: Options) -> Mount:
    """A mount of `packet:WIRE`."""
    return StackFile(make_packet(rest, options)).mount(f"packet:{rest}", options.shown)


def make_packet(rest: str, options: Options) -> PacketNetwork:
    """A stack on a wire (`diorama.modules.networks.packet.wires`), or without one; `UsageError`."""
    network = PacketNetwork()
    try:
        if rest:
            network.add_wire(rest, options)
        options.finish(f"packet:{rest}")
    except BaseException:
        network.close()
        raise
    return network
