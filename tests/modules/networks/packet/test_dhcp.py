"""The DHCP client, against a server of a few lines."""

from __future__ import annotations

import itertools
import struct
from ipaddress import IPv4Address, IPv4Interface

from hypothesis import given
from hypothesis import strategies as st

from diorama.modules.networks.packet.dhcp import Client, Lease

MAC = b"\x02\0\0\0\0\x01"
SERVER = IPv4Address("10.0.0.1").packed
OFFERED = IPv4Address("10.0.0.9").packed
DISCOVER, OFFER, REQUEST, ACK, NAK = 1, 2, 3, 5, 6
BOOTP = 14 + 20 + 8
OPTIONS = BOOTP + 240


def options_of(frame: bytes) -> dict[int, bytes]:
    found, at = {}, OPTIONS
    while frame[at] != 255:
        size = frame[at + 1]
        found[frame[at]] = frame[at + 2 : at + 2 + size]
        at += 2 + size
    return found


def kind_of(frames: list[bytes]) -> int:
    (frame,) = frames
    assert frame[:6] == b"\xff" * 6
    assert frame[6:12] == MAC
    return options_of(frame)[53][0]


def answer(frame: bytes, kind: int, *, seconds: int = 100, more: bytes = b"", mac: bytes = MAC) -> bytes:
    number = frame[BOOTP + 4 : BOOTP + 8]
    head = struct.pack("!BBBB4sHH", 2, 1, 6, 0, number, 0, 0x8000) + bytes(4) + OFFERED + SERVER + bytes(4)
    head += mac.ljust(16, b"\0") + bytes(192) + b"\x63\x82\x53\x63"
    options = bytes([53, 1, kind, 54, 4]) + SERVER + bytes([1, 4, 255, 255, 255, 0])
    options += bytes([51, 4]) + seconds.to_bytes(4, "big") + more + b"\xff"
    udp = struct.pack("!HHHH", 67, 68, 8 + len(head + options), 0)
    ipv4 = b"\x45\0" + bytes(7) + b"\x11" + bytes(10)
    return MAC + b"\x02\0\0\0\0\x02" + b"\x08\0" + ipv4 + udp + head + options


def leased(**how: int) -> tuple[Client, Lease]:
    client = Client(MAC, "host")
    discover = client.start(0.0)
    request = client.receive(answer(discover[0], OFFER), 1.0)
    assert kind_of(request) == REQUEST
    more = b"\x03\x04" + SERVER + b"\x06\x08" + SERVER + SERVER + b"\x0f\x04test"
    assert client.receive(answer(request[0], ACK, more=more, **how), 2.0) == []
    assert client.lease is not None
    return client, client.lease


def test_a_lease_is_asked_for_and_got() -> None:
    _, lease = leased()
    assert lease.address == IPv4Interface("10.0.0.9/24")
    assert lease.gateway == IPv4Address("10.0.0.1")
    assert lease.nameservers == (IPv4Address("10.0.0.1"),) * 2
    assert (lease.domain, lease.seconds) == ("test", 100.0)


def test_the_request_says_what_was_offered_by_whom() -> None:
    client = Client(MAC, "host")
    discover = client.start(0.0)
    assert kind_of(discover) == DISCOVER
    assert options_of(discover[0])[12] == b"host"
    (request,) = client.receive(answer(discover[0], OFFER), 1.0)
    assert options_of(request)[50] == OFFERED
    assert options_of(request)[54] == SERVER


def test_a_client_asks_again_less_and_less_often() -> None:
    client, times, now = Client(MAC), [], 0.0
    client.start(now)
    for _ in range(6):
        assert client.tick(client.due - 0.01) == []
        now = client.due
        times.append(now)
        assert kind_of(client.tick(now)) == DISCOVER
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 16.0


def test_a_lease_is_renewed_at_half_of_its_time() -> None:
    client, lease = leased()
    assert client.due == 52.0
    (request,) = client.tick(52.0)
    assert request[BOOTP + 12 : BOOTP + 16] == OFFERED
    client.receive(answer(request, ACK), 53.0)
    assert client.lease is not lease
    assert client.due == 103.0


def test_a_lease_that_nobody_renews_ends() -> None:
    client, _ = leased()
    now = 0.0
    while client.lease is not None:
        now = client.due
        frames = client.tick(now)
    assert kind_of(frames) == DISCOVER
    assert now >= 102.0


def test_who_is_refused_begins_anew() -> None:
    client, _ = leased()
    (request,) = client.tick(60.0)
    assert kind_of(client.receive(answer(request, NAK), 61.0)) == DISCOVER
    assert client.lease is None


def test_an_answer_for_somebody_else_is_not_taken() -> None:
    client = Client(MAC)
    discover = client.start(0.0)
    other = answer(discover[0], OFFER, mac=b"\x02\0\0\0\0\x07")
    assert Client.is_ours(other)
    assert client.receive(other, 1.0) == []


@given(st.binary(max_size=60), st.integers(min_value=0, max_value=9))
def test_no_answer_breaks_the_client(junk: bytes, kind: int) -> None:
    client = Client(MAC)
    discover = client.start(0.0)
    frame = answer(discover[0], kind)
    frame = frame[: OPTIONS + 3] + junk
    if Client.is_ours(frame):
        client.receive(frame, 1.0)
        assert client.due > 0


@given(st.binary(max_size=400))
def test_only_what_comes_from_a_server_is_ours(frame: bytes) -> None:
    if Client.is_ours(frame):
        assert frame[36:38] == b"\0\x44"
