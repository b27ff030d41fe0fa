"""What sock_diag(7) tells of the sockets of a network."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from diorama.abi.netlink import NLM_F_DUMP, NLMSG_ERROR, Message
from diorama.abi.sockdiag import NO_COOKIE, SOCK_DESTROY, SOCK_DIAG_BY_FAMILY, DiagId
from diorama.abi.socket import AF_INET, AF_INET6, AF_UNIX
from diorama.interfaces.netlink.diag import DiagResponder
from diorama.interfaces.story import SocketState, TcpState
from interfaces.office import PLAIN, code, replies, request

TCP, UDP, ICMP, RAW = 6, 17, 1, 255
ANY = ("0.0.0.0", 0)
SOCKETS = [
    SocketState(AF_INET, TCP, ("10.0.0.1", 80), ANY, TcpState.LISTEN, 11, 1000, 3, 128),
    SocketState(AF_INET, TCP, ("10.0.0.1", 80), ("10.0.0.7", 4000), TcpState.ESTABLISHED, 12),
    SocketState(AF_INET6, TCP, ("::", 22), ("::", 0), TcpState.LISTEN, 13, only_ipv6=True),
    SocketState(AF_INET, UDP, ("0.0.0.0", 53), ANY, inode=14),
    SocketState(AF_INET, ICMP, ANY, ANY, inode=15),
]
SOCKET = struct.Struct("=BBBB2s2s16s16sIQIIIII")


def ask(
    flags: int, family: int, protocol: int, states: int = 0xFFF, end: DiagId | None = None
) -> list[Message]:
    body = struct.pack("=BBBxI", family, protocol, 0, states) + (end or DiagId()).pack()
    responder = DiagResponder(lambda: SOCKETS)
    return replies(responder.answer(request(SOCK_DIAG_BY_FAMILY, flags, body), PLAIN))


def inodes(answers: list[Message]) -> list[int]:
    return [SOCKET.unpack_from(one.body)[-1] for one in answers if one.type == SOCK_DIAG_BY_FAMILY]


@pytest.mark.parametrize(
    ("family", "protocol", "found"),
    [
        (AF_INET, TCP, [11, 12]),
        (AF_INET6, TCP, [13]),
        (AF_INET, UDP, [14]),
        (AF_INET6, UDP, []),
        (AF_INET, RAW, [15]),
    ],
)
def test_sockets_are_listed_by_family_and_protocol(family: int, protocol: int, found: list[int]) -> None:
    assert inodes(ask(NLM_F_DUMP, family, protocol)) == found


def test_sockets_are_listed_by_state() -> None:
    assert inodes(ask(NLM_F_DUMP, AF_INET, TCP, 1 << TcpState.LISTEN)) == [11]


def test_a_socket_is_what_it_is() -> None:
    found = SOCKET.unpack_from(ask(NLM_F_DUMP, AF_INET, TCP)[0].body)
    assert found[:2] == (AF_INET, TcpState.LISTEN)
    assert found[4:6] == (b"\0\x50", b"\0\0")
    assert found[6] == socket.inet_aton("10.0.0.1").ljust(16, b"\0")
    assert found[11:] == (3, 128, 1000, 11)


def test_one_socket_is_found_by_its_ends() -> None:
    local, peer = (socket.inet_aton(host).ljust(16, b"\0") for host in ("10.0.0.1", "10.0.0.7"))
    end = DiagId(80, 4000, local, peer, 0, NO_COOKIE)
    assert inodes(ask(0, AF_INET, TCP, end=end)) == [12]
    (answer,) = ask(0, AF_INET, TCP, end=end._replace(peer_port=1))
    assert (answer.type, code(answer)) == (NLMSG_ERROR, errno.ENOENT)
    (answer,) = ask(0, AF_INET, TCP, end=end._replace(cookie=5))
    assert code(answer) == errno.ENOENT


@pytest.mark.parametrize(("family", "protocol"), [(AF_UNIX, 0), (16, 0), (AF_INET, 132), (17, 0)])
def test_what_others_tell_is_not_found_here(family: int, protocol: int) -> None:
    (answer,) = ask(NLM_F_DUMP, family, protocol)
    assert (answer.type, code(answer)) == (NLMSG_ERROR, errno.ENOENT)


def test_what_is_too_short_or_another_request_is_refused() -> None:
    responder = DiagResponder(lambda: SOCKETS)
    for kind, body, error in (
        (SOCK_DIAG_BY_FAMILY, b"\2", errno.EINVAL),
        (SOCK_DIAG_BY_FAMILY, b"\2\6\0\0", errno.EINVAL),
        (SOCK_DIAG_BY_FAMILY, b"\1\0\0\0", errno.ENOENT),
        (SOCK_DESTROY, bytes(60), errno.EOPNOTSUPP),
    ):
        (answer,) = replies(responder.answer(request(kind, NLM_F_DUMP, body), PLAIN))
        assert code(answer) == error
