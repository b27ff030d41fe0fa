"""What passes between two hosts of a LAN: delayed, slowed, lost, cut; with real sockets at real addresses.

No time has a limit from above: that something takes long enough does not depend on how busy the machine is.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import threading
import time

import pytest

from diorama.modules.networks.lan.addresses import ADDRESS4, Place, parse_real
from diorama.modules.networks.lan.conditions import attach
from diorama.modules.networks.lan.member import Member
from diorama.modules.networks.lan.silence import hear, ignore
from modules.networks.lan_pair import Pair, read_all
from modules.networks.lan_room import LIMIT, Room, until

LATENCY = 0.08


@pytest.fixture
def slow(pair: Pair) -> Pair:
    pair.one.order("set", [f"latency={LATENCY}"])
    return pair


def test_conditions_say_that_there_is_a_relay(pair: Pair) -> None:
    assert not pair.one.conditions(pair.other.host).has_relay
    pair.one.order("set", ["loss=1%"])
    assert not pair.one.conditions(pair.other.host).has_relay
    for words in (["latency=1ms"], ["latency=0", "bandwidth=1MB"]):
        pair.one.order("set", words)
        assert pair.one.conditions(pair.other.host).has_relay
        assert pair.other.conditions(pair.one.host).has_relay
        assert not pair.one.conditions(pair.one.host).has_relay


def test_connecting_takes_the_latency_and_each_side_sees_the_other(slow: Pair) -> None:
    listener, client = slow.listener(), slow.socket_of(slow.one)
    begun = time.monotonic()
    client.connect(slow.one.relay(client.getsockname(), listener.getsockname(), "tcp"))
    assert time.monotonic() - begun >= LATENCY
    _, peer = listener.accept()
    assert peer == client.getsockname()
    host, port = client.getpeername()
    assert port == listener.getsockname()[1]
    assert host.split(".")[2] == str(slow.other.host)


def test_who_does_not_block_is_told_after_the_latency(slow: Pair) -> None:
    listener, client = slow.listener(), slow.socket_of(slow.one)
    client.settimeout(0)
    begun = time.monotonic()
    assert (
        client.connect_ex(slow.one.relay(client.getsockname(), listener.getsockname(), "tcp"))
        == errno.EINPROGRESS
    )
    client.settimeout(LIMIT)
    client.sendall(b"hello")  # waits until it is connected
    server, _ = listener.accept()
    with server:
        server.settimeout(LIMIT)
        assert server.recv(10) == b"hello"
    assert time.monotonic() - begun >= LATENCY


def test_an_answer_takes_the_latency(slow: Pair) -> None:
    client, server = slow.connected(slow.listener())
    begun = time.monotonic()
    client.sendall(b"ping")
    assert server.recv(10) == b"ping"
    assert time.monotonic() - begun >= LATENCY / 2
    server.sendall(b"pong")
    assert client.recv(10) == b"pong"
    assert time.monotonic() - begun >= LATENCY


@pytest.mark.parametrize("words", [["latency=20ms"], ["latency=2ms", "jitter=2ms"], ["bandwidth=20MB"]])
def test_no_byte_is_lost_or_changes_its_place(pair: Pair, words: list[str]) -> None:
    pair.one.order("set", words)
    client, server = pair.connected(pair.listener())
    blob = b"".join(struct.pack("I", number) for number in range(1 << 20))

    def send() -> None:
        client.sendall(blob)
        client.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    assert read_all(server) == blob
    thread.join()
    server.sendall(b"still here")
    server.close()
    assert read_all(client) == b"still here"


def test_who_sends_and_closes_at_once_has_sent_all(slow: Pair) -> None:
    client, server = slow.connected(slow.listener())
    client.sendall(bytes(300_000))
    client.close()
    assert len(read_all(server)) == 300_000


def test_who_does_not_read_holds_up_who_sends(slow: Pair) -> None:
    client, server = slow.connected(slow.listener())
    client.settimeout(1.0)
    with pytest.raises(TimeoutError):
        client.sendall(bytes(1 << 30))
    client.close()
    assert len(read_all(server)) > 1 << 20


def test_a_reset_is_a_reset(slow: Pair) -> None:
    for reset, told in ((0, 1), (1, 0)):
        ends = slow.connected(slow.listener())
        ends[reset].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ends[reset].close()
        with pytest.raises(ConnectionResetError):
            ends[told].recv(1)


def test_urgent_data_is_urgent_at_its_place(slow: Pair) -> None:
    client, server = slow.connected(slow.listener())
    for index, data in enumerate((b"before", b"!", b"after")):
        client.send(data, socket.MSG_OOB if index == 1 else 0)
    got = b""
    while len(got) < len(b"before"):
        got += server.recv(10)
    assert got == b"before"
    until(lambda: urgent(server) == b"!", "what is urgent")
    assert server.recv(10) == b"after"


def urgent(at: socket.socket) -> bytes:
    try:
        return at.recv(1, socket.MSG_OOB)
    except OSError:
        return b""


def test_a_port_where_nobody_listens_refuses_after_the_latency(slow: Pair) -> None:
    unheard = slow.socket_of(slow.other)
    client = slow.socket_of(slow.one)
    begun = time.monotonic()
    # For the kernel it may be a reset; why it is one is known.
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        client.connect(slow.one.relay(client.getsockname(), unheard.getsockname(), "tcp"))
    assert time.monotonic() - begun >= LATENCY
    assert slow.one.why(client.getsockname()) == errno.ECONNREFUSED


def test_a_hundred_connections_at_once(slow: Pair) -> None:
    listener = slow.listener()
    clients = [slow.socket_of(slow.one) for _ in range(100)]
    for client in clients:
        client.settimeout(0)
        client.connect_ex(slow.one.relay(client.getsockname(), listener.getsockname(), "tcp"))
    for client in clients:
        client.settimeout(LIMIT)
        client.sendall(repr(client.getsockname()).encode())
        client.shutdown(socket.SHUT_WR)
    for _ in clients:
        server, peer = listener.accept()
        with server:
            server.settimeout(LIMIT)
            assert read_all(server) == repr(peer).encode()


def test_bandwidth_is_of_all_that_passes(pair: Pair) -> None:
    pair.one.order("set", ["bandwidth=1MB"])
    listener = pair.listener()
    ends = [pair.connected(listener) for _ in range(2)]
    begun = time.monotonic()
    for client, _ in ends:
        client.sendall(bytes(100_000))
        client.shutdown(socket.SHUT_WR)
    assert [len(read_all(server)) for _, server in ends] == [100_000, 100_000]
    assert time.monotonic() - begun >= 0.2


def test_datagrams_take_half_of_it_and_come_from_who_has_sent_them(slow: Pair) -> None:
    one, other = slow.socket_of(slow.one, socket.SOCK_DGRAM), slow.socket_of(slow.other, socket.SOCK_DGRAM)
    begun = time.monotonic()
    one.sendto(b"hello", slow.one.relay(one.getsockname(), other.getsockname(), "udp"))
    data, source = other.recvfrom(100)
    assert (data, parse_real(*source)) == (b"hello", parse_real(*one.getsockname()))
    assert time.monotonic() - begun >= LATENCY / 2
    other.sendto(b"", slow.other.relay(other.getsockname(), one.getsockname(), "udp"))
    data, source = one.recvfrom(100)
    assert (data, parse_real(*source)) == (b"", parse_real(*other.getsockname()))
    assert time.monotonic() - begun >= LATENCY


def test_an_address_of_another_lan_has_no_relay(slow: Pair, room: Room) -> None:
    stranger = room.join("elsewhere")
    real = Place(stranger.number, stranger.host, ADDRESS4, 5000).real()
    with pytest.raises(OSError, match="is not of this LAN") as refused:
        slow.one.relay(real, ("127.0.0.1", 22), "tcp")
    assert refused.value.errno == errno.EINVAL


def filtered(member: Member, at: socket.socket) -> None:
    """Let a socket of a host hear whom it is to hear, as the host's view does."""
    if at.type == socket.SOCK_STREAM:
        hear(at, member.number, set(range(1, 255)) - member.silent())
        ignore(at, member.number, member.silent())
        return
    attach(at, member.filter())


def test_datagrams_are_heard_from_the_lan_alone(pair: Pair) -> None:
    hearing = pair.socket_of(pair.other, socket.SOCK_DGRAM, port=5000)
    filtered(pair.other, hearing)
    hearing.settimeout(LIMIT)
    with socket.socket(type=socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"from outside", hearing.getsockname())
        pair.socket_of(pair.one, socket.SOCK_DGRAM).sendto(b"from the LAN", hearing.getsockname())
        assert hearing.recv(20) == b"from the LAN"


@pytest.mark.parametrize("words", [[], ["latency=10ms"]], ids=["direct", "relayed"])
@pytest.mark.parametrize(
    "verb", [("cut", ["a-b"]), ("partition", ["a/b"]), ("pause", ["b"]), ("down", ["a"])]
)
def test_a_connection_between_who_is_cut_off_stands_still_and_goes_on(
    pair: Pair, words: list[str], verb: tuple[str, list[str]]
) -> None:
    if words:
        pair.one.order("set", words)
        client, server = pair.connected(pair.listener())
    else:
        listener, client = pair.listener(), pair.socket_of(pair.one)
        client.connect(listener.getsockname())
        server, _ = pair.accepted(listener)
    client.sendall(b"before")
    server.settimeout(LIMIT)
    assert server.recv(10) == b"before"

    def follow() -> None:
        filtered(pair.one, client)
        filtered(pair.other, server)

    pair.one.order(*verb)
    assert pair.one.conditions(pair.other.host).is_cut
    follow()
    client.sendall(b"meanwhile")
    server.sendall(b"as well")
    for at in (client, server):
        at.settimeout(0.3)
        with pytest.raises(TimeoutError):
            at.recv(10)
    pair.one.order("reset" if verb[0] != "cut" else "heal")
    assert not pair.one.silent()
    follow()
    for at in (client, server):
        at.settimeout(LIMIT)
    assert server.recv(10) == b"meanwhile"
    assert client.recv(10) == b"as well"


def test_who_is_cut_off_cannot_connect_and_others_can(pair: Pair, room: Room) -> None:
    third = room.join(host="c")
    pair.one.order("cut", ["a-b"])
    listener = pair.listener()
    filtered(pair.other, listener)
    client = pair.socket_of(pair.one)
    filtered(pair.one, client)
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.connect(listener.getsockname())
    pair.socket_of(third).connect(listener.getsockname())
    assert listener.accept()[1][0].split(".")[2] == str(third.host)


@pytest.mark.parametrize(("loss", "least", "most"), [("0", 400, 400), ("30%", 200, 360), ("100%", 0, 0)])
def test_a_share_of_the_datagrams_is_lost(pair: Pair, loss: str, least: int, most: int) -> None:
    pair.one.order("set", [f"loss={loss}"])
    one, other = pair.socket_of(pair.one, socket.SOCK_DGRAM), pair.socket_of(pair.other, socket.SOCK_DGRAM)
    filtered(pair.other, other)
    other.settimeout(0)
    count = 0
    for _ in range(400):
        one.sendto(b"x", other.getsockname())
        try:
            other.recv(1)
        except BlockingIOError:
            continue
        count += 1
    assert least <= count <= most


def test_connections_end_with_a_keeper_that_is_killed_and_new_ones_do_not(slow: Pair, room: Room) -> None:
    client, _ = slow.connected(slow.listener())
    (keeper,) = room.keepers()
    os.kill(keeper, signal.SIGKILL)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    client, server = slow.connected(slow.listener())
    client.sendall(b"again")
    assert server.recv(10) == b"again"
