"""The DNS server of a LAN, asked as programs ask it."""

from __future__ import annotations

import socket
import struct

import pytest

pytest.importorskip("dns.message", reason="needs dnspython")

import dns.flags
import dns.message
import dns.query
import dns.rcode

from diorama.errors import UsageError
from diorama.modules.networks.lan.addresses import ADDRESS4, ADDRESS6, GATEWAY, Place, parse_real
from modules.networks.lan_pair import Pair
from modules.networks.lan_room import LIMIT, Room


def ask(
    pair: Pair, name: str, kind: str = "A", *, index: int = ADDRESS4, tcp: bool = False
) -> dns.message.Message:
    address, port = Place(pair.one.number, GATEWAY, index, 53).real()
    query = dns.message.make_query(name, kind)
    return (dns.query.tcp if tcp else dns.query.udp)(query, address, port=port, timeout=LIMIT)


def told(answer: dns.message.Message) -> list[str]:
    assert answer.flags & dns.flags.QR
    return [item.to_text() for part in answer.answer for item in part]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("index", [ADDRESS4, ADDRESS6])
def test_hosts_have_addresses_of_both_families(pair: Pair, index: int, tcp: bool) -> None:
    for name in ("b", "B", "b.office", "b.OFFICE."):
        assert told(ask(pair, name, index=index, tcp=tcp)) == ["10.1.0.2"]
        assert told(ask(pair, name, "AAAA", index=index, tcp=tcp)) == ["fd01::2"]
    assert told(ask(pair, "gateway")) == ["10.1.0.254"]


def test_addresses_have_names(pair: Pair) -> None:
    assert told(ask(pair, "2.0.1.10.in-addr.arpa", "PTR")) == ["b.office."]
    reverse = "".join(f"{digit}." for digit in f"{'fd01':0<31}2"[::-1]) + "ip6.arpa"
    assert told(ask(pair, reverse, "PTR")) == ["b.office."]
    assert ask(pair, "9.0.1.10.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN
    assert ask(pair, "x.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN


def test_a_name_that_there_is_has_no_other_records(pair: Pair) -> None:
    answer = ask(pair, "b", "MX")
    assert (answer.rcode(), told(answer)) == (dns.rcode.NOERROR, [])
    assert answer.authority[0].rdtype == 6


@pytest.mark.parametrize("name", ["c", "c.office", "example.org", "org", "b.example.org"])
def test_other_names_do_not_exist(pair: Pair, name: str) -> None:
    assert ask(pair, name).rcode() == dns.rcode.NXDOMAIN


def test_hosts_that_come_and_go_are_known(pair: Pair, room: Room) -> None:
    late = room.join(host="late")
    assert told(ask(pair, "late")) == [str(late.address.ip)]
    late.leave()
    while ask(pair, "late").rcode() != dns.rcode.NXDOMAIN:
        pass


def test_more_names_can_be_given_and_taken(pair: Pair) -> None:
    pair.one.order("name", ["www=b", "db.example.org=10.9.9.9", "v6=fd99::1"])
    assert told(ask(pair, "www")) == ["10.1.0.2"]
    assert told(ask(pair, "www.office", "AAAA")) == ["fd01::2"]
    assert told(ask(pair, "db.example.org")) == ["10.9.9.9"]
    assert told(ask(pair, "v6", "AAAA")) == ["fd99::1"]
    assert told(ask(pair, "v6")) == []
    pair.one.order("name", ["www="])
    assert ask(pair, "www").rcode() == dns.rcode.NXDOMAIN
    for words, why in (
        (["www="], "there is no name"),
        (["www"], "names nothing"),
        (["w=nobody"], "no host 'nobody'"),
    ):
        with pytest.raises(UsageError, match=why):
            pair.one.order("name", words)


def test_what_is_no_question_is_not_answered_and_does_no_harm(pair: Pair) -> None:
    client = pair.socket_of(pair.one, socket.SOCK_DGRAM)
    server = Place(pair.one.number, GATEWAY, ADDRESS4, 53).real()
    for data in (
        b"",
        b"x",
        bytes(11),
        bytes(12),
        b"\xff" * 600,
        dns.message.make_response(query()).to_wire(),
    ):
        client.sendto(data, server)
    assert told(ask(pair, "b")) == ["10.1.0.2"]


def query() -> dns.message.Message:
    return dns.message.make_query("b", "A")


def test_one_connection_is_for_many_questions_in_any_pieces(pair: Pair) -> None:
    client = pair.socket_of(pair.one)
    client.connect(Place(pair.one.number, GATEWAY, ADDRESS4, 53).real())
    wire = query().to_wire()
    sent = (struct.pack("!H", len(wire)) + wire) * 5
    for start in range(0, len(sent), 7):
        client.sendall(sent[start : start + 7])
    with client.makefile("rb") as reading:
        for _ in range(5):
            size = struct.unpack("!H", reading.read(2))[0]
            assert told(dns.message.from_wire(reading.read(size))) == ["10.1.0.2"]


def test_names_are_asked_for_through_a_relay_too(pair: Pair) -> None:
    pair.one.order("set", ["latency=20ms"])
    client = pair.socket_of(pair.one, socket.SOCK_DGRAM)
    server = Place(pair.one.number, GATEWAY, ADDRESS4, 53).real()
    client.sendto(query().to_wire(), pair.one.relay(client.getsockname(), server, "udp"))
    data, source = client.recvfrom(512)
    assert told(dns.message.from_wire(data)) == ["10.1.0.2"]
    assert parse_real(*source) == parse_real(*server)


def test_outside_names_need_the_gateway(pair: Pair) -> None:
    pair.one.order("gateway", ["allow=*.invalid"])
    # Whoever is asked, or nobody: it is no longer for us to say that there is no such name.
    assert not ask(pair, "x.invalid").flags & dns.flags.AA
    assert ask(pair, "x.example.org").flags & dns.flags.AA
