"""Interface: one of lwIP's interfaces, on a wire; `lo`, which has none.

lwIP knows one IPv4 address an interface, and for IPv6 no length of a prefix but 64; what it does not keep
is kept here.
"""

from __future__ import annotations

import ctypes
import errno
import secrets
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Final

from diorama.interfaces.network import Link, refuse
from diorama.interfaces.story import Counters
from diorama.modules.networks.packet import lwip as facts
from diorama.modules.networks.packet.layouts import IPV6_ADDRESSES, IpAddress, Netif
from diorama.modules.networks.packet.lwip import (
    Lwip,
    NetifCallback,
    OutputCallback,
    RoutedCallback,
    read_pbuf,
)
from diorama.modules.networks.packet.wires import Wire

__all__ = ["EthernetInterface", "Interface", "Loopback", "make_address"]

_UP: Final = 0x1
_BROADCAST: Final = 0x2
_LOOPBACK: Final = 0x8
_RUNNING: Final = 0x40
_MULTICAST: Final = 0x1000
_LOWER_UP: Final = 0x10000
_ARPHRD_ETHER: Final = 1
_ARPHRD_LOOPBACK: Final = 772
_VALID: Final = 0x10
_PREFERRED: Final = 0x30
_TENTATIVE: Final = 0x08
_LINK_LOCAL: Final = 0
"""The slot that lwIP keeps for a link-local address."""
_MTU: Final = 1500
_LOCAL_MTU: Final = 65535
_HEAD: Final = 14
_ADDRESS_SIZE: Final = 6


def make_address() -> bytes:
    """A hardware address by chance, which says that it is nobody's."""
    first = secrets.randbits(8) & 0xFC | 0x02
    return bytes([first]) + secrets.token_bytes(5)


class Interface:
    """What both sorts have in common."""

    flags = 0
    driver = ""

    def __init__(self, lwip: Lwip, name: str, short: bytes) -> None:
        self.lwip = lwip
        self.name = name
        self.netif = Netif()
        self._short = short
        self._prefix = 32
        self._prefixes: dict[IPv6Address, int] = {}
        self._init = NetifCallback(self._initialise)
        self._input = lwip.address_of(self._input_name())
        zero = IpAddress()
        arguments = [ctypes.byref(zero)] * 3
        lwip.netif_add(
            ctypes.byref(self.netif), *arguments, None, ctypes.cast(self._init, ctypes.c_void_p), self._input
        )
        lwip.check(self.netif)

    def _input_name(self) -> str:
        raise NotImplementedError

    def _initialise(self, _netif: int) -> int:
        raise NotImplementedError

    @property
    def index(self) -> int:
        """Its number, from 1."""
        return self.netif.num + 1

    @property
    def is_up(self) -> bool:
        """Whether it is set up."""
        return bool(self.netif.flags & facts.FLAG_UP)

    @property
    def has_carrier(self) -> bool:
        """Whether there is a wire."""
        return bool(self.netif.flags & facts.FLAG_LINK_UP)

    def set_up(self, up: bool) -> None:
        """Set it up or down."""
        (self.lwip.netif_set_up if up else self.lwip.netif_set_down)(ctypes.byref(self.netif))

    # -- addresses ----------------------------------------------------------------------------

    def ipv4(self) -> IPv4Interface | None:
        """Its IPv4 address, if it has one."""
        address = self.netif.ip_addr.get()
        return IPv4Interface((address, self._prefix)) if int(address) else None

    def ipv6(self) -> list[IPv6Interface]:
        """Its IPv6 addresses that are valid or will be."""
        found: list[IPv6Interface] = []
        for slot in range(IPV6_ADDRESSES):
            if self.netif.ip6_addr_state[slot] & (_VALID | _TENTATIVE):
                address = self.netif.ip6_addr[slot].get()
                assert isinstance(address, IPv6Address)
                found.append(IPv6Interface((address, self._prefixes.get(address, 64))))
        return found

    def has_near(self, address: IPv4Address) -> bool:
        """Whether an IPv4 address is in its network."""
        own = self.ipv4()
        return own is not None and address in own.network

    def addresses(self) -> list[IPv4Interface | IPv6Interface]:
        """All of them."""
        one = self.ipv4()
        return [*([one] if one else ()), *self.ipv6()]

    def set_ipv4(self, address: IPv4Interface | None, gateway: IPv4Address | None = None) -> None:
        """Give it an IPv4 address in place of the one that it has, or none."""
        host = IpAddress.of(address.ip if address else IPv4Address(0))
        mask = IpAddress.of(address.netmask if address else IPv4Address(0))
        way = IpAddress.of(gateway or IPv4Address(0))
        self._prefix = address.network.prefixlen if address else 32
        parts = (ctypes.byref(host), ctypes.byref(mask), ctypes.byref(way))
        self.lwip.netif_set_addr(ctypes.byref(self.netif), *parts)

    def add(self, address: IPv4Interface | IPv6Interface) -> None:
        """One more address."""
        if address in self.addresses():
            raise refuse(errno.EEXIST)
        if isinstance(address, IPv4Interface):
            if self.ipv4() is not None:
                raise refuse(errno.EOPNOTSUPP)
            self.set_ipv4(address)
            return
        slot = ctypes.c_int8()
        made = IpAddress.of(address.ip, self.index if address.ip.is_link_local else 0)
        if self.lwip.netif_add_ip6_address(ctypes.byref(self.netif), ctypes.byref(made), ctypes.byref(slot)):
            raise refuse(errno.ENOBUFS)
        self._prefixes[address.ip] = address.network.prefixlen
        # At once, without asking whether somebody else has it: who gives it knows.
        self.lwip.netif_ip6_addr_set_state(ctypes.byref(self.netif), slot.value, _PREFERRED)

    def remove(self, address: IPv4Interface | IPv6Interface) -> None:
        """Take an address away."""
        if isinstance(address, IPv4Interface):
            has = self.ipv4()
            if has is None or has.ip != address.ip:
                raise refuse(errno.EADDRNOTAVAIL)
            self.set_ipv4(None)
            return
        for slot in range(IPV6_ADDRESSES):
            if self.netif.ip6_addr_state[slot] and self.netif.ip6_addr[slot].get() == address.ip:
                self.lwip.netif_ip6_addr_set_state(ctypes.byref(self.netif), slot, 0)
                return
        raise refuse(errno.EADDRNOTAVAIL)

    def counters(self) -> Counters:
        """What has passed."""
        return Counters()

    def link(self) -> Link:
        """What is told of it."""
        flags = self.flags
        if self.is_up:
            flags |= _UP | (_RUNNING | _LOWER_UP if self.has_carrier else 0)
        return Link(
            index=self.index,
            name=self.name,
            flags=flags,
            kind=_ARPHRD_LOOPBACK if self.flags & _LOOPBACK else _ARPHRD_ETHER,
            mtu=self.netif.mtu,
            address=bytes(self.netif.hwaddr),
            addresses=self.addresses(),
            driver=self.driver,
            counters=self.counters(),
        )


class Loopback(Interface):
    """`lo`."""

    flags = _LOOPBACK

    def __init__(self, lwip: Lwip) -> None:
        self._output = RoutedCallback(self._back)
        super().__init__(lwip, "lo", b"lo")
        self.set_ipv4(IPv4Interface("127.0.0.1/8"))
        self.add(IPv6Interface("::1/128"))
        lwip.netif_set_link_up(ctypes.byref(self.netif))
        self.set_up(True)

    def _back(self, netif: int, pbuf: int, _to: int) -> int:
        code: int = self.lwip.netif_loop_output(netif, pbuf)
        return code

    def _input_name(self) -> str:
        return "ip_input"

    def _initialise(self, _netif: int) -> int:
        self.netif.name = self._short
        self.netif.mtu = _LOCAL_MTU
        self.netif.mtu6 = _LOCAL_MTU
        output = ctypes.cast(self._output, ctypes.c_void_p).value or 0
        self.netif.output = output
        self.netif.output_ip6 = output
        self.netif.flags |= facts.FLAG_LINK_UP
        return 0


class EthernetInterface(Interface):
    """An interface on a wire."""

    flags = _BROADCAST | _MULTICAST

    def __init__(self, lwip: Lwip, name: str, address: bytes, wire: Wire) -> None:
        self.wire: Wire | None = wire
        self._address = address
        self._send = OutputCallback(self._transmit)
        self.lost = False
        self.driver = wire.kind
        self._sent = [0, 0]
        self._received = [0, 0]
        super().__init__(lwip, name, (name.encode() + b"en")[:2])
        self.netif.ip6_autoconfig_enabled = 1
        lwip.netif_set_link_up(ctypes.byref(self.netif))

    def _input_name(self) -> str:
        return "ethernet_input"

    def _initialise(self, _netif: int) -> int:
        netif = self.netif
        netif.name = self._short
        netif.mtu = _MTU
        netif.mtu6 = _MTU
        ctypes.memmove(netif.hwaddr, self._address, 6)
        netif.hwaddr_len = 6
        netif.output = self.lwip.address_of("etharp_output")
        netif.output_ip6 = self.lwip.address_of("ethip6_output")
        netif.linkoutput = ctypes.cast(self._send, ctypes.c_void_p).value or 0
        netif.flags |= (
            facts.FLAG_BROADCAST | facts.FLAG_ARP | facts.FLAG_ETHERNET | facts.FLAG_IGMP | facts.FLAG_MLD6
        )
        return 0

    def set_up(self, up: bool) -> None:
        """Set it up or down: IPv6 has a link-local address from then on, or no address any more."""
        if up and not self.is_up and not self.netif.ip6_addr_state[_LINK_LOCAL]:
            self.lwip.netif_create_ip6_linklocal_address(ctypes.byref(self.netif), 1)
        super().set_up(up)
        if not up:
            for address in self.ipv6():
                self.remove(address)

    def set_mtu(self, mtu: int) -> None:
        """Change the size of its packets."""
        if not 576 <= mtu <= 9000:
            raise refuse(errno.EINVAL)
        self.netif.mtu = self.netif.mtu6 = mtu

    def set_address(self, address: bytes) -> None:
        """Change its hardware address."""
        if len(address) != _ADDRESS_SIZE or address[0] & 1:
            raise refuse(errno.EADDRNOTAVAIL)
        ctypes.memmove(self.netif.hwaddr, address, _ADDRESS_SIZE)

    def _transmit(self, _netif: int, pbuf: int) -> int:
        self.transmit(read_pbuf(pbuf))
        return 0

    def transmit(self, frame: bytes) -> None:
        """Send a frame, or lose it."""
        if self.wire is None:
            return
        self._sent[0] += len(frame)
        self._sent[1] += 1
        try:
            self.wire.send(frame)
        except OSError:
            self.lost = True

    def counters(self) -> Counters:
        received, sent = self._received, self._sent
        return Counters(
            received_bytes=received[0], received_packets=received[1], sent_bytes=sent[0], sent_packets=sent[1]
        )

    def receive(self, frame: bytes) -> None:
        """A frame has come."""
        if len(frame) < _HEAD:
            return
        self._received[0] += len(frame)
        self._received[1] += 1
        pbuf = self.lwip.pbuf(frame)
        if pbuf is not None and self.lwip.ethernet_input(pbuf, ctypes.byref(self.netif)):
            self.lwip.pbuf_free(pbuf)

    def unplug(self) -> None:
        """The wire has ended."""
        if self.wire is not None:
            self.wire.close()
            self.wire = None
            self.lwip.netif_set_link_down(ctypes.byref(self.netif))
        self.lost = False

    def plug(self, wire: Wire) -> None:
        """There is a wire again."""
        self.wire = wire
        self.lwip.netif_set_link_up(ctypes.byref(self.netif))

    def remove_all(self) -> None:
        """It goes away."""
        self.unplug()
        self.lwip.netif_remove(ctypes.byref(self.netif))
