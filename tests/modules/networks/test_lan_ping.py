"""What answers a ping."""

from __future__ import annotations

import os
import resource
import socket
import struct
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diorama.modules.networks.lan.addresses import ECHO, PING4, PING4_RAW, PING6, Place
from diorama.modules.networks.lan.ping import ECHO_PORT, Echo, answer_to
from diorama.modules.networks.lan.plan import Plan
from modules.networks.lan_pair import Pair

CAME = {index: Place(7, 9, index, 4321) for index in (PING4, PING4_RAW, PING6)}


def request(kind: int, body: bytes = b"", ident: int = 5) -> bytes:
    return struct.pack("!BBHHH", kind, 0, 0, ident, 3) + body


def total(data: bytes) -> int:
    """The sum that a receiver makes (RFC 1071): 0xFFFF if the checksum is right."""
    found = sum(number for (number,) in struct.iter_unpack("!H", data + bytes(len(data) % 2)))
    while found >> 16:
        found = (found & 0xFFFF) + (found >> 16)
    return found


@given(st.binary(max_size=200))
def test_the_answer_has_what_was_sent_and_a_right_sum(body: bytes) -> None:
    answer = answer_to(request(8, body), CAME[PING4], "10.0.0.1", "10.0.0.2")
    assert answer is not None
    assert (answer[0], answer[1]) == (0, 0)
    assert struct.unpack("!HH", answer[4:8]) == (4321, 3)
    assert answer[8:] == body
    assert total(answer) == 0xFFFF


def test_a_raw_socket_gets_the_header_of_ip_and_its_own_identifier() -> None:
    answer = answer_to(request(8, b"abc"), CAME[PING4_RAW], "10.0.0.1", "10.0.0.2")
    assert answer is not None
    head, message = answer[:20], answer[20:]
    assert head[0] == 0x45
    assert int.from_bytes(head[2:4], "big") == len(answer) == 31
    assert total(head) == 0xFFFF
    assert head[12:] == bytes([10, 0, 0, 2, 10, 0, 0, 1])
    assert message[4:6] == b"\0\5"
    assert total(message) == 0xFFFF


def test_a_ping_of_ipv6_is_answered_as_such() -> None:
    answer = answer_to(request(128), CAME[PING6], "10.0.0.1", "10.0.0.2")
    assert answer is not None
    assert answer[0] == 129


@pytest.mark.parametrize(
    ("data", "index"), [(request(0), PING4), (request(128), PING4), (request(8), PING6), (b"\x08", PING4)]
)
def test_nothing_else_is_answered(data: bytes, index: int) -> None:
    assert answer_to(data, CAME[index], "10.0.0.1", "10.0.0.2") is None


def test_who_is_no_ping_is_not_answered() -> None:
    assert answer_to(request(8), Place(7, 9, 5, 4321), "10.0.0.1", "10.0.0.2") is None


def test_it_is_answered_also_by_sockets_with_large_numbers(pair: Pair) -> None:
    """A supervisor may have more descriptors than select(2) can tell of."""
    large, before = 1100, resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 2 * large:
        pytest.skip("needs a limit of 2,200 descriptors")
    with ExitStack() as held:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 2 * large), before[1]))
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        while (one := os.open("/dev/null", os.O_RDONLY)) < large:
            held.callback(os.close, one)
        held.callback(os.close, one)
        plan = Plan(pair.one)
        held.callback(plan.directory.close)
        held.callback(Echo(plan).close)
        asks = pair.socket_of(pair.other, socket.SOCK_DGRAM, index=PING4)
        asks.sendto(request(8, b"hello"), Place(pair.one.number, pair.one.host, ECHO, ECHO_PORT).real())
        assert asks.recv(100)[8:] == b"hello"
