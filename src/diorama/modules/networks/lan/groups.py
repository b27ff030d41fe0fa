"""Groups: datagrams for several, by multicast or broadcast.

The sender sends a copy to each socket that is to hear it. Which those are each host tells for itself: a
thread of it (`Directory`) answers who asks. For that they must have addresses of their own, so of several
sockets that share a port, as multicast programs do (SO_REUSEADDR), all but the first are bound to one more
wildcard.
"""

from __future__ import annotations

import errno
import socket
import struct
import threading
import time
import weakref
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from diorama.abi.socket import AF_INET, AF_INET6, SOCK_DGRAM, SOL_IP, SOL_IPV6
from diorama.interfaces.network import refuse
from diorama.modules.networks.lan.addresses import GATEWAY, Place, parse_real
from diorama.modules.networks.lan.story import ETH0, LO

if TYPE_CHECKING:
    from diorama.modules.networks.lan.plan import Plan
    from diorama.modules.networks.lan.udp import DatagramEndpoint

__all__ = ["DIRECTORY", "SETTERS", "Directory", "is_group"]

DIRECTORY: Final = 56
"""The index of the address where a host is asked who hears a group."""
_PORT: Final = 8
_PATIENCE: Final = 1.0
_LARGEST: Final = 1 << 12
_EVERYBODY: Final = "255.255.255.255"
_IP_MULTICAST_ALL: Final = 49
_IPV6_MULTICAST_ALL: Final = 29
Setter: TypeAlias = "Callable[[DatagramEndpoint, socket.socket, bytes], bool]"


def is_group(plan: Plan, text: str) -> bool:
    """Whether an address is one of several hosts."""
    return is_broadcast(plan, text) or ip_address(text).is_multicast


def is_broadcast(plan: Plan, text: str) -> bool:
    """Whether an address is that of all hosts of the LAN."""
    return text in (_EVERYBODY, str(plan.member.address.network.broadcast_address))


class Directory:
    """Who of a host hears which group, and the thread that tells other hosts."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._known: weakref.WeakSet[DatagramEndpoint] = weakref.WeakSet()
        self._lock = threading.Lock()
        self.socket = socket.socket(AF_INET, SOCK_DGRAM)
        plan.filter(self.socket)
        self.socket.bind(plan.place(plan.host, DIRECTORY, _PORT).real())
        self._thread = threading.Thread(target=self._run, name=f"lan:groups:{plan.host}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell no more."""
        with socket.socket(AF_INET, SOCK_DGRAM) as ours:
            ours.bind(self._plan.place(self._plan.host, DIRECTORY, 0).real())
            ours.sendto(b"", self.socket.getsockname())
            self._thread.join()
        self.socket.close()

    def add(self, endpoint: DatagramEndpoint) -> None:
        """A socket has been bound."""
        with self._lock:
            self._known.add(endpoint)

    def hearers(self, text: str, port: int) -> list[int]:
        """The indexes of the addresses of the own host at which a group is heard."""
        with self._lock:
            known = [one for one in self._known if one.bound is not None and one.bound.port == port]
            joined = any(text in one.groups for one in self._known)
        is_all = is_broadcast(self._plan, text)
        return sorted({one.bound.index for one in known if one.bound and one.hears(text, is_all or joined)})

    def everywhere(self, text: str, port: int, hosts: list[int]) -> list[Place]:
        """The places on these hosts at which a group is heard, of those that answer in time."""
        plan = self._plan
        found = [(plan.host, index) for index in self.hearers(text, port)] if plan.host in hosts else []
        others = [host for host in hosts if host not in (plan.host, GATEWAY)]
        with socket.socket(AF_INET, SOCK_DGRAM) as asking:
            plan.filter(asking)
            asking.bind(plan.place(plan.host, DIRECTORY, 0).real())
            for host in others:
                asking.sendto(f"{port} {text}".encode(), plan.place(host, DIRECTORY, _PORT).real())
            end = time.monotonic() + _PATIENCE
            while others and time.monotonic() < end:
                asking.settimeout(max(0.001, end - time.monotonic()))
                try:
                    told, address = asking.recvfrom(_LARGEST)
                except OSError:
                    break
                place = parse_real(*address)
                if place is not None and place.number == plan.number and place.host in others:
                    others.remove(place.host)
                    found += [(place.host, index) for index in told]
        return [plan.place(host, index, port) for host, index in found]

    def _run(self) -> None:
        while True:
            try:
                asked, address = self.socket.recvfrom(_LARGEST)
            except OSError:
                continue
            came = parse_real(*address)
            if came is None or came.number != self._plan.number:
                continue
            if not asked:
                if came.host == self._plan.host:
                    return
                continue
            port, _, text = asked.decode(errors="replace").partition(" ")
            if port.isdecimal():
                self.socket.sendto(bytes(self.hearers(text, int(port))), address)


# -- options ----------------------------------------------------------------------------------


def _group(packed: bytes) -> str:
    return socket.inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


def _link_of(endpoint: DatagramEndpoint, packed: bytes, index: int) -> int:
    """The link that an address or a number stands for; ENODEV."""
    if index:
        link = index
    elif any(packed):
        own = endpoint.plan.own_index(_group(packed))
        if own is None:
            raise refuse(errno.ENODEV)
        link = LO if _group(packed).startswith("127.") else ETH0
    else:
        link = ETH0
    if link not in (LO, ETH0):
        raise refuse(errno.ENODEV)
    return link


def _request4(endpoint: DatagramEndpoint, value: bytes) -> tuple[str, int]:
    """The group and the link of a `struct ip_mreq` or `ip_mreqn`."""
    if len(value) < 8:
        raise refuse(errno.EINVAL)
    index = struct.unpack_from("i", value, 8)[0] if len(value) >= 12 else 0
    return _group(value[:4]), _link_of(endpoint, value[4:8], index)


def _request6(endpoint: DatagramEndpoint, value: bytes) -> tuple[str, int]:
    """The same of a `struct ipv6_mreq`."""
    if len(value) < 20:
        raise refuse(errno.EINVAL)
    return _group(value[:16]), _link_of(endpoint, b"", struct.unpack_from("i", value, 16)[0])


def _request(endpoint: DatagramEndpoint, value: bytes) -> tuple[str, int]:
    """The same of a `struct group_req`."""
    if len(value) < 16:
        raise refuse(errno.EINVAL)
    (index,) = struct.unpack_from("I", value)
    family = int.from_bytes(value[8:10], "little")
    packed = value[12:16] if family == AF_INET else value[16:32]
    return _group(packed), _link_of(endpoint, b"", index)


def _join(read: Callable[[DatagramEndpoint, bytes], tuple[str, int]]) -> Setter:
    def join(endpoint: DatagramEndpoint, at: socket.socket, value: bytes) -> bool:
        text, _ = read(endpoint, value)
        if not ip_address(text).is_multicast:
            raise refuse(errno.EINVAL)
        if text in endpoint.groups:
            raise refuse(errno.EADDRINUSE)
        endpoint.groups.add(text)
        endpoint.plan.directory.add(endpoint)
        return True

    return join


def _leave(read: Callable[[DatagramEndpoint, bytes], tuple[str, int]]) -> Setter:
    def leave(endpoint: DatagramEndpoint, at: socket.socket, value: bytes) -> bool:
        text, _ = read(endpoint, value)
        if text not in endpoint.groups:
            raise refuse(errno.EADDRNOTAVAIL)
        endpoint.groups.remove(text)
        return True

    return leave


def _refuse_sources(endpoint: DatagramEndpoint, at: socket.socket, value: bytes) -> bool:
    """Groups of certain senders: the kernel would join them on an interface of the machine."""
    raise refuse(errno.ENOPROTOOPT)


def _set_link4(endpoint: DatagramEndpoint, at: socket.socket, value: bytes) -> bool:
    if len(value) == 4:
        endpoint.group_link = _link_of(endpoint, value, 0)
    elif len(value) >= 12:
        endpoint.group_link = _link_of(endpoint, value[4:8], struct.unpack_from("i", value, 8)[0])
    else:
        endpoint.group_link = _link_of(endpoint, value[4:8], 0)
    return True


def _set_link6(endpoint: DatagramEndpoint, at: socket.socket, value: bytes) -> bool:
    if len(value) < 4:
        raise refuse(errno.EINVAL)
    endpoint.group_link = _link_of(endpoint, b"", struct.unpack_from("i", value)[0])
    return True


def _set_all(endpoint: DatagramEndpoint, at: socket.socket, value: bytes) -> bool:
    endpoint.hears_all = any(value)
    return False


def _get_link4(endpoint: DatagramEndpoint, at: socket.socket, size: int) -> bytes | None:
    if endpoint.group_link == LO:
        return socket.inet_aton("127.0.0.1")[:size]
    return IPv4Address(endpoint.plan.member.address.ip).packed[:size] if endpoint.group_link else None


def _get_link6(endpoint: DatagramEndpoint, at: socket.socket, size: int) -> bytes | None:
    return endpoint.group_link.to_bytes(4, "little")[:size]


GETTERS: Final[dict[tuple[int, int], Any]] = {
    (SOL_IP, socket.IP_MULTICAST_IF): _get_link4,
    (SOL_IPV6, socket.IPV6_MULTICAST_IF): _get_link6,
}
_OF_SOURCES4: Final = (37, 38, 39, 40, 41)
"""IP_UNBLOCK_SOURCE, IP_BLOCK_SOURCE, IP_ADD_SOURCE_MEMBERSHIP, IP_DROP_SOURCE_MEMBERSHIP, IP_MSFILTER"""
_OF_SOURCES: Final = (43, 44, 46, 47, 48)
"""MCAST_BLOCK_SOURCE, MCAST_UNBLOCK_SOURCE, MCAST_JOIN_SOURCE_GROUP, MCAST_LEAVE_SOURCE_GROUP,
MCAST_MSFILTER, as setsockopt(2) has them (linux/in.h).
"""
SETTERS: Final[dict[tuple[int, int], Setter]] = {
    **{(SOL_IP, option): _refuse_sources for option in _OF_SOURCES4},
    **{(level, option): _refuse_sources for level in (SOL_IP, SOL_IPV6) for option in _OF_SOURCES},
    (SOL_IP, socket.IP_ADD_MEMBERSHIP): _join(_request4),
    (SOL_IP, socket.IP_DROP_MEMBERSHIP): _leave(_request4),
    (SOL_IPV6, socket.IPV6_JOIN_GROUP): _join(_request6),
    (SOL_IPV6, socket.IPV6_LEAVE_GROUP): _leave(_request6),
    **{(level, 42): _join(_request) for level in (SOL_IP, SOL_IPV6)},  # MCAST_JOIN_GROUP
    **{(level, 45): _leave(_request) for level in (SOL_IP, SOL_IPV6)},  # MCAST_LEAVE_GROUP
    (SOL_IP, socket.IP_MULTICAST_IF): _set_link4,
    (SOL_IPV6, socket.IPV6_MULTICAST_IF): _set_link6,
    (SOL_IP, _IP_MULTICAST_ALL): _set_all,
    (SOL_IPV6, _IPV6_MULTICAST_ALL): _set_all,
}
