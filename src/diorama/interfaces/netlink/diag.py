"""Diag: NETLINK_SOCK_DIAG, sock_diag(7): the sockets of IPv4 and IPv6 that a network has, for `ss`.

Sockets of other families are the kernel's own; `ss` is told that it has to look elsewhere (ENOENT), and does.
Filters that a program sends along (INET_DIAG_REQ_BYTECODE) are left out: `ss` applies them to what it gets.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final

from diorama.abi.netlink import NLM_F_DUMP, Message, attribute
from diorama.abi.sockdiag import (
    INET_DIAG_PROTOCOL,
    INET_DIAG_SHUTDOWN,
    INET_DIAG_SKV6ONLY,
    NO_COOKIE,
    SOCK_DIAG_BY_FAMILY,
    DiagId,
    DiagRequest,
    pack_socket,
)
from diorama.abi.socket import AF_INET, AF_INET6
from diorama.interfaces.netlink.asked import Answer, Dump, Settings
from diorama.interfaces.netlink.responder import Responder
from diorama.interfaces.network import refuse
from diorama.interfaces.story import SocketState

__all__ = ["DiagResponder"]

_TCP: Final = 6
_UDP: Final = 17
_RAW: Final = 255


class DiagResponder(Responder):
    """Who tells of sockets; `sockets` lists them."""

    def __init__(self, sockets: Callable[[], Sequence[SocketState]]) -> None:
        self._sockets = sockets

    def handle(self, message: Message, settings: Settings) -> Dump | Answer | None:
        if message.type != SOCK_DIAG_BY_FAMILY:
            raise refuse(errno.EOPNOTSUPP)
        try:
            wanted = DiagRequest.unpack(message.body)
        except ValueError:
            raise refuse(errno.EINVAL if len(message.body) < 2 else self._error(message.body)) from None
        if wanted.family not in (AF_INET, AF_INET6) or wanted.protocol not in (_TCP, _UDP, _RAW):
            raise refuse(errno.ENOENT)
        found = [one for one in self._sockets() if _is_asked(one, wanted)]
        if message.flags & NLM_F_DUMP:
            return Dump([(SOCK_DIAG_BY_FAMILY, _describe(one)) for one in found if _has_state(one, wanted)])
        for one in found:
            if _is_same(_identify(one), wanted.id):
                return SOCK_DIAG_BY_FAMILY, _describe(one)
        raise refuse(errno.ENOENT)

    @staticmethod
    def _error(body: bytes) -> int:
        return errno.EINVAL if body[0] in (AF_INET, AF_INET6) else errno.ENOENT


def _is_asked(one: SocketState, wanted: DiagRequest) -> bool:
    is_raw = one.protocol not in (_TCP, _UDP)
    fits = one.protocol == wanted.protocol or (is_raw and wanted.protocol == _RAW)
    return fits and one.family == wanted.family


def _has_state(one: SocketState, wanted: DiagRequest) -> bool:
    return bool(wanted.states >> one.state & 1)


def _is_same(one: DiagId, wanted: DiagId) -> bool:
    if wanted.cookie not in (NO_COOKIE, one.cookie):
        return False
    return one[:4] == wanted[:4] and wanted.link in (0, one.link)


def _identify(one: SocketState) -> DiagId:
    local, peer = (ip_address(end[0]).packed.ljust(16, b"\0") for end in (one.local, one.peer))
    return DiagId(one.local[1], one.peer[1], local, peer, one.link, one.inode)


def _describe(one: SocketState) -> bytes:
    queued = (one.queued_in, one.queued_out)
    parts = [pack_socket(one.family, one.state, _identify(one), queued, one.uid, one.inode)]
    parts.append(attribute(INET_DIAG_SHUTDOWN, b"\0"))
    if one.protocol not in (_TCP, _UDP):
        parts.append(attribute(INET_DIAG_PROTOCOL, bytes([one.protocol & 0xFF])))
    if one.family == AF_INET6:
        parts.append(attribute(INET_DIAG_SKV6ONLY, bytes([one.only_ipv6])))
    return b"".join(parts)
