"""Ways into a LAN, by published ports, and out of it, by the rules of its gateway."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

import diorama
from diorama.errors import UsageError
from diorama.modules.networks.lan.addresses import ADDRESS4, ANY, ANY4, GATEWAY, parse_real
from diorama.modules.networks.lan.member import Member
from modules.networks.lan_pair import Pair, read_all
from modules.networks.lan_room import LIMIT, Room, until


def published(pair: Pair, text: str) -> tuple[str, int]:
    found = pair.one.order("publish", [text]).published[-1]
    return found.address, found.port


@pytest.mark.parametrize("index", [ADDRESS4, ANY4, ANY])
@pytest.mark.parametrize("port", [80, 8080])
def test_a_published_port_leads_to_who_listens_at_the_host(pair: Pair, index: int, port: int) -> None:
    listener = pair.listener(index=index, port=port)
    with socket.create_connection(published(pair, f"0=b:{port}"), LIMIT) as client:
        server, peer = pair.accepted(listener)
        place = parse_real(*peer)
        assert place is not None
        assert (place.host, place.index) == (GATEWAY, ADDRESS4)
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        assert read_all(server) == b"hello"
        server.sendall(b"bye")
        server.close()
        assert read_all(client) == b"bye"


def test_where_nobody_listens_who_has_connected_is_reset(pair: Pair) -> None:
    for host in ("b", "nobody"):
        address = published(pair, f"0={host}:80")
        # The reset may come while it connects.
        with pytest.raises(ConnectionResetError), socket.create_connection(address, LIMIT) as client:
            client.recv(1)


@pytest.mark.parametrize("index", [ADDRESS4, ANY4, ANY])
def test_datagrams_are_published_too(pair: Pair, index: int) -> None:
    server = pair.socket_of(pair.other, socket.SOCK_DGRAM, index=index, port=53)
    address = published(pair, "0=b:53/udp")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        for client in (one, other):
            client.settimeout(LIMIT)
            client.connect(address)
            client.send(repr(client.getsockname()).encode())
        for _ in range(2):
            data, peer = server.recvfrom(100)
            server.sendto(data, peer)
        for client in (one, other):
            assert client.recv(100) == repr(client.getsockname()).encode()


def test_published_ports_are_shown_and_taken_back(pair: Pair) -> None:
    address, port = published(pair, "0=b:80")
    assert address == "127.0.0.1"
    with pytest.raises(UsageError, match=f"cannot publish port {port}|is published already"):
        pair.one.order("publish", [f"{port}=a:80"])
    pair.one.order("unpublish", [str(port)])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, port), LIMIT)
    with pytest.raises(UsageError, match="is not published"):
        pair.one.order("unpublish", [str(port)])


def test_a_port_that_somebody_has_is_refused_and_changes_nothing(pair: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            UsageError, match=f"cannot publish port {port} of 127.0.0.1: Address already in use"
        ):
            pair.one.order("publish", ["0=b:80", f"{port}=b:81"])
    assert diorama.Lan("office").state.published == []


@pytest.mark.parametrize(
    "text", ["", "80", "80=b", "b:80", "99999=b:80", "1.2.3=b:80", "80=b:80/sctp", "1.2.3.400:80=b:80"]
)
def test_what_publishes_nothing_is_said(pair: Pair, text: str) -> None:
    with pytest.raises(UsageError, match="publish"):
        pair.one.order("publish", [text])


def test_published_ports_are_there_again_after_the_keeper_was_killed(pair: Pair, room: Room) -> None:
    listener = pair.listener(port=80)
    address = published(pair, "0=b:80")
    (keeper,) = room.keepers()
    os.kill(keeper, signal.SIGKILL)
    until(lambda: room.keepers() not in ([], [keeper]), "another keeper")
    assert pair.one.order("set", ["loss=0"]).published[0].port == address[1]
    with socket.create_connection(address, LIMIT):
        pair.accepted(listener)


# -- out ---------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere() -> Iterator[socket.socket]:
    """Somebody outside, who is on this machine, since tests know of nobody else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT)
        yield listener


def outward(pair: Pair, member: Member, target: tuple[str, int]) -> socket.socket | None:
    client = pair.socket_of(member)
    real = member.outside(client.getsockname(), *target, "tcp")
    if real is None:
        return None
    assert member.outside_name(real) == target
    client.connect(real)
    return client


def test_nobody_gets_out_unless_the_gateway_is_told(pair: Pair, elsewhere: socket.socket) -> None:
    target = elsewhere.getsockname()
    assert outward(pair, pair.one, target) is None
    pair.one.order("gateway", [f"allow=127.0.0.1:{target[1]}"])
    assert outward(pair, pair.one, target) is not None
    assert outward(pair, pair.one, (target[0], target[1] ^ 1)) is None
    pair.one.order("gateway", ["none"])
    assert outward(pair, pair.one, target) is None


@pytest.mark.parametrize("words", [[], ["latency=20ms"]], ids=["at once", "later"])
def test_who_gets_out_talks_with_whom_it_wanted(
    pair: Pair, elsewhere: socket.socket, words: list[str]
) -> None:
    if words:
        pair.one.order("set", words)
    pair.one.order("gateway", ["allow=127.0.0.0/8"])
    for member in (pair.one, pair.other, pair.one):
        client = outward(pair, member, elsewhere.getsockname())
        assert client is not None
        server, _ = pair.accepted(elsewhere)
        client.sendall(b"out")
        client.shutdown(socket.SHUT_WR)
        assert read_all(server) == b"out"
        server.sendall(b"in")
        server.close()
        assert read_all(client) == b"in"


def test_an_outside_that_refuses_refuses(pair: Pair) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        pair.one.order("gateway", ["allow=*"])
        # For the kernel it is a reset, unless the refusal was there first.
        with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
            outward(pair, pair.one, unheard.getsockname())


def test_rules_count_in_their_order(pair: Pair, elsewhere: socket.socket) -> None:
    target = elsewhere.getsockname()
    pair.one.order("gateway", ["deny=127.0.0.1", "allow=*"])
    assert outward(pair, pair.one, target) is None
    pair.one.order("gateway", ["allow=tcp:127.0.0.1", "deny=*"])
    assert outward(pair, pair.one, target) is not None
    for rules, why in (
        (["127.0.0.1"], "no rule of a gateway"),
        (["ask=*"], "no rule of a gateway"),
        (["allow=:x"], "neither a port nor a range"),
    ):
        with pytest.raises(UsageError, match=why):
            pair.one.order("gateway", rules)


def test_datagrams_get_out_and_their_answers_in(pair: Pair) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.settimeout(LIMIT)
        server.bind(("127.0.0.1", 0))
        clients = [pair.socket_of(member, socket.SOCK_DGRAM) for member in (pair.one, pair.other)]
        there = server.getsockname()
        assert pair.one.outside(clients[0].getsockname(), *there, "udp") is None
        pair.one.order("gateway", [f"allow=udp:127.0.0.1:{there[1]}"])
        for client, member in zip(clients, (pair.one, pair.other), strict=True):
            real = member.outside(client.getsockname(), *there, "udp")
            assert real is not None
            client.sendto(member.name.encode(), real)
            data, peer = server.recvfrom(100)
            server.sendto(data, peer)
            assert client.recvfrom(100) == (member.name.encode(), real)
            assert member.outside_name(real) == there
