"""What a packet stack tells of itself, what `ip` may change, and how it is mounted."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from pathlib import Path

import pytest

from diorama.errors import UsageError
from diorama.interfaces.network import Link, Route
from diorama.interfaces.story import TcpState
from diorama.modules.networks.packet.datagrams import checksum
from diorama.modules.networks.packet.network import PacketNetwork, make_packet
from diorama.modules.networks.packet.wires import open_wire
from diorama.modules.options import Options
from modules.networks.packet.hosts import (
    LIMIT,
    Program,
    host,
    needs_lwip,
    needs_vde,
    new_switch,
    two_hosts,
    vde_switch,
)

pytestmark = needs_lwip
UP, LOOPBACK, RUNNING = 0x1, 0x8, 0x40
DEFAULT = IPv4Network("0.0.0.0/0")


def link(network: PacketNetwork, name: str) -> Link:
    assert network.story is not None
    return next(each for each in network.story.links() if each.name == name)


def eventually(what: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture
def bare() -> Iterator[PacketNetwork]:
    """One that nobody has configured."""
    with host(new_switch()) as network:
        yield network


@contextlib.contextmanager
def fails(code: int) -> Iterator[None]:
    with pytest.raises(OSError, match=r".") as caught:
        yield
    assert caught.value.errno == code


def test_an_interface_is_down_until_it_is_configured(bare: PacketNetwork) -> None:
    assert [each.name for each in bare.story.links()] == ["lo", "eth0"]
    assert link(bare, "lo").flags & (UP | LOOPBACK) == UP | LOOPBACK
    assert not link(bare, "eth0").flags & UP
    assert [str(each) for each in link(bare, "lo").addresses] == ["127.0.0.1/8", "::1/128"]
    assert len(link(bare, "eth0").address) == 6


def test_an_interface_is_configured_as_by_ip(bare: PacketNetwork) -> None:
    index = link(bare, "eth0").index
    bare.story.add_address(index, IPv4Interface("10.1.0.5/16"))
    bare.story.add_address(index, IPv6Interface("fd01::5/48"))
    bare.story.set_link(index, flags=UP)
    bare.story.set_link(index, mtu=1400)
    told = link(bare, "eth0")
    assert told.flags & (UP | RUNNING) == UP | RUNNING
    assert told.mtu == 1400
    assert {IPv4Interface("10.1.0.5/16"), IPv6Interface("fd01::5/48")} <= set(told.addresses)
    with fails(errno.EEXIST):
        bare.story.add_address(index, IPv4Interface("10.1.0.5/16"))
    bare.story.remove_address(index, IPv4Interface("10.1.0.5/16"))
    with fails(errno.EADDRNOTAVAIL):
        bare.story.remove_address(index, IPv4Interface("10.1.0.5/16"))
    assert IPv4Interface("10.1.0.5/16") not in link(bare, "eth0").addresses
    with fails(errno.ENODEV):
        bare.story.set_link(99, flags=UP)


def test_the_default_route_comes_and_goes(bare: PacketNetwork) -> None:
    index = link(bare, "eth0").index
    bare.story.set_link(index, flags=UP)
    route = Route(DEFAULT, index, "10.1.0.1")
    with fails(errno.ENETUNREACH):
        bare.story.add_route(route)
    bare.story.add_address(index, IPv4Interface("10.1.0.5/16"))
    bare.story.add_route(route)
    assert list(bare.story.routes()) == [route]
    with fails(errno.EEXIST):
        bare.story.add_route(route)
    with fails(errno.EOPNOTSUPP):
        bare.story.add_route(Route(IPv4Network("10.7.0.0/16"), index, "10.1.0.1"))
    bare.story.remove_route(route)
    assert not bare.story.routes()
    with fails(errno.ESRCH):
        bare.story.remove_route(route)


@pytest.mark.parametrize("how", ["address", "link"])
def test_the_default_route_ends_with_what_it_needs(bare: PacketNetwork, how: str) -> None:
    index = link(bare, "eth0").index
    bare.story.set_link(index, flags=UP)
    bare.story.add_address(index, IPv4Interface("10.1.0.5/16"))
    bare.story.add_route(Route(DEFAULT, index, "10.1.0.1"))
    if how == "address":
        bare.story.remove_address(index, IPv4Interface("10.1.0.5/16"))
    else:
        bare.story.set_link(index, flags=0)
    assert not bare.story.routes()


def test_a_second_address_of_ipv4_is_not_supported(bare: PacketNetwork) -> None:
    index = link(bare, "eth0").index
    bare.story.add_address(index, IPv4Interface("10.1.0.5/16"))
    with fails(errno.EOPNOTSUPP):
        bare.story.add_address(index, IPv4Interface("10.1.0.6/16"))


def test_an_interface_is_renamed_and_given_another_address(bare: PacketNetwork) -> None:
    index = link(bare, "eth0").index
    bare.story.set_link(index, name="lan0", address=b"\x02\0\0\0\0\x09")
    assert link(bare, "lan0").address == b"\x02\0\0\0\0\x09"
    with fails(errno.EEXIST):
        bare.story.set_link(index, name="lo")


def test_sockets_and_neighbours_are_told() -> None:
    with two_hosts(new_switch()) as (one, other):
        server, client = Program.open(other, socket.SOCK_STREAM), Program.open(one, socket.SOCK_STREAM)
        server.bind("0.0.0.0", 80)
        server.listen()
        client.connect("10.0.0.2", 80)
        accepted = server.accept()
        (mine,) = one.sockets()
        assert (mine.state, mine.local, mine.peer) == (TcpState.ESTABLISHED, client.name(), ("10.0.0.2", 80))
        assert mine.inode == os.fstat(client.at.fileno()).st_ino
        assert sorted(each.state for each in other.sockets()) == [TcpState.ESTABLISHED, TcpState.LISTEN]
        (near,) = one.story.neighbours()
        assert (near.address, near.hardware) == ("10.0.0.2", link(other, "eth0").address)
        assert link(one, "eth0").counters.sent_packets > 2
        for each in (server, client, accepted):
            each.close()


def test_who_sets_an_interface_down_is_unreachable() -> None:
    with host(new_switch(), "address=10.0.0.1/24") as one:
        one.story.set_link(link(one, "eth0").index, flags=0)
        program = Program.open(one, socket.SOCK_STREAM)
        with fails(errno.ENETUNREACH):
            program.connect("10.0.0.2", 80)
        program.close()


def test_one_more_wire_is_added_and_removed(bare: PacketNetwork) -> None:
    name = new_switch().partition(":")[2]
    bare.story.add_link("switch", "lan1", {"data": name})
    index = link(bare, "lan1").index
    bare.story.add_address(index, IPv4Interface("10.2.0.1/24"))
    bare.story.set_link(index, flags=UP)
    with host(f"switch:{name}", "address=10.2.0.2/24") as other:
        server, client = Program.open(other, socket.SOCK_STREAM), Program.open(bare, socket.SOCK_STREAM)
        server.bind("0.0.0.0", 0)
        server.listen()
        client.connect("10.2.0.2", server.name()[1])
        server.close()
        client.close()
    with fails(errno.EEXIST):
        bare.story.add_link("switch", "lan1", {"data": name})
    with fails(errno.EOPNOTSUPP):
        bare.story.add_link("bridge", "br0", {})
    bare.story.remove_link(index)
    assert [each.name for each in bare.story.links()] == ["lo", "eth0"]


def test_addresses_of_ipv6_come_by_themselves(bare: PacketNetwork) -> None:
    index = link(bare, "eth0").index
    assert not link(bare, "eth0").addresses
    bare.story.set_link(index, flags=UP)
    (own,) = link(bare, "eth0").addresses
    assert str(own).startswith("fe80::")
    assert own.network.prefixlen == 64


def test_an_interface_that_is_set_down_has_no_address_of_ipv6(bare: PacketNetwork) -> None:
    index = link(bare, "eth0").index
    bare.story.set_link(index, flags=UP)
    before = link(bare, "eth0").addresses
    four, six = IPv4Interface("10.3.0.1/24"), IPv6Interface("fd03::1/80")
    bare.story.add_address(index, four)
    bare.story.add_address(index, six)
    bare.story.set_link(index, flags=0)
    assert link(bare, "eth0").addresses == [four]
    bare.story.add_address(index, six)
    bare.story.set_link(index, flags=UP)
    assert link(bare, "eth0").addresses == [four, *before, six]


def advertisement(prefix: str) -> bytes:
    """What a router says to all (RFC 4861): a prefix of which everybody may make addresses."""
    source, target = (socket.inet_pton(socket.AF_INET6, each) for each in ("fe80::1", "ff02::1"))
    packed = socket.inet_pton(socket.AF_INET6, prefix)
    option = struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 3600, 3600, 0, packed)
    message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + option
    pseudo = source + target + struct.pack("!IxxxB", len(message), socket.IPPROTO_ICMPV6)
    message = message[:2] + checksum(pseudo + message).to_bytes(2, "little") + message[4:]
    head = struct.pack("!IHBB", 6 << 28, len(message), socket.IPPROTO_ICMPV6, 255) + source + target
    return b"\x33\x33\0\0\0\x01" + b"\x02\0\0\0\0\x01" + b"\x86\xdd" + head + message


def test_a_router_tells_the_prefix_of_addresses() -> None:
    name = new_switch()
    router = open_wire(name)
    try:
        with host(name, "up") as one:
            router.send(advertisement("fd77::"))
            network = IPv6Network("fd77::/64")
            eventually(lambda: any(each.ip in network for each in link(one, "eth0").addresses))
    finally:
        router.close()


def test_name_servers_are_those_of_the_options() -> None:
    with host(new_switch(), "address=10.0.0.1/24", "nameserver=10.0.0.53", "nameserver=fd00::53") as one:
        assert one.files()["/etc/resolv.conf"]() == b"nameserver 10.0.0.53\nnameserver fd00::53\n"


@needs_vde
@pytest.mark.skipif(shutil.which("slirpvde") is None, reason="slirpvde (vde2) is not installed")
def test_an_address_comes_by_dhcp(tmp_path: Path) -> None:
    with vde_switch(tmp_path) as path:
        server = subprocess.Popen(["slirpvde", "-s", str(path), "-D"], stdout=subprocess.DEVNULL)
        try:
            with host(f"vde://{path}", "dhcp") as one:
                eventually(lambda: any(each.version == 4 for each in link(one, "vde0").addresses))
                (address,) = (each for each in link(one, "vde0").addresses if each.version == 4)
                assert str(address).startswith("10.0.2.")
                assert one.story.routes()[0].gateway == "10.0.2.2"
                assert one.files()["/etc/resolv.conf"]() == b"nameserver 10.0.2.3\n"
        finally:
            server.kill()
            server.wait()


@needs_vde
def test_a_wire_that_ends_is_a_lost_carrier_and_comes_back(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        with vde_switch(tmp_path) as path:
            one = stack.enter_context(host(f"vde://{path}", "address=10.0.0.1/24"))
            assert link(one, "vde0").flags & RUNNING
        eventually(lambda: not link(one, "vde0").flags & RUNNING)
        program = Program.open(one, socket.SOCK_STREAM)
        with fails(errno.ENETUNREACH):
            program.connect("10.0.0.2", 80)
        program.close()
        shutil.rmtree(tmp_path / "ctl", ignore_errors=True)
        stack.enter_context(vde_switch(tmp_path))
        eventually(lambda: bool(link(one, "vde0").flags & RUNNING))
        other = stack.enter_context(host(f"vde://{path}", "address=10.0.0.2/24"))
        server, client = Program.open(other, socket.SOCK_STREAM), Program.open(one, socket.SOCK_STREAM)
        server.bind("0.0.0.0", 0)
        server.listen()
        client.connect("10.0.0.2", server.name()[1])
        server.close()
        client.close()


@pytest.mark.parametrize(
    ("wire", "options", "says"),
    [
        ("switch:a/b", (), "name has 1 to"),
        ("vde:///nowhere/at/all", (), "cannot open the wire vde:///nowhere"),
        ("pcap:/nowhere", (), "cannot replay /nowhere"),
        ("switch:test-bad", ("address=10.0.0.1",), "prefix"),
        ("switch:test-bad", ("address=10.0.0.1/24", "gateway=10.9.0.1"), "is in no network"),
        ("switch:test-bad", ("loss=200",), "percentage"),
        ("switch:test-bad", ("mtu=big",), "not a number"),
        ("switch:test-bad", ("mac=1:2:3",), "is no address of an interface"),
        ("switch:test-bad", ("wrong=1",), "unknown mount option"),
        ("switch:test-bad", ("pcap=/nowhere/x.pcap",), "cannot record packets"),
    ],
)
def test_mistakes_are_said_in_one_line(wire: str, options: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        make_packet(wire, Options.parse(options)).close()
    assert "\n" not in str(caught.value)


def test_nothing_is_left_of_a_stack() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with host(new_switch(), "address=10.0.0.1/24") as one:
        pid = one.handle.pid
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()
    eventually(lambda: set(os.listdir("/proc/self/fd")) <= before)
