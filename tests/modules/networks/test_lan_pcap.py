"""Files of what passes on a LAN: sums and sequences are checked here, and what tcpdump says of them."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from diorama.errors import UsageError
from diorama.modules.networks.lan.addresses import ADDRESS6
from diorama.modules.networks.lan.pcap import Capture, End, TcpTap
from modules.networks.lan_pair import Pair, read_all
from modules.networks.lan_room import until

FIN, SYN, RST, ACK = 1, 2, 4, 16


@dataclass
class Packet:
    """A frame taken apart."""

    when: float
    source: str
    target: str
    protocol: int
    body: bytes

    @property
    def ports(self) -> tuple[int, int]:
        return struct.unpack("!HH", self.body[:4])  # type: ignore[return-value]

    @property
    def numbers(self) -> tuple[int, int]:
        return struct.unpack("!II", self.body[4:12])  # type: ignore[return-value]

    @property
    def flags(self) -> int:
        return self.body[13]

    @property
    def data(self) -> bytes:
        return self.body[(self.body[12] >> 4) * 4 :] if self.protocol == socket.IPPROTO_TCP else self.body[8:]


def summed(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def read(path: Path) -> list[Packet]:
    content = path.read_bytes()
    assert struct.unpack("=IHHiIII", content[:24])[:3] == (0xA1B2C3D4, 2, 4)
    place, found = 24, []
    while place < len(content):
        seconds, micro, size, length = struct.unpack("=IIII", content[place : place + 16])
        assert size == length
        found.append(taken_apart(seconds + micro / 1e6, content[place + 16 : place + 16 + size]))
        place += 16 + size
    assert [packet.when for packet in found] == sorted(packet.when for packet in found)
    return found


def taken_apart(when: float, frame: bytes) -> Packet:
    kind = frame[12:14]
    packet = frame[14:]
    if kind == b"\x08\x00":
        assert summed(packet[:20]) == 0xFFFF
        assert struct.unpack("!H", packet[2:4])[0] == len(packet)
        ends, protocol, body = packet[12:20], packet[9], packet[20:]
    else:
        assert kind == b"\x86\xdd"
        assert struct.unpack("!H", packet[4:6])[0] == len(packet) - 40
        ends, protocol, body = packet[8:40], packet[6], packet[40:]
    pseudo = b"" if protocol == socket.IPPROTO_ICMP else ends + struct.pack("!II", len(body), protocol)
    assert summed(pseudo + body) == 0xFFFF
    half = len(ends) // 2
    return Packet(when, str(ip_address(ends[:half])), str(ip_address(ends[half:])), protocol, body)


def test_a_connection_is_written_down_with_all_its_bytes(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "office.pcap"
    pair.one.order("pcap", [str(path)])
    assert pair.one.conditions(pair.other.host).is_captured
    listener = pair.listener(port=80)
    client, server = pair.connected(listener)
    blob = bytes(range(256)) * 100
    client.sendall(blob)
    client.shutdown(socket.SHUT_WR)
    assert read_all(server) == blob
    server.sendall(b"thanks")
    server.close()
    assert read_all(client) == b"thanks"
    pair.one.order("pcap", ["none"])
    assert not pair.one.conditions(pair.other.host).has_relay
    packets = read(path)
    port = client.getsockname()[1]
    forth = [packet for packet in packets if packet.source == "10.1.0.1"]
    back = [packet for packet in packets if packet.source == "10.1.0.2"]
    assert {packet.ports for packet in forth} == {(port, 80)}
    assert {packet.ports for packet in back} == {(80, port)}
    assert [packet.flags for packet in packets[:3]] == [SYN, SYN | ACK, ACK]
    assert b"".join(packet.data for packet in forth) == blob
    assert b"".join(packet.data for packet in back) == b"thanks"
    for mine, theirs in ((forth, back), (back, forth)):
        follows(mine)
        assert max_ack(theirs) == (mine[0].numbers[0] + sum(len(p.data) for p in mine) + 2) % (1 << 32)


def follows(packets: list[Packet]) -> None:
    """Each begins where the one before it has ended."""
    expected = packets[0].numbers[0]
    for packet in packets:
        assert packet.numbers[0] == expected
        expected = (expected + len(packet.data) + bool(packet.flags & (SYN | FIN))) % (1 << 32)


def max_ack(packets: list[Packet]) -> int:
    return [packet.numbers[1] for packet in packets if packet.flags & ACK][-1]


def test_datagrams_and_pings_are_written_down(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "office.pcap"
    pair.one.order("pcap", [str(path)])
    one, other = pair.socket_of(pair.one, socket.SOCK_DGRAM), pair.socket_of(pair.other, socket.SOCK_DGRAM)
    one.sendto(b"hello", pair.one.relay(one.getsockname(), other.getsockname(), "udp"))
    assert other.recv(100) == b"hello"
    one6 = pair.socket_of(pair.one, socket.SOCK_DGRAM, index=ADDRESS6)
    other6 = pair.socket_of(pair.other, socket.SOCK_DGRAM, index=ADDRESS6)
    one6.sendto(b"odd", pair.one.relay(one6.getsockname(), other6.getsockname(), "udp"))
    assert other6.recv(100) == b"odd"
    for source, target in (("10.1.0.1", "10.1.0.2"), ("fd01::1", "fd01::2")):
        pair.one.pinged(source, target, b"\0\1\0\2ping", is_reply=False)
        pair.one.pinged(target, source, b"\0\1\0\2ping", is_reply=True)
    pair.one.order("pcap", ["none"])
    packets = read(path)
    assert [(packet.source, packet.target, packet.protocol) for packet in packets] == [
        ("10.1.0.1", "10.1.0.2", 17),
        ("fd01::1", "fd01::2", 17),
        ("10.1.0.1", "10.1.0.2", 1),
        ("10.1.0.2", "10.1.0.1", 1),
        ("fd01::1", "fd01::2", 58),
        ("fd01::2", "fd01::1", 58),
    ]
    assert [packet.data for packet in packets[:2]] == [b"hello", b"odd"]
    assert [packet.body[0] for packet in packets[2:]] == [8, 0, 128, 129]


def test_refusals_and_resets_are_told(tmp_path: Path) -> None:
    path = tmp_path / "made.pcap"
    capture = Capture(str(path), 1)
    tap = TcpTap(capture, End(1, "10.1.0.1", 40000), End(2, "10.1.0.2", 80))
    tap.asked()
    tap.refused()
    capture.close()
    syn, reset = read(path)
    assert (syn.flags, reset.flags) == (SYN, RST | ACK)
    assert reset.numbers[1] == (syn.numbers[0] + 1) % (1 << 32)


def test_a_file_that_cannot_be_written_is_told_and_changes_nothing(pair: Pair, tmp_path: Path) -> None:
    for path, why in (
        (tmp_path, "Is a directory"),
        (tmp_path / "no" / "file", "No such file"),
        ("/dev/null", "no file"),
    ):
        with pytest.raises(UsageError, match=why):
            pair.one.order("pcap", [str(path)])
    with pytest.raises(UsageError, match="no absolute path"):
        pair.one.order("pcap", ["here"])
    assert not pair.one.conditions(pair.other.host).is_captured


def test_tcpdump_reads_it_without_complaint(pair: Pair, tmp_path: Path) -> None:
    tcpdump = shutil.which("tcpdump")
    if tcpdump is None:
        pytest.skip("needs tcpdump")
    path = tmp_path / "office.pcap"
    pair.one.order("pcap", [str(path)])
    client, server = pair.connected(pair.listener(port=80))
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert server.recv(100)
    client.close()
    server.close()
    until(lambda: path.read_bytes() and len(read(path)) >= 8, "both to have ended")
    done = subprocess.run([tcpdump, "-nvvr", path], capture_output=True, text=True, check=True, timeout=60)
    assert "10.1.0.2.80: Flags [S]" in done.stdout
    assert "(correct)" in done.stdout
    for complaint in ("incorrect", "bad cksum", "truncated", "[|"):
        assert complaint not in done.stdout
