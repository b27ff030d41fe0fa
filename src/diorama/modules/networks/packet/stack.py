"""Stack: a host on virtual wires, in a process of its own: interfaces, addresses, sockets.

Numbers of sockets that the view has made are odd, those of accepted connections even.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import secrets
import socket
import time
from collections import OrderedDict
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from diorama.errors import UsageError
from diorama.modules.networks.packet import lwip as facts
from diorama.modules.networks.packet.connections import Connection
from diorama.modules.networks.packet.datagrams import Datagrams, Raw, Udp
from diorama.modules.networks.packet.dhcp import Client, Lease
from diorama.modules.networks.packet.frames import asked_port, is_harmful
from diorama.modules.networks.packet.groups import Groups
from diorama.modules.networks.packet.interface import EthernetInterface, Interface, Loopback, make_address
from diorama.modules.networks.packet.layouts import ANY, V4, V6, IpAddress, Netif
from diorama.modules.networks.packet.listener import Listener
from diorama.modules.networks.packet.loop import IN, Loop
from diorama.modules.networks.packet.lwip import Lwip
from diorama.modules.networks.packet.names import name_of
from diorama.modules.networks.packet.tcpsocket import TcpSocket
from diorama.modules.networks.packet.wires import Lossy, Recorded, Wire, open_wire

__all__ = ["Callbacks", "Stack"]

Address = IPv4Address | IPv6Address

_BATCH: Final = 64
_ARP_ENTRIES: Final = 10
_SWEEP: Final = 1.0
_REOPEN: Final = 1.0
_DEPARTED_MAX: Final = 1024
_MAPPED: Final = "::ffff:"
_IPV6_V6ONLY: Final = 26
_IPPROTO_IPV6: Final = 41


class Callbacks:
    """What lwIP calls, for all sockets: each finds its own by its number."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._connections = stack.connections
        self.received = facts.TcpReceived(self._received)
        self.sent = facts.TcpSent(self._sent)
        self.connected = facts.TcpConnected(self._connected)
        self.accepted = facts.TcpConnected(self._accepted)
        self.failed = facts.TcpFailed(self._failed)
        self.udp_received = facts.UdpReceived(self._udp_received)
        self.raw_received = facts.RawReceived(self._raw_received)

    def _received(self, number: int | None, _pcb: int, pbuf: int | None, _code: int) -> int:
        connection = self._connections.get(number or 0)
        if connection is not None:
            return connection.received(pbuf)
        if pbuf:
            self._stack.lwip.pbuf_free(pbuf)
        return facts.OK

    def _sent(self, number: int | None, _pcb: int, size: int) -> int:
        connection = self._connections.get(number or 0)
        return connection.sent(size) if connection else facts.OK

    def _connected(self, number: int | None, _pcb: int, _code: int) -> int:
        connection = self._connections.get(number or 0)
        if connection is not None:
            connection.established()
        return facts.OK

    def _accepted(self, number: int | None, pcb: int | None, _code: int) -> int:
        listener = self._stack.listeners.get(number or 0)
        return listener.accepted(pcb) if listener and pcb else facts.OK

    def _failed(self, number: int | None, code: int) -> None:
        connection = self._connections.get(number or 0)
        if connection is not None:
            connection.failed(code)

    def _udp_received(self, number: int, _pcb: int, pbuf: int, address: int, port: int) -> None:
        one = self._stack.datagrams.get(number)
        if isinstance(one, Udp):
            one.received(pbuf, address, port)
        else:
            self._stack.lwip.pbuf_free(pbuf)

    def _raw_received(self, number: int, _pcb: int, pbuf: int, address: int) -> int:
        one = self._stack.datagrams.get(number)
        if isinstance(one, Raw):
            one.received(pbuf, address)
        return 0


class Stack:
    """The host.  All of it is called with the core locked."""

    def __init__(self) -> None:
        self.key = b""
        self.lwip = Lwip()
        self.loop = Loop(self.lwip.core)
        self.connections: dict[int, Connection] = {}
        self.datagrams: dict[int, Datagrams] = {}
        self.listeners: dict[int, Listener] = {}
        self.departed: OrderedDict[int, TcpSocket | Datagrams] = OrderedDict()
        self.names: dict[int, tuple[int, bytes]] = {}
        self.callbacks = Callbacks(self)
        self.groups = Groups(self)
        self.interfaces: dict[int, Interface] = {}
        self.gateway: tuple[IPv4Address, int] | None = None
        self.lease: Lease | None = None
        self._clients: dict[int, Client] = {}
        self._locators: dict[int, tuple[str, str | None, float]] = {}
        self._even = itertools.count(2, 2)
        with self.lwip.core:
            self._add(Loopback(self.lwip))
        self.loop.after(_SWEEP, self._sweep_often)

    # -- interfaces ---------------------------------------------------------------------------

    def _add(self, interface: Interface) -> None:
        self.interfaces[interface.index] = interface

    def add_wire(
        self, locator: str, name: str = "", address: bytes = b"", record: str | None = None, loss: float = 0.0
    ) -> EthernetInterface:
        """One more interface, which is down."""
        wire = self._open(locator, record, loss)
        names = {each.name for each in self.interfaces.values()}
        if not name:
            name = next(each for n in itertools.count() if (each := f"{wire.kind}{n}") not in names)
        if name in names:
            wire.close()
            raise OSError(errno.EEXIST, "an interface has this name")
        interface = EthernetInterface(self.lwip, name, address or make_address(), wire)
        self._add(interface)
        self._locators[interface.index] = locator, record, loss
        self._watch(interface)
        return interface

    def _open(self, locator: str, record: str | None, loss: float) -> Wire:
        wire = open_wire(locator)
        if loss:
            wire = Lossy(wire, loss)
        if record is not None:
            from diorama.modules.networks.packet.pcap import Recorder

            try:
                wire = Recorded(wire, Recorder(record))
            except UsageError:
                wire.close()
                raise
        return wire

    def _watch(self, interface: EthernetInterface) -> None:
        assert interface.wire is not None
        self.loop.watch(interface.wire.fileno(), IN, lambda _: self._frames(interface))

    def _frames(self, interface: EthernetInterface) -> None:
        wire, client = interface.wire, self._clients.get(interface.index)
        if wire is None:
            return
        try:
            for _ in range(_BATCH):
                frame = wire.receive()
                if frame is None:
                    break
                if client is not None and client.is_ours(frame):
                    self._of_server(interface, client, frame)
                elif not is_harmful(frame):
                    port = asked_port(frame)
                    if port:
                        self.sweep_listeners(port)
                    interface.receive(frame)
        except OSError:
            interface.lost = True
        if interface.lost:
            self._lose(interface)

    def _lose(self, interface: EthernetInterface) -> None:
        """The wire has ended: there is no carrier until it can be opened again."""
        if interface.wire is not None:
            self.loop.unwatch(interface.wire.fileno())
        interface.unplug()
        self.loop.after(_REOPEN, lambda: self._reopen(interface))

    def _reopen(self, interface: EthernetInterface) -> None:
        if interface.index not in self._locators or interface.wire is not None:
            return
        locator, _, loss = self._locators[interface.index]
        try:
            interface.plug(self._open(locator, None, loss))
        except UsageError:
            self.loop.after(_REOPEN, lambda: self._reopen(interface))
            return
        self._watch(interface)

    def change(
        self, interface: EthernetInterface, mtu: int | None, name: str | None, address: bytes | None
    ) -> None:
        """Other properties of an interface; EEXIST for a name that another one has."""
        if name is not None:
            if any(each.name == name for each in self.interfaces.values()):
                raise OSError(errno.EEXIST, "an interface has this name")
            interface.name = name
        if mtu is not None:
            interface.set_mtu(mtu)
        if address is not None:
            interface.set_address(address)

    def neighbours(self) -> list[tuple[int, str, bytes]]:
        """Who has been found by ARP: interface, address, hardware address."""
        found: list[tuple[int, str, bytes]] = []
        for slot in range(_ARP_ENTRIES):
            address, netif, hardware = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
            places = (ctypes.byref(address), ctypes.byref(netif), ctypes.byref(hardware))
            if not self.lwip.etharp_get_entry(slot, *places):
                continue
            host = socket.inet_ntoa(ctypes.string_at(address.value or 0, 4))
            index = Netif.from_address(netif.value or 0).num + 1
            found.append((index, host, ctypes.string_at(hardware.value or 0, 6)))
        return found

    def remove_link(self, interface: EthernetInterface) -> None:
        """Take an interface away."""
        if interface.wire is not None:
            self.loop.unwatch(interface.wire.fileno())
        index = interface.index
        del self.interfaces[index]
        self.choose_default()
        self._locators.pop(index, None)
        self._clients.pop(index, None)
        interface.remove_all()

    # -- addresses ----------------------------------------------------------------------------

    def set_gateway(self, gateway: IPv4Address | None, interface: Interface) -> None:
        """The default route of IPv4."""
        way = IpAddress.of(gateway or IPv4Address(0))
        self.lwip.netif_set_gw(ctypes.byref(interface.netif), ctypes.byref(way))
        self.gateway = (gateway, interface.index) if gateway else None
        self.choose_default()

    def choose_default(self) -> None:
        """Where lwIP sends what is for no network that it knows: broadcasts and groups, if nothing else.

        A default route ends when nobody can reach its gateway any more.
        """
        if self.gateway is not None:
            gateway, index = self.gateway
            interface = self.interfaces.get(index)
            if interface is None or not interface.is_up or not interface.has_near(gateway):
                self.gateway = None
        wires = [each for each in self.interfaces.values() if isinstance(each, EthernetInterface)]
        ways = [each for each in wires if self.gateway and each.index == self.gateway[1]]
        ways += [each for each in wires if each.is_up]
        self.lwip.netif_set_default(ctypes.byref(ways[0].netif) if ways else None)

    def ask_dhcp(self, interface: EthernetInterface, host_name: str) -> None:
        """Get an address from a server, and keep it."""
        client = self._clients[interface.index] = Client(bytes(interface.netif.hwaddr), host_name)
        self._send(interface, client, client.start(time.monotonic()))

    def _send(self, interface: EthernetInterface, client: Client, frames: list[bytes]) -> None:
        for frame in frames:
            interface.transmit(frame)
        pause = max(0.05, client.due - time.monotonic())
        self.loop.after(pause, lambda: self._tick(interface, client))

    def _tick(self, interface: EthernetInterface, client: Client) -> None:
        if self._clients.get(interface.index) is client:
            now = time.monotonic()
            if now >= client.due:
                self._send(interface, client, client.tick(now))
            if client.lease is None and self.lease is not None:
                self.lease = None
                interface.set_ipv4(None)

    def _of_server(self, interface: EthernetInterface, client: Client, frame: bytes) -> None:
        was = client.lease
        frames = client.receive(frame, time.monotonic())
        if client.lease is not was and client.lease is not None:
            self.lease = lease = client.lease
            has = interface.ipv4()
            if has != lease.address:
                interface.set_ipv4(lease.address)
            if lease.gateway is not None:
                self.set_gateway(lease.gateway, interface)
        self._send(interface, client, frames)

    def parse(self, host: str) -> Address:
        """An address; one of IPv4 written as IPv6 is IPv4."""
        return ip_address(host.removeprefix(_MAPPED) if "." in host else host)

    def shown(self, family: int, address: IpAddress) -> str:
        """An address as a socket of a family sees it."""
        text = address.text()
        if family == socket.AF_INET6 and address.type == V4:
            return "::" if text == "0.0.0.0" else _MAPPED + text
        return "::" if family == socket.AF_INET6 and text == "0.0.0.0" else text

    def kind_of(self, one: TcpSocket | Datagrams) -> int:
        """The type of address that a socket is for."""
        if one.family == socket.AF_INET:
            return V4
        return V6 if one.option(_IPPROTO_IPV6, _IPV6_V6ONLY) else ANY

    def local(self, one: TcpSocket | Datagrams, host: str, scope: int) -> IpAddress:
        """An address that a socket is bound to, which must be one of ours."""
        address = self.parse(host)
        if address.is_unspecified:
            made = IpAddress.of(address)
            made.type = self.kind_of(one)
            return made
        if not (address.is_multicast or self.is_own(address)):
            raise OSError(errno.EADDRNOTAVAIL, "not an address of this host")
        return IpAddress.of(address, self._zone(address, scope))

    def remote(self, one: TcpSocket | Datagrams, host: str, scope: int) -> IpAddress:
        """An address that a socket is to reach; the unspecified one means this host."""
        address = self.parse(host)
        if one.family == socket.AF_INET6 and address.version == 4 and one.option(_IPPROTO_IPV6, _IPV6_V6ONLY):
            raise OSError(errno.ENETUNREACH, "IPv6 only")
        if address.is_unspecified:
            address = IPv4Address("127.0.0.1") if address.version == 4 else IPv6Address("::1")
        return IpAddress.of(address, self._zone(address, scope))

    def _zone(self, address: Address, scope: int) -> int:
        if isinstance(address, IPv4Address) or not (address.is_link_local or address.is_multicast):
            return 0
        if scope:
            return scope & 0xFF
        wires = [each for each in self.interfaces.values() if isinstance(each, EthernetInterface)]
        return wires[0].index if wires else 0

    def is_own(self, address: Address) -> bool:
        """Whether an address is one of this host."""
        own = (own.ip == address for each in self.interfaces.values() for own in each.addresses())
        return address.is_loopback or any(own)

    def way(self, address: IpAddress) -> Interface | None:
        """The interface to an address; None if there is no route."""
        target = address.get()
        up = [each for each in self.interfaces.values() if each.is_up and each.has_carrier]
        for each in up:
            if any(target in own.network or target == own.ip for own in each.addresses()):
                return each
            if address.zone and address.zone == each.index:
                return each
        if target.is_loopback:
            return next((each for each in up if isinstance(each, Loopback)), None)
        if isinstance(target, IPv4Address) and not target.is_multicast and str(target) != "255.255.255.255":
            return next((each for each in up if self.gateway and each.index == self.gateway[1]), None)
        return next((each for each in up if isinstance(each, EthernetInterface)), None)

    def source(self, family: int, address: IpAddress) -> str:
        """The address that a packet to that one comes from, as a socket of a family sees it."""
        way, target = self.way(address), address.get()
        own = [each for each in way.addresses() if each.version == target.version] if way else []
        near = [each for each in own if target in each.network]
        if not own:
            return "0.0.0.0" if family == socket.AF_INET else "::"
        return self.shown(family, IpAddress.of((near or own)[0].ip))

    def check_way(self, one: Datagrams, address: IpAddress) -> None:
        """What Linux says of sending there: ENETUNREACH, EACCES for a broadcast that was not allowed."""
        way = self.way(address)
        if way is None:
            raise OSError(errno.ENETUNREACH, "no route")
        target = address.get()
        own = way.ipv4()
        is_broadcast = str(target) == "255.255.255.255" or (
            own is not None and own.network.prefixlen < 31 and target == own.network.broadcast_address
        )
        if is_broadcast and not one.option(socket.SOL_SOCKET, socket.SO_BROADCAST):
            raise OSError(errno.EACCES, "broadcast")

    def is_unresolved(self, address: IpAddress) -> bool:
        """Whether the neighbour on the way to an IPv4 address has not answered."""
        target, way = address.get(), self.way(address)
        if not isinstance(target, IPv4Address) or not isinstance(way, EthernetInterface):
            return False
        own = way.ipv4()
        if own is None or (target not in own.network and self.gateway is None):
            return False
        hop = target if target in own.network or self.gateway is None else self.gateway[0]
        wanted, first, second = IpAddress.of(hop), ctypes.c_void_p(), ctypes.c_void_p()
        arguments = (ctypes.byref(way.netif), ctypes.byref(wanted), ctypes.byref(first), ctypes.byref(second))
        return bool(self.lwip.etharp_find_addr(*arguments) < 0)

    # -- sockets ------------------------------------------------------------------------------

    def name_of(self, number: int, address: tuple[str, int, int] | None = None) -> bytes:
        """The name of a socket of ours."""
        return name_of(self.key, number, address)

    def identifier(self) -> int:
        """One that no ping socket has."""
        used = {one.local[1] for one in self.datagrams.values() if one.local}
        return next(each for each in iter(lambda: secrets.randbelow(0xFFFF) + 1, 0) if each not in used)

    def new_connection(self, family: int) -> Connection:
        """A connection that nobody has asked for."""
        number = next(self._even)
        one = self.connections[number] = Connection(self, number, family)
        return one

    def forget(self, one: TcpSocket | Datagrams) -> None:
        """A socket has ended; what it was is known for a while."""
        self.connections.pop(one.number, None)
        self.datagrams.pop(one.number, None)
        self.names.pop(one.number, None)
        listener = self.listeners.pop(one.number, None)
        if listener is not None:
            listener.close()
        self.departed[one.number] = one
        while len(self.departed) > _DEPARTED_MAX:
            self.departed.popitem(last=False)

    def sweep(self) -> None:
        """Close the sockets that their programs have closed without telling: those whose names are free."""
        for number in list(self.names):
            one = self.connections.get(number) or self.datagrams.get(number)
            if one is None:
                self.names.pop(number, None)
            elif not (isinstance(one, Connection) and (one.ours or one.is_connecting or one.is_connected)):
                self._close_if_free(one)

    def sweep_listeners(self, port: int) -> None:
        """The same for who listens on a port, before somebody asks for a connection: it is refused then."""
        for listener in list(self.listeners.values()):
            local = listener.socket.local
            if local is not None and local[1] == port:
                self._close_if_free(listener.socket)

    def _close_if_free(self, one: TcpSocket | Datagrams) -> None:
        type, name = self.names[one.number]
        with socket.socket(socket.AF_UNIX, type) as probe:
            try:
                probe.bind(name)
            except OSError:
                return
        one.close()

    def _sweep_often(self) -> None:
        self.sweep()
        for interface in list(self.interfaces.values()):
            if isinstance(interface, EthernetInterface) and interface.lost:
                self._lose(interface)
        self.loop.after(_SWEEP, self._sweep_often)
