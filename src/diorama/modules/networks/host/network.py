"""Network: the kernel's, as it is, or under a policy."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, Final

from diorama.abi.socket import AF_INET, AF_INET6, AF_NETLINK, RawAddress, SocketAddress
from diorama.interfaces.network import Endpoint, Foreign, Network, Sent, refuse
from diorama.modules.networks.host.endpoint import PolicyEndpoint

if TYPE_CHECKING:
    from diorama.interfaces.rules import Address
    from diorama.modules.networks.host.judge import Judge
    from diorama.modules.networks.host.resolver import Resolver
    from diorama.modules.networks.host.settings import Settings
    from diorama.modules.networks.host.tunnels import Tunnels

__all__ = ["HostNetwork", "PolicyNetwork"]

_PROTOCOLS: Final[dict[tuple[int, int], tuple[int, ...]]] = {
    (AF_INET, socket.SOCK_STREAM): (0, socket.IPPROTO_TCP),
    (AF_INET6, socket.SOCK_STREAM): (0, socket.IPPROTO_TCP),
    (AF_INET, socket.SOCK_DGRAM): (0, socket.IPPROTO_UDP, socket.IPPROTO_ICMP),
    (AF_INET6, socket.SOCK_DGRAM): (0, socket.IPPROTO_UDP, socket.IPPROTO_ICMPV6),
}
_NETLINK: Final = (0, 4)
"""NETLINK_ROUTE and NETLINK_SOCK_DIAG."""
_CACHES: Final = frozenset(
    {
        "/run/dbus/system_bus_socket",
        "/run/nscd/socket",
        "/run/systemd/resolve/io.systemd.Resolve",
        "/run/systemd/resolve/io.systemd.Resolve.Monitor",
    }
)
"""Servers that would resolve names in a program's stead."""


class HostNetwork(Network):
    """The kernel's network."""

    title = "host"
    hides_abstract = False
    is_plain = True

    def make(self, family: int, type: int, protocol: int) -> Endpoint:
        """One of the kernel's."""
        return Endpoint(family, type, protocol)

    def adopt(self, at: socket.socket, family: int) -> Endpoint | None:
        """It may go on."""
        return None


class PolicyNetwork(Network):
    """The kernel's network, of which a program reaches what the rules allow: TCP, UDP and ping."""

    title = "host"
    guards = True

    def __init__(
        self, settings: Settings, judge: Judge, resolver: Resolver | None, tunnels: Tunnels | None
    ) -> None:
        self.judge = judge
        self.privileged = settings.privileged
        self.moved: dict[tuple[str, int], int] = {}
        """Where ports of programs really are, by protocol and port."""
        self.tunnels = tunnels
        self._resolver = resolver
        self.hidden_sockets = _CACHES if resolver is not None else frozenset()

    def make(self, family: int, type: int, protocol: int) -> Endpoint:
        """What the rules are about; other types are EPERM, as for who is not privileged."""
        if family == AF_NETLINK:
            if protocol not in _NETLINK:
                raise refuse(errno.EPROTONOSUPPORT)
            return _Netlink(family, type, protocol)
        if family not in (AF_INET, AF_INET6):
            raise refuse(errno.EAFNOSUPPORT)
        if (family, type) not in _PROTOCOLS:
            raise refuse(errno.EPERM if type == socket.SOCK_RAW else errno.ESOCKTNOSUPPORT)
        if protocol not in _PROTOCOLS[family, type]:
            raise refuse(errno.EPROTONOSUPPORT)
        return PolicyEndpoint(self, family, type, protocol)

    def adopt(self, at: socket.socket, family: int) -> Endpoint | None:
        """One from outside is judged as others are."""
        kind, protocol = int(at.type), at.proto
        if protocol in _PROTOCOLS.get((family, kind), ()):
            return PolicyEndpoint(self, family, kind, protocol)
        return Foreign(family, kind, protocol)

    def resolver_for(self, address: Address, port: int) -> dict[str, tuple[str, int]] | None:
        """Where our resolver is by protocol, if this is a DNS server of the host's."""
        return None if self._resolver is None else self._resolver.instead_of(address, port)

    def close(self) -> None:
        if self.tunnels is not None:
            self.tunnels.close()
        if self._resolver is not None:
            self._resolver.close()
        self.judge.log.close()


class _Netlink(Endpoint):
    """A netlink socket that reads what everybody may, and changes nothing: it is made without privileges."""

    guarded = True

    def open(self) -> socket.socket:
        made: list[socket.socket] = []
        failed: list[OSError] = []

        def make() -> None:
            try:
                _drop_capabilities()
                made.append(socket.socket(self.family, self.type, self.protocol))
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return made[0]

    def connect(self, at: socket.socket, address: SocketAddress) -> bytes | None:
        _check_kernel(address)
        return address.pack()

    def sending(self, at: socket.socket, address: SocketAddress) -> Sent:
        _check_kernel(address)
        return Sent(address.pack())


def _check_kernel(address: SocketAddress) -> None:
    """Only the kernel itself is reached: no other process, no group."""
    if isinstance(address, RawAddress) and any(address.data[2:10]):
        raise refuse(errno.EPERM)


_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CAPABILITY_VERSION: Final = 0x20080522


def _drop_capabilities() -> None:
    """Those of this thread (capset(2)), which ends."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    if _LIBC.capset(header, bytes(24)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
