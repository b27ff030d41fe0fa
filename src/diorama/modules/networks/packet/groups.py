"""Groups: multicast memberships of sockets, which lwIP counts by interface."""

from __future__ import annotations

import ctypes
import errno
import socket
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from diorama.modules.networks.packet.interface import EthernetInterface
from diorama.modules.networks.packet.layouts import IpAddress

if TYPE_CHECKING:
    from diorama.modules.networks.packet.datagrams import Datagrams
    from diorama.modules.networks.packet.stack import Stack

__all__ = ["Groups"]

_IPV6: Final = 41
_JOIN: Final = {(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP), (_IPV6, 20)}
_LEAVE: Final = {(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP), (_IPV6, 21)}


class Groups:
    """The memberships of all sockets of a stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def apply(self, _owner: Datagrams, level: int, name: int, value: bytes) -> bool:
        """Whether this option was about a group: then it has been joined or left."""
        if (level, name) not in _JOIN | _LEAVE:
            return False
        group, interface = self._asked(level, value)
        verb = "joingroup" if (level, name) in _JOIN else "leavegroup"
        protocol = "igmp" if isinstance(group, IPv4Address) else "mld6"
        wire = IpAddress.of(group, interface.index if isinstance(group, IPv6Address) else 0)
        call = getattr(self._stack.lwip, f"{protocol}_{verb}_netif")
        if call(ctypes.byref(interface.netif), ctypes.byref(wire)):
            raise OSError(errno.EADDRNOTAVAIL if verb == "leavegroup" else errno.ENOBUFS, verb)
        return True

    def _asked(self, level: int, value: bytes) -> tuple[IPv4Address | IPv6Address, EthernetInterface]:
        """The group, and the interface that is meant."""
        if level == socket.IPPROTO_IP and len(value) >= 8:
            group: IPv4Address | IPv6Address = IPv4Address(value[:4])
            index, address = int.from_bytes(value[8:12], "little"), IPv4Address(value[4:8])
        elif level == _IPV6 and len(value) >= 20:
            group, index = IPv6Address(value[:16]), int.from_bytes(value[16:20], "little")
            address = IPv4Address(0)
        else:
            raise OSError(errno.EINVAL, "ip_mreq")
        if not group.is_multicast:
            raise OSError(errno.EINVAL, "not a group")
        return group, self._interface(index, address)

    def _interface(self, index: int, address: IPv4Address) -> EthernetInterface:
        """By index, by address, or the first one."""
        for interface in self._stack.interfaces.values():
            if not isinstance(interface, EthernetInterface):
                continue
            own = interface.ipv4()
            by_address = int(address) and own is not None and own.ip == address
            if index == interface.index or (not index and (by_address or not int(address))):
                return interface
        raise OSError(errno.ENODEV, "no such interface")
