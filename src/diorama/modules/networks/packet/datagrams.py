"""Datagrams: UDP, ping and raw sockets of programs, in the process of a stack.

What a program has is a socket of AF_UNIX (SOCK_DGRAM) with a name. Each peer of it has one too, here, and
the name of that one tells the address of the peer: whoever sends to it sends to the peer, and what comes
from the peer is sent from it. So a plain recv(2) or poll(2) is the kernel's own, and of an address only the
name is to be decoded. A program's socket that is connected is connected to the one of its peer, and then
the kernel keeps others away.

There is no end of file for datagrams. That the program has closed its socket shows when something is sent
to it, or when its name is free (`Stack.sweep`).
"""

from __future__ import annotations

import ctypes
import errno
import socket
from typing import TYPE_CHECKING, Final

from diorama.modules.networks.packet import lwip as facts
from diorama.modules.networks.packet.layouts import V4, V6, IpAddress, RawPcb, UdpPcb
from diorama.modules.networks.packet.loop import IN, OUT

if TYPE_CHECKING:
    from diorama.modules.networks.packet.stack import Stack

__all__ = ["Datagrams", "Ping", "Raw", "Udp", "checksum"]

_HEARD_MAX: Final = 128
_WAITING_MAX: Final = 212992
_SIZE_MAX: Final = 65507
_BURST: Final = 32
_IPV6_HEAD: Final = 40
_MULTICAST_LOOP: Final = 8
_PING_TYPES: Final[dict[int, tuple[int, int]]] = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}
_ICMP_HEAD: Final = 8


def checksum(data: bytes) -> int:
    """The Internet checksum."""
    if len(data) % 2:
        data += b"\0"
    total = sum(memoryview(data).cast("H"))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class _Peer:
    """One that a program speaks with: its socket here, and what waits for the program."""

    def __init__(self, owner: Datagrams, host: str, port: int, scope: int) -> None:
        self.owner = owner
        self.address = host, port, scope
        self.asked = False
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        stack = owner.stack
        try:
            self.socket.bind(stack.name_of(owner.number, self.address))
            self.socket.connect(owner.name)
        except BaseException:
            self.socket.close()
            raise
        self._waiting: list[bytes] = []
        self._size = 0
        stack.loop.watch(self.socket.fileno(), IN, self._happened)

    def give(self, data: bytes) -> None:
        """A datagram for the program; lost if too many wait already."""
        if self._size + len(data) > _WAITING_MAX:
            return
        self._waiting.append(data)
        self._size += len(data)
        if len(self._waiting) == 1:
            self._flush()

    def _flush(self) -> None:
        while self._waiting:
            try:
                self.socket.send(self._waiting[0], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self.owner.stack.loop.change(self.socket.fileno(), IN | OUT)
                return
            except PermissionError:
                pass  # the program has connected its socket to another one
            except OSError:
                self.owner.stack.loop.after(0, self.owner.close)
                self._waiting.clear()
                return
            self._size -= len(self._waiting.pop(0))

    def _happened(self, events: int) -> None:
        if events & OUT:
            self.owner.stack.loop.change(self.socket.fileno(), IN)
            self._flush()
        for _ in range(_BURST):
            try:
                data = self.socket.recv(_SIZE_MAX + 1)
            except OSError:
                return
            self.owner.send(data, *self.address)

    def close(self) -> None:
        """Not spoken with any more."""
        if self.socket.fileno() >= 0:
            self.owner.stack.loop.unwatch(self.socket.fileno())
            self.socket.close()


class Datagrams:
    """A socket for datagrams of one protocol."""

    listed = 0
    """The protocol by which it is told of to `ss`; none: not at all."""

    def __init__(self, stack: Stack, number: int, family: int, name: bytes) -> None:
        self.stack = stack
        self.lwip = stack.lwip
        self.number = number
        self.family = family
        self.name = name
        self.error = 0
        self.inode = 0
        self.options: dict[tuple[int, int], bytes] = {}
        self.local: tuple[str, int, int] | None = None
        self.remote: tuple[str, int, int] | None = None
        self._peers: dict[tuple[str, int, int], _Peer] = {}
        self.pcb = 0

    def option(self, level: int, name: int) -> int:
        """The value of an option that is a number; 0 if it was not set."""
        return int.from_bytes(self.options.get((level, name), b"")[:4], "little")

    def set_option(self, level: int, name: int, value: bytes) -> None:
        """An option that the program has set."""
        if self.stack.groups.apply(self, level, name, value):
            return
        self.options[level, name] = value
        if self.pcb:
            self._apply()

    def _apply(self) -> None:
        at = UdpPcb.from_address(self.pcb)
        ttl = self.option(socket.IPPROTO_IP, socket.IP_TTL) or self.option(41, socket.IPV6_UNICAST_HOPS)
        if 0 < ttl < 256:
            at.ttl = ttl
        tos = self.option(socket.IPPROTO_IP, socket.IP_TOS) or self.option(41, 67)
        at.tos = tos & 0xFF

    def make(self) -> None:
        """The control block of lwIP's."""
        raise NotImplementedError

    def bind(self, host: str, port: int, scope: int) -> None:
        """Take an address."""
        raise NotImplementedError

    def connect(self, host: str, port: int, scope: int) -> None:
        """Connect, as far as it goes without waiting."""
        self.reach(host, port, scope)
        self.remote = host, port, scope
        if self.local is None or not int(self.stack.parse(self.local[0])):
            source = self.stack.source(self.family, self.stack.remote(self, host, scope))
            self.local = source, self.local[1] if self.local else 0, 0

    def disconnect(self) -> None:
        """As connect(2) with AF_UNSPEC."""
        self.remote = None

    def reach(self, host: str, port: int, scope: int) -> None:
        """Where the program can send to this address, there is a socket; errors of the way there."""
        if self.local is None:
            self.bind("0.0.0.0" if self.family == socket.AF_INET else "::", 0, 0)
        address = self.stack.remote(self, host, scope)
        self.stack.check_way(self, address)
        peer = self._peer(host, port, scope)
        peer.asked = True

    def unreach(self, host: str, port: int, scope: int) -> None:
        """The program has other peers now."""
        peer = self._peers.pop((host, port, scope), None)
        if peer is not None:
            peer.close()

    def _peer(self, host: str, port: int, scope: int) -> _Peer:
        key = host, port, scope
        peer = self._peers.get(key)
        if peer is None:
            heard = [each for each in self._peers.values() if not each.asked]
            if len(heard) >= _HEARD_MAX:
                self.unreach(*heard[0].address)
            peer = self._peers[key] = _Peer(self, host, port, scope)
        return peer

    def give(self, data: bytes, host: str, port: int, scope: int) -> None:
        """Something has come for the program."""
        remote = self.remote
        if remote is not None and remote != (host, port, scope):
            return
        try:
            self._peer(host, port, scope).give(data)
        except OSError:
            self.stack.loop.after(0, self.close)

    def send(self, data: bytes, host: str, port: int, scope: int) -> None:
        """The program has sent something."""
        raise NotImplementedError

    def close(self) -> None:
        """The program has closed it."""
        for peer in self._peers.values():
            peer.close()
        self._peers.clear()
        self.stack.forget(self)
        if self.pcb:
            pcb, self.pcb = self.pcb, 0
            self.remove(pcb)

    def remove(self, pcb: int) -> None:
        """Give lwIP its control block back."""
        raise NotImplementedError


class Udp(Datagrams):
    """A UDP socket."""

    listed = socket.IPPROTO_UDP

    def make(self) -> None:
        if not self.pcb:
            self.pcb = self.lwip.udp_new_ip_type(self.stack.kind_of(self)) or 0
            if not self.pcb:
                raise OSError(errno.ENOBUFS, "lwIP has no memory")
            self.lwip.udp_recv(self.pcb, self.stack.callbacks.udp_received, self.number)
            UdpPcb.from_address(self.pcb).flags |= _MULTICAST_LOOP
            self._apply()

    def _apply(self) -> None:
        super()._apply()
        at = UdpPcb.from_address(self.pcb)
        at.so_options = 0x20 | (4 if self.option(socket.SOL_SOCKET, socket.SO_REUSEADDR) else 0)
        hops = self.option(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) or self.option(41, 18)
        if 0 < hops < 256:
            at.mcast_ttl = hops
        if self.options.get((socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP), b"\1")[:1] == b"\0":
            at.flags &= ~_MULTICAST_LOOP

    def bind(self, host: str, port: int, scope: int) -> None:
        if self.local is not None:
            raise OSError(errno.EINVAL, "bound")
        self.make()
        address = self.stack.local(self, host, scope)
        code = self.lwip.udp_bind(self.pcb, ctypes.byref(address), port)
        if code:
            raise OSError(facts.ERRNO[code], "bind")
        self.local = host, UdpPcb.from_address(self.pcb).local_port, scope

    def connect(self, host: str, port: int, scope: int) -> None:
        super().connect(host, port, scope)
        # Of several sockets with one port, lwIP chooses the one that is connected to the sender.
        address = self.stack.remote(self, host, scope)
        code = self.lwip.udp_connect(self.pcb, ctypes.byref(address), port)
        if code:
            raise OSError(facts.ERRNO[code], "connect")

    def disconnect(self) -> None:
        super().disconnect()
        if self.pcb:
            self.lwip.udp_disconnect(self.pcb)

    def received(self, pbuf: int, address: int, port: int) -> None:
        """A datagram has come."""
        source = IpAddress.from_address(address)
        host, scope = self.stack.shown(self.family, source), source.zone
        data = facts.read_pbuf(pbuf)
        self.lwip.pbuf_free(pbuf)
        self.give(data, host, port, scope)

    def send(self, data: bytes, host: str, port: int, scope: int) -> None:
        if len(data) > _SIZE_MAX or not self.pcb:
            return
        address = self.stack.remote(self, host, scope)
        pbuf = self.lwip.pbuf(data, facts.TRANSPORT_LAYER)
        if pbuf is not None:
            self.lwip.udp_sendto(self.pcb, pbuf, ctypes.byref(address), port)
            self.lwip.pbuf_free(pbuf)

    def remove(self, pcb: int) -> None:
        self.lwip.udp_remove(pcb)


class Raw(Datagrams):
    """A raw socket of one protocol: it is given all packets of it, with the IP header if that is IPv4."""

    def __init__(self, stack: Stack, number: int, family: int, name: bytes, protocol: int) -> None:
        super().__init__(stack, number, family, name)
        self.protocol = protocol

    def make(self) -> None:
        if not self.pcb:
            kind = V4 if self.family == socket.AF_INET else V6
            self.pcb = self.lwip.raw_new_ip_type(kind, self.protocol) or 0
            if not self.pcb:
                raise OSError(errno.ENOBUFS, "lwIP has no memory")
            self.lwip.raw_recv(self.pcb, self.stack.callbacks.raw_received, self.number)
            if self.protocol == socket.IPPROTO_ICMPV6:
                # The checksum is the kernel's task, RFC 3542: with lwIP that of who makes the control block.
                at = RawPcb.from_address(self.pcb)
                at.chksum_offset, at.chksum_reqd = 2, 1
            self._apply()

    def _apply(self) -> None:
        at = RawPcb.from_address(self.pcb)
        ttl = self.option(socket.IPPROTO_IP, socket.IP_TTL) or self.option(41, socket.IPV6_UNICAST_HOPS)
        if 0 < ttl < 256:
            at.ttl = ttl

    def bind(self, host: str, port: int, scope: int) -> None:
        self.make()
        address = self.stack.local(self, host, scope)
        code = self.lwip.raw_bind(self.pcb, ctypes.byref(address))
        if code:
            raise OSError(facts.ERRNO[code], "bind")
        self.local = host, 0, scope

    def received(self, pbuf: int, address: int) -> None:
        """A packet has come, which is not ours alone."""
        source = IpAddress.from_address(address)
        packet = facts.read_pbuf(pbuf)
        wanted = self.wanted(packet)
        if wanted is not None:
            self.give(wanted, self.stack.shown(self.family, source), 0, source.zone)

    def wanted(self, packet: bytes) -> bytes | None:
        """What the program is given of a packet."""
        return packet if self.family == socket.AF_INET else packet[_IPV6_HEAD:]

    def send(self, data: bytes, host: str, port: int, scope: int) -> None:
        if len(data) > _SIZE_MAX or not self.pcb:
            return
        address = self.stack.remote(self, host, scope)
        pbuf = self.lwip.pbuf(data, facts.IP_LAYER)
        if pbuf is not None:
            self.lwip.raw_sendto(self.pcb, pbuf, ctypes.byref(address))
            self.lwip.pbuf_free(pbuf)

    def remove(self, pcb: int) -> None:
        self.lwip.raw_remove(pcb)


class Ping(Raw):
    """A ping socket, icmp(7): echo requests with an identifier that is its port, and the replies to them."""

    def bind(self, host: str, port: int, scope: int) -> None:
        super().bind(host, port, scope)
        self.local = host, port or self.stack.identifier(), scope

    def wanted(self, packet: bytes) -> bytes | None:
        head = (packet[0] & 0xF) * 4 if self.family == socket.AF_INET else _IPV6_HEAD
        message = packet[head:]
        local = self.local
        if len(message) < _ICMP_HEAD or message[0] != _PING_TYPES[self.family][1] or local is None:
            return None
        return message if int.from_bytes(message[4:6], "big") == local[1] else None

    def send(self, data: bytes, host: str, port: int, scope: int) -> None:
        local = self.local
        if len(data) < _ICMP_HEAD or data[0] != _PING_TYPES[self.family][0] or local is None:
            return
        message = bytearray(data)
        message[2:4] = b"\0\0"
        message[4:6] = local[1].to_bytes(2, "big")
        if self.family == socket.AF_INET:
            message[2:4] = checksum(bytes(message)).to_bytes(2, "little")
        super().send(bytes(message), host, port, scope)
