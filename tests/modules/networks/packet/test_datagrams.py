"""UDP, pings, raw packets and multicast between two hosts, as their programs see it."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator

import pytest

from diorama.abi.socket import RawAddress, UnixAddress
from diorama.modules.networks.packet.datagrams import checksum
from diorama.modules.networks.packet.network import PacketNetwork
from modules.networks.packet.hosts import LIMIT, Program, ip, needs_lwip, new_switch, two_hosts

pytestmark = needs_lwip
HERE, THERE = "10.0.0.1", "10.0.0.2"
DGRAM = socket.SOCK_DGRAM
Hosts = tuple[PacketNetwork, PacketNetwork]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with two_hosts(new_switch()) as both:
        yield both


@pytest.fixture
def programs(hosts: Hosts) -> Iterator[tuple[Program, Program]]:
    """A socket here, and one that has an address there."""
    client, server = Program.open(hosts[0], DGRAM), Program.open(hosts[1], DGRAM)
    server.bind(THERE, 0)
    yield client, server
    client.close()
    server.close()


def set_number(program: Program, level: int, option: int, value: int) -> None:
    program.endpoint.set_option(program.at, level, option, struct.pack("i", value))


def test_a_question_and_its_answer(programs: tuple[Program, Program]) -> None:
    client, server = programs
    client.send_to(b"question", *server.name())
    data, sender = server.receive_from()
    assert (data, sender) == (b"question", (HERE, client.name()[1]))
    server.send_to(b"answer", *sender)
    assert client.receive_from() == (b"answer", server.name())


@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 8000])
def test_a_datagram_keeps_its_size(programs: tuple[Program, Program], size: int) -> None:
    client, server = programs
    data = os.urandom(size)
    client.send_to(data, *server.name())
    assert server.receive_from()[0] == data


def test_who_only_receives_needs_no_address(programs: tuple[Program, Program]) -> None:
    client, server = programs
    client.send_to(b"plain", *server.name())
    poll = select.poll()
    poll.register(server.at, select.POLLIN)
    assert poll.poll(LIMIT * 1000)
    assert server.at.recv(100) == b"plain"


def test_who_is_connected_hears_its_peer_only(hosts: Hosts, programs: tuple[Program, Program]) -> None:
    client, server = programs
    other = Program.open(hosts[1], DGRAM)
    client.connect(*server.name())
    assert client.peer() == server.name()
    assert client.name()[0] == HERE
    client.at.send(b"first")
    data, sender = server.receive_from()
    assert data == b"first"
    other.send_to(b"stranger", *sender)
    server.send_to(b"friend", *sender)
    assert client.at.recv(100) == b"friend"
    other.close()


def test_who_is_not_connected_any_more_hears_all(hosts: Hosts, programs: tuple[Program, Program]) -> None:
    client, server = programs
    other = Program.open(hosts[1], DGRAM)
    client.connect(*server.name())
    client.endpoint.connect(client.at, RawAddress(0, bytes(14)))
    other.send_to(b"stranger", HERE, client.name()[1])
    assert client.receive_from()[0] == b"stranger"
    other.close()


def test_many_peers_are_told_apart(hosts: Hosts, programs: tuple[Program, Program]) -> None:
    _, server = programs
    clients = [Program.open(hosts[0], DGRAM) for _ in range(100)]
    seen = set()
    for number, client in enumerate(clients):
        client.send_to(b"%d" % number, *server.name())
        data, sender = server.receive_from()
        assert (int(data), sender) == (number, (HERE, client.name()[1]))
        server.send_to(data, *sender)
        seen.add(sender)
    assert [int(client.receive_from()[0]) for client in clients] == list(range(100))
    assert len(seen) == 100
    for client in clients:
        client.close()


def test_a_burst_is_not_cut_by_the_queue_of_the_kernel(programs: tuple[Program, Program]) -> None:
    client, server = programs
    for number in range(60):
        client.send_to(b"%d" % number, *server.name())
    assert [int(server.receive_from()[0]) for _ in range(60)] == list(range(60))


def test_a_stranger_on_this_machine_is_not_heard_as_a_peer(programs: tuple[Program, Program]) -> None:
    _, server = programs
    with socket.socket(socket.AF_UNIX, DGRAM) as stranger:
        stranger.bind(b"")
        stranger.sendto(b"forged", server.at.getsockname())
        data, name = server.at.recvfrom(100)
    assert data == b"forged"
    assert server.endpoint.received(server.at, UnixAddress(name).pack()) is None


@pytest.mark.parametrize("address", ["127.0.0.1", HERE, "::1", "fd00::1"])
def test_a_host_reaches_itself(hosts: Hosts, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one, other = (Program.open(hosts[0], DGRAM, family) for _ in range(2))
    other.bind(address, 0)
    one.send_to(b"me", *other.name())
    data, sender = other.receive_from()
    assert (data, sender[0]) == (b"me", address)
    one.close()
    other.close()


def test_ipv4_is_mapped_for_a_socket_of_both(hosts: Hosts) -> None:
    server, client = Program.open(hosts[1], DGRAM, socket.AF_INET6), Program.open(hosts[0], DGRAM)
    server.bind("::", 0)
    client.send_to(b"four", THERE, server.name()[1])
    data, sender = server.receive_from()
    assert (data, sender[0]) == (b"four", "::ffff:10.0.0.1")
    server.send_to(b"back", *sender)
    assert client.receive_from()[0] == b"back"
    server.close()
    client.close()


def test_of_two_sockets_with_one_port_the_connected_one_hears_its_peer(hosts: Hosts) -> None:
    one, other = (Program.open(hosts[1], DGRAM, socket.AF_INET6) for _ in range(2))
    client, stranger = (Program.open(hosts[0], DGRAM) for _ in range(2))
    for program in (one, other):
        set_number(program, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind("::", 0)
    port = one.name()[1]
    client.send_to(b"hello", THERE, port)
    sender = one.receive_from()[1]
    one.connect(*sender)
    assert one.name() == ("::ffff:10.0.0.2", port)
    other.bind("::", port)
    client.send_to(b"for one", THERE, port)
    stranger.send_to(b"for other", THERE, port)
    assert one.at.recv(100) == b"for one"
    assert other.at.recv(100) == b"for other"
    for program in (one, other, client, stranger):
        program.close()


def test_a_broadcast_must_be_allowed(programs: tuple[Program, Program], hosts: Hosts) -> None:
    client, _ = programs
    server = Program.open(hosts[1], DGRAM)
    server.bind("0.0.0.0", 0)
    port = server.name()[1]
    with pytest.raises(PermissionError):
        client.send_to(b"all", "10.0.0.255", port)
    set_number(client, socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    for address in ("10.0.0.255", "255.255.255.255"):
        client.send_to(b"all", address, port)
        assert server.receive_from()[0] == b"all"
    server.close()


@pytest.mark.parametrize(
    ("group", "level", "option"),
    [("239.1.2.3", socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP), ("ff02::4242", socket.IPPROTO_IPV6, 20)],
)
def test_a_group_is_heard_by_its_members(hosts: Hosts, group: str, level: int, option: int) -> None:
    family = socket.AF_INET6 if ":" in group else socket.AF_INET
    server, client = Program.open(hosts[1], DGRAM, family), Program.open(hosts[0], DGRAM, family)
    server.bind("::" if family == socket.AF_INET6 else "0.0.0.0", 0)
    packed = socket.inet_pton(family, group) + bytes(4)
    server.endpoint.set_option(server.at, level, option, packed)
    client.send_to(b"members", group, server.name()[1])
    assert server.receive_from()[0] == b"members"
    client.close()
    server.close()


def test_no_route_is_said_at_once(programs: tuple[Program, Program]) -> None:
    client, _ = programs
    with pytest.raises(OSError, match=r".") as caught:
        client.send_to(b"far", "192.0.2.1", 9)
    assert caught.value.errno == errno.ENETUNREACH


def test_a_port_is_free_when_its_socket_is_closed(hosts: Hosts) -> None:
    one, other = Program.open(hosts[0], DGRAM), Program.open(hosts[0], DGRAM)
    one.bind(HERE, 0)
    port = one.name()[1]
    with pytest.raises(OSError, match=r".") as caught:
        other.bind(HERE, port)
    assert caught.value.errno == errno.EADDRINUSE
    one.close()
    other.bind(HERE, port)
    other.close()


def echo(family: int, number: int, data: bytes) -> bytes:
    return struct.pack("!BBHHH", 8 if family == socket.AF_INET else 128, 0, 0, 0, number) + data


@pytest.mark.parametrize("address", [THERE, HERE, "127.0.0.1", "fd00::2", "::1"])
def test_a_ping_comes_back(hosts: Hosts, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if ":" in address else socket.IPPROTO_ICMP
    pinger, other = (Program.open(hosts[0], DGRAM, family, protocol) for _ in range(2))
    other.send_to(echo(family, 9, b"another"), address)
    pinger.send_to(echo(family, 7, b"payload"), address)
    reply, sender = pinger.receive_from()
    assert sender[0] == address
    assert reply[0] == (0 if family == socket.AF_INET else 129)
    assert struct.unpack("!HH", reply[4:8]) == (pinger.name()[1], 7)
    assert reply[8:] == b"payload"
    pinger.close()
    other.close()


def test_a_raw_socket_has_the_header(hosts: Hosts) -> None:
    raw = Program.open(hosts[0], socket.SOCK_RAW, socket.AF_INET, socket.IPPROTO_ICMP)
    message = bytearray(echo(socket.AF_INET, 1, b"raw"))
    message[4:6] = b"\x12\x34"
    message[2:4] = checksum(bytes(message)).to_bytes(2, "little")
    raw.send_to(bytes(message), THERE)
    packet, sender = raw.receive_from()
    assert sender[0] == THERE
    assert packet[0] == 0x45
    assert packet[12:16] == socket.inet_aton(THERE)
    assert packet[20] == 0
    assert packet[24:26] == b"\x12\x34"
    assert checksum(packet[20:]) == 0
    raw.close()


def test_there_are_no_other_families_and_types(hosts: Hosts) -> None:
    for family, type, protocol, code in (
        (31, DGRAM, 0, errno.EAFNOSUPPORT),
        (socket.AF_INET, socket.SOCK_SEQPACKET, 0, errno.ESOCKTNOSUPPORT),
        (socket.AF_INET, DGRAM, socket.IPPROTO_TCP, errno.EPROTONOSUPPORT),
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP, errno.EPROTONOSUPPORT),
    ):
        with pytest.raises(OSError, match=r".") as caught:
            hosts[0].make(family, type, protocol)
        assert caught.value.errno == code


def test_an_address_of_another_family_is_refused(programs: tuple[Program, Program]) -> None:
    client, _ = programs
    with pytest.raises(OSError, match=r".") as caught:
        client.endpoint.sending(client.at, ip("fd00::2", 9))
    assert caught.value.errno == errno.EAFNOSUPPORT
