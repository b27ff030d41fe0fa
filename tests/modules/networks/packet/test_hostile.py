"""Whatever somebody sends on the wire, the stack lives on."""

from __future__ import annotations

import random
import socket
import struct

import pytest

from diorama.interfaces.network import Link
from diorama.modules.networks.packet.datagrams import checksum
from diorama.modules.networks.packet.frames import is_harmful
from diorama.modules.networks.packet.network import PacketNetwork
from diorama.modules.networks.packet.wires import Wire, open_wire
from modules.networks.packet.hosts import Program, host, needs_lwip, new_switch

FRAMES = 6000
OURS, THEIRS = b"\x0a\0\0\1", b"\x0a\0\0\2"
OURS6, THEIRS6 = (socket.inet_pton(socket.AF_INET6, each) for each in ("fd00::1", "fd00::2"))
UDP_LITE = 136


def ipv4(protocol: int, body: bytes, options: bytes = b"", size: int | None = None, place: int = 0) -> bytes:
    total = 20 + len(options) + len(body) if size is None else size
    head = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, total, 7, place, 64, protocol, 0)
    head += THEIRS + OURS + options
    return b"\x08\x00" + head[:10] + checksum(head).to_bytes(2, "little") + head[12:] + body


def ipv6(header: int, body: bytes, size: int | None = None) -> bytes:
    length = len(body) if size is None else size
    return b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, length, header, 255) + THEIRS6 + OURS6 + body


def anything(chance: random.Random) -> bytes:
    """A frame without its addresses, more or less well formed."""
    body = chance.randbytes(chance.randrange(200))
    size = chance.choice((None, None, chance.randrange(1 << 16)))
    kind = chance.randrange(5)
    if kind == 0:
        return chance.randbytes(2) + body
    if kind == 1:
        return b"\x08\x06\0\1\x08\0\6\4\0" + bytes([chance.randrange(3)]) + chance.randbytes(20)
    if kind == 2:
        flags = chance.choice((0x50, 0x60, 0xF0, 0x10)), chance.randrange(256)
        tcp = struct.pack("!HHIIBBHHH", chance.randrange(1 << 16), 80, 1, 2, *flags, 99, 0, 0) + body
        return ipv4(6, tcp, chance.randbytes(4 * chance.randrange(11)), size)
    if kind == 3:
        length = chance.choice((8 + len(body), 50000))
        udp = struct.pack("!HHHH", chance.randrange(1 << 16), 53, length, 0) + body
        protocol = chance.choice((1, 2, 17, UDP_LITE, chance.randrange(256)))
        return ipv4(protocol, udp, b"", size, chance.choice((0, 0x4000, 0x2000, chance.randrange(1 << 16))))
    icmp = bytes([chance.choice((*range(128, 138), 1, 2, 3, 4)), 0]) + body
    return ipv6(chance.choice((58, 58, 6, 17, UDP_LITE, 0, 43, 44, 60, chance.randrange(256))), icmp, size)


def send_all(wire: Wire, to: Link, frames: list[bytes]) -> None:
    for number, frame in enumerate(frames):
        wire.send(to.address + b"\x02\0\0\0\0\x02" + frame)
        if number % 50 == 49:
            while wire.receive() is not None:
                pass


def is_alive(network: PacketNetwork) -> bool:
    server, client = (Program.open(network, socket.SOCK_STREAM) for _ in range(2))
    server.bind("10.0.0.1", 8080)
    server.listen()
    client.connect("10.0.0.1", 8080)
    server.close()
    client.close()
    return not network.handle.is_down


@needs_lwip
@pytest.mark.parametrize("seed", range(3))
def test_a_stack_lives_on_whatever_comes(seed: int) -> None:
    chance, name = random.Random(seed), new_switch()
    wire = open_wire(name)
    try:
        with host(name, "address=10.0.0.1/24", "address=fd00::1/64") as one:
            listener = Program.open(one, socket.SOCK_STREAM, socket.AF_INET6)
            listener.bind("::", 80)
            listener.listen()
            hears = Program.open(one, socket.SOCK_DGRAM, socket.AF_INET6)
            hears.bind("::", 53)
            assert one.story is not None
            send_all(wire, one.story.links()[1], [anything(chance) for _ in range(FRAMES)])
            assert is_alive(one)
            listener.close()
            hears.close()
    finally:
        wire.close()


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(UDP_LITE, bytes(8)),
        ipv6(UDP_LITE, bytes(8)),
        ipv6(0, bytes([UDP_LITE, 0]) + bytes(14)),
        ipv6(60, bytes([44, 1]) + bytes(14) + bytes([43]) + bytes(7) + bytes([UDP_LITE, 0]) + bytes(14)),
    ],
    ids=["ipv4", "ipv6", "behind a header", "behind several"],
)
def test_udp_lite_does_not_reach_lwip(packet: bytes) -> None:
    assert is_harmful(bytes(12) + packet)


@pytest.mark.parametrize(
    "packet",
    [ipv4(17, bytes(8)), ipv6(6, bytes(20)), ipv6(44, b"\0"), b"\x08\x06" + bytes(28)],
    ids=["udp", "tcp", "cut", "arp"],
)
def test_what_is_usual_reaches_lwip(packet: bytes) -> None:
    assert not is_harmful(bytes(12) + packet)
