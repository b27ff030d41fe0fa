"""Endpoint: a netlink socket of a program, netlink(7), and what it has been set to.

It is one end of a pair of AF_UNIX, which keeps datagrams apart and tells when the other end is closed
(SOCK_SEQPACKET). Its answers come from the thread of `diorama.interfaces.netlink.service`, a moment after the
request: the kernel has them there when the request returns.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Final

from diorama.abi.netlink import (
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_BROADCAST_ERROR,
    NETLINK_CAP_ACK,
    NETLINK_DROP_MEMBERSHIP,
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    NETLINK_LIST_MEMBERSHIPS,
    NETLINK_NO_ENOBUFS,
    NETLINK_PKTINFO,
    NetlinkAddress,
)
from diorama.abi.socket import AF_NETLINK, AF_UNSPEC, SOL_NETLINK, RawAddress, SocketAddress
from diorama.interfaces.asking import asker
from diorama.interfaces.netlink.asked import Settings
from diorama.interfaces.network import Held, Sent, refuse

if TYPE_CHECKING:
    from diorama.interfaces.netlink.service import Netlink

__all__ = ["NetlinkEndpoint"]

_SWITCHES: Final = {
    NETLINK_PKTINFO: "",
    NETLINK_BROADCAST_ERROR: "",
    NETLINK_NO_ENOBUFS: "",
    NETLINK_CAP_ACK: "capped",
    NETLINK_EXT_ACK: "extended",
    NETLINK_GET_STRICT_CHK: "strict",
}
_GROUPS: Final = 36
"""How many groups rtnetlink(7) has."""


class NetlinkEndpoint(Held):
    """A socket of a protocol that the service answers."""

    pair_type = socket.SOCK_SEQPACKET

    def __init__(self, service: Netlink, type: int, protocol: int) -> None:
        super().__init__(AF_NETLINK, type, protocol)
        self._service = service
        who = asker()
        self.owner = 0 if who is None else who.pid
        self.settings = Settings(uid=0 if who is None else who.credentials.real_uid)
        self.groups: frozenset[int] = frozenset()
        self._switches = dict.fromkeys(_SWITCHES, 0)
        self._peer = NetlinkAddress()

    def opened(self, ours: socket.socket) -> None:
        self._service.serve(self, ours)

    # -- addresses ----------------------------------------------------------------------------

    def bind(self, at: socket.socket, address: SocketAddress) -> None:
        wanted = _parse(address)
        self._service.bind(self, wanted.port)
        high = {group for group in self.groups if group > 32}
        self._join(high | {bit + 1 for bit in range(32) if wanted.groups >> bit & 1})

    def connect(self, at: socket.socket, address: SocketAddress) -> bytes | None:
        if isinstance(address, RawAddress) and address.family == AF_UNSPEC:
            self._peer = NetlinkAddress()
            return None
        self._peer = _to_the_kernel(address)
        self._service.bind(self, 0)
        return None

    def listen(self, at: socket.socket, backlog: int) -> None:
        raise refuse(errno.EOPNOTSUPP)

    def accepting(self, at: socket.socket) -> None:
        raise refuse(errno.EOPNOTSUPP)

    def shutdown(self, at: socket.socket, how: int) -> bool:
        raise refuse(errno.EOPNOTSUPP)

    def name(self, at: socket.socket) -> SocketAddress:
        mask = sum(1 << group - 1 for group in self.groups if group <= 32)
        return _raw(NetlinkAddress(self.settings.port, mask))

    def peer(self, at: socket.socket) -> SocketAddress:
        return _raw(self._peer)

    def sending(self, at: socket.socket, address: SocketAddress) -> Sent:
        _to_the_kernel(address)
        self._service.bind(self, 0)
        return Sent(None)

    def received(self, at: socket.socket, address: bytes) -> SocketAddress | None:
        return _raw(NetlinkAddress())

    # -- the rest -----------------------------------------------------------------------------

    def get_option(self, at: socket.socket, level: int, option: int, size: int) -> bytes | None:
        if level != SOL_NETLINK:
            return super().get_option(at, level, option, size)
        if option == NETLINK_LIST_MEMBERSHIPS:
            mask = sum(1 << group - 1 for group in self.groups)
            return mask.to_bytes(8, "little")
        if option not in _SWITCHES:
            raise refuse(errno.ENOPROTOOPT)
        if size < 4:
            raise refuse(errno.EINVAL)
        return self._switches[option].to_bytes(4, "little")

    def set_option(self, at: socket.socket, level: int, option: int, value: bytes) -> bool:
        if level != SOL_NETLINK:
            return False
        number = int.from_bytes(value[:4], "little") if len(value) >= 4 else 0
        if option in (NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP):
            if not 0 < number <= _GROUPS:
                raise refuse(errno.EINVAL)
            added = {number} if option == NETLINK_ADD_MEMBERSHIP else set[int]()
            self._join(self.groups - {number} | added)
        elif option in _SWITCHES:
            self._switches[option] = int(bool(number))
            if _SWITCHES[option]:
                setattr(self.settings, _SWITCHES[option], bool(number))
        else:
            raise refuse(errno.ENOPROTOOPT)
        return True

    def _join(self, groups: set[int] | frozenset[int]) -> None:
        self.groups = frozenset(groups)
        self._service.joined()


def _raw(address: NetlinkAddress) -> RawAddress:
    return RawAddress(AF_NETLINK, address.pack()[2:])


def _parse(address: SocketAddress) -> NetlinkAddress:
    if not isinstance(address, RawAddress) or address.family != AF_NETLINK:
        raise refuse(errno.EINVAL)
    try:
        return NetlinkAddress.unpack(address.data)
    except ValueError:
        raise refuse(errno.EINVAL) from None


def _to_the_kernel(address: SocketAddress) -> NetlinkAddress:
    """An address that may be sent to: who is not privileged reaches nobody but the kernel."""
    found = _parse(address)
    if found.port or found.groups:
        raise refuse(errno.EPERM)
    return found
