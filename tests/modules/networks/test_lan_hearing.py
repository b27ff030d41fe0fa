"""Whether it is a host of a LAN that hears something, or a program of the machine that hears all."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from diorama.modules.networks.lan.hearing import backlogs, datagram_peers, is_foreign, is_heard

ADDRESS = "127.99.7.10"
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
KINDS = {TCP: socket.SOCK_STREAM, UDP: socket.SOCK_DGRAM}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def at(stack: ExitStack, address: str, protocol: int, port: int = 0) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = stack.enter_context(socket.socket(family, KINDS[protocol]))
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.bind((address, port))
    if protocol == TCP:
        made.listen()
    found: int = made.getsockname()[1]
    return found


@pytest.mark.parametrize("protocol", [TCP, UDP], ids=["tcp", "udp"])
@pytest.mark.parametrize("address", [ADDRESS, f"::ffff:{ADDRESS}"])
def test_who_is_at_the_address_hears_it(stack: ExitStack, address: str, protocol: int) -> None:
    port = at(stack, address, protocol)
    assert is_heard((ADDRESS, port), protocol)
    assert not is_foreign((ADDRESS, port), protocol)
    for other in ("127.99.7.12", "127.99.8.10"):
        assert not is_heard((other, port), protocol)


@pytest.mark.parametrize("protocol", [TCP, UDP], ids=["tcp", "udp"])
@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_who_is_at_all_addresses_is_foreign(stack: ExitStack, address: str, protocol: int) -> None:
    port = at(stack, address, protocol)
    assert not is_heard((ADDRESS, port), protocol)
    assert is_foreign((ADDRESS, port), protocol)


@pytest.mark.parametrize("protocol", [TCP, UDP], ids=["tcp", "udp"])
def test_where_nobody_is_nobody_hears(stack: ExitStack, protocol: int) -> None:
    with ExitStack() as other:
        port = at(other, ADDRESS, protocol)
    assert not is_heard((ADDRESS, port), protocol)
    assert not is_foreign((ADDRESS, port), protocol)


def test_who_is_bound_and_does_not_listen_hears_no_connection(stack: ExitStack) -> None:
    made = stack.enter_context(socket.socket())
    made.bind((ADDRESS, 0))
    assert not is_heard(made.getsockname(), TCP)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_who_listens_has_a_backlog(stack: ExitStack, family: socket.AddressFamily) -> None:
    made = [stack.enter_context(socket.socket(family)) for _ in range(300)]
    for most, listener in enumerate(made[:-1], 1):
        listener.listen(most)
    found = backlogs()
    known = [found.get(os.fstat(listener.fileno()).st_ino) for listener in made]
    assert known == [*range(1, 300), None]


@pytest.mark.parametrize("host", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_whom_somebody_is_connected_to_is_known(stack: ExitStack, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    one, other = (stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(2))
    one.bind((host, 0))
    real = "127.0.0.1", one.getsockname()[1]
    assert real not in datagram_peers()
    other.connect((host, real[1]))
    assert real in datagram_peers()
