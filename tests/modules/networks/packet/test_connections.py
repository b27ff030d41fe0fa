"""TCP between two hosts, as their programs see it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import select
import signal
import socket
import struct
import termios
import threading
import time
from collections.abc import Iterator

import pytest

from diorama.modules.networks.packet.network import PacketNetwork
from modules.networks.packet.hosts import LIMIT, Program, host, needs_lwip, new_switch, two_hosts

pytestmark = needs_lwip
HERE, THERE = "10.0.0.1", "10.0.0.2"
STREAM = socket.SOCK_STREAM
ALL = select.POLLIN | select.POLLOUT


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[PacketNetwork, PacketNetwork]]:
    with two_hosts(new_switch()) as both:
        yield both


@pytest.fixture
def programs(hosts: tuple[PacketNetwork, PacketNetwork]) -> Iterator[tuple[Program, Program]]:
    """A socket here, and one that listens there."""
    client, server = Program.open(hosts[0], STREAM), Program.open(hosts[1], STREAM)
    server.bind("0.0.0.0", 0)
    server.listen()
    yield client, server
    client.close()
    server.close()


@pytest.fixture
def joined(programs: tuple[Program, Program]) -> Iterator[tuple[Program, Program]]:
    """A connection from here to there."""
    client, server = programs
    client.connect(THERE, server.name()[1])
    accepted = server.accept()
    yield client, accepted
    accepted.close()


def await_event(program: Program, events: int) -> int:
    poll = select.poll()
    poll.register(program.at, events)
    happened = poll.poll(LIMIT * 1000)
    assert happened, "nothing happens"
    return happened[0][1]


def is_ready(program: Program, events: int) -> bool:
    poll = select.poll()
    poll.register(program.at, events)
    return bool(poll.poll(0))


def send_and_end(program: Program, data: bytes) -> threading.Thread:
    def send() -> None:
        program.at.sendall(data)
        program.at.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_names_and_peers(joined: tuple[Program, Program]) -> None:
    client, accepted = joined
    assert client.name() == accepted.peer()
    assert client.peer() == accepted.name()
    assert client.name()[0] == HERE
    assert client.peer()[0] == THERE


def test_much_in_both_directions_at_once(joined: tuple[Program, Program]) -> None:
    client, accepted = joined
    one, other = os.urandom(8_000_000), os.urandom(8_000_000)
    senders = [send_and_end(client, one), send_and_end(accepted, other)]
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(client.read_all()))
    reader.start()
    assert hashlib.sha256(accepted.read_all()).digest() == hashlib.sha256(one).digest()
    reader.join()
    assert hashlib.sha256(got[0]).digest() == hashlib.sha256(other).digest()
    for sender in senders:
        sender.join()


def test_many_small_pieces_keep_their_order(joined: tuple[Program, Program]) -> None:
    client, accepted = joined
    data = bytes(number % 251 for number in range(20000))
    for at in range(0, len(data), 7):
        client.at.sendall(data[at : at + 7])
    client.at.shutdown(socket.SHUT_WR)
    assert accepted.read_all() == data


@pytest.mark.parametrize("is_turned", [False, True], ids=["ours", "theirs"])
def test_a_half_that_is_closed_leaves_the_other(joined: tuple[Program, Program], is_turned: bool) -> None:
    one, other = joined[::-1] if is_turned else joined
    one.at.shutdown(socket.SHUT_WR)
    assert other.at.recv(10) == b""
    other.at.sendall(b"still here")
    assert one.at.recv(10) == b"still here"
    other.at.shutdown(socket.SHUT_WR)
    assert one.at.recv(10) == b""


def test_who_does_not_listen_refuses(hosts: tuple[PacketNetwork, PacketNetwork]) -> None:
    client = Program.open(hosts[0], STREAM)
    with pytest.raises(ConnectionRefusedError):
        client.connect(THERE, 9)
    with pytest.raises(ConnectionRefusedError):
        client.connect(THERE, 9)
    client.close()


def test_a_connection_is_not_writable_before_it_stands(hosts: tuple[PacketNetwork, PacketNetwork]) -> None:
    client = Program.open(hosts[0], STREAM)
    client.at.settimeout(0)
    with pytest.raises(BlockingIOError):
        client.connect("10.0.0.99", 80)
    assert not is_ready(client, ALL)
    with pytest.raises(BlockingIOError):
        client.at.send(b"too early")
    with pytest.raises(OSError, match=r".") as caught:
        client.connect("10.0.0.99", 80)
    assert caught.value.errno == errno.EALREADY
    assert await_event(client, ALL) & (select.POLLERR | select.POLLHUP)
    assert client.error() == errno.EHOSTUNREACH
    assert client.error() == 0
    client.close()


def test_who_does_not_wait_can_write_when_the_connection_stands(
    programs: tuple[Program, Program],
) -> None:
    client, server = programs
    client.at.settimeout(0)
    with pytest.raises(BlockingIOError):
        client.connect(THERE, server.name()[1])
    assert await_event(client, select.POLLOUT) == select.POLLOUT
    assert client.error() == 0
    client.at.send(b"first")
    accepted = server.accept()
    assert accepted.at.recv(100) == b"first"
    accepted.close()


def test_a_refusal_is_told_to_who_does_not_wait(hosts: tuple[PacketNetwork, PacketNetwork]) -> None:
    client = Program.open(hosts[0], STREAM)
    client.at.settimeout(0)
    with pytest.raises(BlockingIOError):
        client.connect(THERE, 9)
    assert await_event(client, ALL) & (select.POLLERR | select.POLLHUP)
    assert client.error() == errno.ECONNREFUSED
    client.close()


def test_who_closes_without_reading_resets(joined: tuple[Program, Program]) -> None:
    client, accepted = joined
    client.at.sendall(b"never read")
    await_event(accepted, select.POLLIN)
    accepted.close()
    with pytest.raises(ConnectionResetError):
        client.at.recv(10)


def test_a_reset_of_an_idle_connection_is_no_end_of_file(joined: tuple[Program, Program]) -> None:
    client, accepted = joined
    client.at.sendall(b"ping")
    assert accepted.at.recv(10) == b"ping"
    accepted.endpoint.set_option(accepted.at, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    accepted.close()
    with pytest.raises(ConnectionResetError):
        client.at.recv(10)


def test_what_came_before_a_reset_can_be_read(joined: tuple[Program, Program]) -> None:
    client, accepted = joined
    accepted.at.sendall(b"last words")
    await_event(client, select.POLLIN)
    accepted.endpoint.set_option(accepted.at, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    accepted.close()
    assert client.at.recv(100) == b"last words"
    with pytest.raises(ConnectionResetError):
        client.at.recv(100)


def test_who_does_not_read_stops_the_writer(joined: tuple[Program, Program]) -> None:
    client, accepted = joined
    client.at.settimeout(0)
    sent = 0
    until = time.monotonic() + LIMIT
    while True:
        assert time.monotonic() < until
        with contextlib.suppress(BlockingIOError):
            sent += client.at.send(bytes(100_000))
            continue
        poll = select.poll()
        poll.register(client.at, select.POLLOUT)
        if not poll.poll(500):
            break
    assert sent < 8_000_000
    assert struct.unpack("i", fcntl.ioctl(client.at, termios.TIOCOUTQ, bytes(4)))[0] > 0
    client.at.settimeout(LIMIT)
    client.at.shutdown(socket.SHUT_WR)
    assert len(accepted.read_all()) == sent


def test_connections_wait_in_the_backlog(hosts: tuple[PacketNetwork, PacketNetwork]) -> None:
    server = Program.open(hosts[1], STREAM)
    server.bind("0.0.0.0", 0)
    server.listen(2)
    clients = [Program.open(hosts[0], STREAM) for _ in range(30)]
    for number, client in enumerate(clients):
        client.connect(THERE, server.name()[1])
        client.at.sendall(b"%02d" % number)
    accepted = [server.accept() for _ in clients]
    assert sorted(each.at.recv(2) for each in accepted) == [b"%02d" % number for number in range(30)]
    for each in (*clients, *accepted, server):
        each.close()


def test_three_hundred_connections(hosts: tuple[PacketNetwork, PacketNetwork]) -> None:
    server = Program.open(hosts[1], STREAM)
    server.bind("0.0.0.0", 0)
    server.listen(400)
    clients = [Program.open(hosts[0], STREAM) for _ in range(300)]
    accepted = []
    for client in clients:
        client.connect(THERE, server.name()[1])
        accepted.append(server.accept())
    by_peer = {each.peer(): each for each in accepted}
    for number, client in enumerate(clients):
        client.at.sendall(b"%d" % number)
    for number, client in enumerate(clients):
        mine = by_peer[client.name()]
        assert mine.at.recv(10) == b"%d" % number
        mine.at.sendall(b"ok")
    assert {client.at.recv(10) for client in clients} == {b"ok"}
    for each in (*clients, *accepted, server):
        each.close()


@pytest.mark.parametrize(
    ("family", "address", "seen"),
    [
        (socket.AF_INET6, "fd00::2", "fd00::1"),
        (socket.AF_INET6, "::ffff:10.0.0.2", "::ffff:10.0.0.1"),
        (socket.AF_INET, "10.0.0.2", "::ffff:10.0.0.1"),
    ],
)
def test_one_listener_of_ipv6_hears_all(
    hosts: tuple[PacketNetwork, PacketNetwork], family: int, address: str, seen: str
) -> None:
    server = Program.open(hosts[1], STREAM, socket.AF_INET6)
    server.bind("::", 0)
    server.listen()
    client = Program.open(hosts[0], STREAM, family)
    client.connect(address, server.name()[1])
    accepted = server.accept()
    assert accepted.peer()[0] == seen
    client.at.sendall(b"x")
    assert accepted.at.recv(1) == b"x"
    for each in (client, accepted, server):
        each.close()


@pytest.mark.parametrize("address", ["127.0.0.1", HERE, "::1", "fd00::1", "0.0.0.0"])
def test_a_host_reaches_itself(hosts: tuple[PacketNetwork, PacketNetwork], address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server, client = (Program.open(hosts[0], STREAM, family) for _ in range(2))
    server.bind("::" if family == socket.AF_INET6 else "0.0.0.0", 0)
    server.listen()
    client.connect(address, server.name()[1])
    accepted = server.accept()
    data = os.urandom(300_000)
    sender = send_and_end(client, data)
    assert accepted.read_all() == data
    sender.join()
    for each in (client, accepted, server):
        each.close()


def test_a_port_is_taken_until_its_socket_is_closed(hosts: tuple[PacketNetwork, PacketNetwork]) -> None:
    one = Program.open(hosts[0], STREAM)
    one.bind(HERE, 0)
    port = one.name()[1]
    one.listen()
    other = Program.open(hosts[0], STREAM)
    with pytest.raises(OSError, match=r".") as caught:
        other.bind(HERE, port)
    assert caught.value.errno == errno.EADDRINUSE
    one.close()
    other.bind(HERE, port)
    assert other.name() == (HERE, port)
    other.close()


def test_a_listener_of_this_host_that_is_closed_refuses(hosts: tuple[PacketNetwork, PacketNetwork]) -> None:
    server, client = (Program.open(hosts[0], STREAM, socket.AF_INET6) for _ in range(2))
    server.bind("::1", 0)
    server.listen()
    port = server.name()[1]
    server.close()
    with pytest.raises(ConnectionRefusedError):
        client.connect("::1", port)
    client.close()


def test_a_listener_that_is_closed_refuses(programs: tuple[Program, Program]) -> None:
    client, server = programs
    port = server.name()[1]
    server.close()
    with pytest.raises(ConnectionRefusedError):
        client.connect(THERE, port)


@pytest.mark.parametrize(
    ("address", "code"), [("10.0.0.9", errno.EADDRNOTAVAIL), ("fd00::9", errno.EAFNOSUPPORT)]
)
def test_an_address_that_is_not_ours_cannot_be_had(
    hosts: tuple[PacketNetwork, PacketNetwork], address: str, code: int
) -> None:
    one = Program.open(hosts[0], STREAM)
    with pytest.raises(OSError, match=r".") as caught:
        one.bind(address, 80)
    assert caught.value.errno == code
    one.close()


def test_what_linux_says_of_a_socket_in_the_wrong_state(joined: tuple[Program, Program]) -> None:
    client, accepted = joined
    for program, call, code in (
        (client, lambda: client.connect(THERE, 80), errno.EISCONN),
        (accepted, lambda: accepted.connect(THERE, 80), errno.EISCONN),
        (client, client.listen, errno.EINVAL),
    ):
        with pytest.raises(OSError, match=r".") as caught:
            call()
        assert caught.value.errno == code, program


def test_a_fresh_socket_has_no_peer(hosts: tuple[PacketNetwork, PacketNetwork]) -> None:
    one = Program.open(hosts[0], STREAM)
    assert one.name() == ("0.0.0.0", 0)
    with pytest.raises(OSError, match=r".") as caught:
        one.peer()
    assert caught.value.errno == errno.ENOTCONN
    one.close()


def test_no_route_is_said_at_once(hosts: tuple[PacketNetwork, PacketNetwork]) -> None:
    one = Program.open(hosts[0], STREAM)
    with pytest.raises(OSError, match=r".") as caught:
        one.connect("192.0.2.1", 80)
    assert caught.value.errno == errno.ENETUNREACH
    one.close()


def test_options_are_told_as_they_were_set(joined: tuple[Program, Program]) -> None:
    client, _ = joined

    def told(level: int, option: int) -> int:
        value = client.endpoint.get_option(client.at, level, option, 4)
        assert value is not None
        return int.from_bytes(value[:4], "little")

    assert told(socket.SOL_SOCKET, socket.SO_TYPE) == STREAM
    assert told(socket.SOL_SOCKET, socket.SO_DOMAIN) == socket.AF_INET
    assert told(socket.SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_TCP
    assert told(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
    assert client.endpoint.set_option(client.at, socket.IPPROTO_TCP, socket.TCP_NODELAY, struct.pack("i", 1))
    assert told(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    with pytest.raises(OSError, match=r".") as caught:
        client.endpoint.set_option(client.at, socket.IPPROTO_TCP, 12345, struct.pack("i", 1))
    assert caught.value.errno == errno.ENOPROTOOPT


def test_tcp_info_tells_state_and_sizes(joined: tuple[Program, Program]) -> None:
    client, _ = joined
    info = client.endpoint.get_option(client.at, socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    assert info is not None
    assert len(info) == 104
    assert info[0] == 1
    assert struct.unpack_from("=I", info, 16) == (1460,)


def test_a_lossy_wire_loses_no_byte() -> None:
    name = new_switch()
    with host(name, "address=10.0.0.1/24", "loss=3") as one, host(name, "address=10.0.0.2/24") as other:
        server, client = Program.open(other, STREAM), Program.open(one, STREAM)
        server.bind("0.0.0.0", 0)
        server.listen()
        client.connect(THERE, server.name()[1])
        accepted = server.accept()
        data = os.urandom(400_000)
        sender = send_and_end(client, data)
        assert accepted.read_all() == data
        sender.join()
        for each in (server, client, accepted):
            each.close()


def test_the_death_of_a_stack_is_told_to_its_programs(capfd: pytest.CaptureFixture[str]) -> None:
    with two_hosts(new_switch()) as (one, other):
        server, client = Program.open(other, STREAM), Program.open(one, STREAM)
        server.bind("0.0.0.0", 0)
        server.listen()
        client.connect(THERE, server.name()[1])
        accepted = server.accept()
        waiting = Program.open(one, STREAM)
        waiting.bind("0.0.0.0", 80)
        waiting.listen()
        os.kill(one.handle.pid, signal.SIGKILL)
        with pytest.raises(ConnectionResetError):
            client.at.recv(1)
        with pytest.raises(ConnectionAbortedError):
            waiting.accept()
        fresh = one.make(socket.AF_INET, STREAM, 0)
        with pytest.raises(OSError, match=r".") as caught:
            fresh.open()
        assert caught.value.errno == errno.ENETDOWN
        # The other host has no fault in it.
        assert isinstance(other.make(socket.AF_INET, STREAM, 0).open(), socket.socket)
        for each in (server, client, accepted, waiting):
            each.close()
    assert "its network is down" in capfd.readouterr().err


def test_the_last_words_of_a_view_arrive() -> None:
    name = new_switch()
    with host(name, "address=10.0.0.2/24") as other:
        server = Program.open(other, STREAM)
        server.bind("0.0.0.0", 0)
        server.listen()
        with host(name, "address=10.0.0.1/24") as one:
            client = Program.open(one, STREAM)
            client.connect(THERE, server.name()[1])
            accepted = server.accept()
            client.at.sendall(bytes(300_000))
            client.close()
        assert len(accepted.read_all()) == 300_000
        accepted.close()
        server.close()
