"""Pcap: a file of what passes between the hosts of a LAN, as frames of an Ethernet (pcap-savefile(5)).

The kernel carries bytes and not packets here, so the packets are made: from what has passed through the
relays, with the addresses that programs see, sequence numbers, checksums and the times at which it was so.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import time
from ipaddress import ip_address
from itertools import count
from typing import Final, NamedTuple

from diorama.errors import UsageError

__all__ = ["Capture", "End", "TcpTap"]

_MAGIC: Final = 0xA1B2C3D4
_LONGEST: Final = 262144
_ETHERNET: Final = 1
_SEGMENT: Final = 1440
_FIN, _SYN, _RST, _PSH, _ACK = 1, 2, 4, 8, 16
_WINDOW: Final = 65535
_SEQUENCE: Final = 1 << 32
_PLAIN: Final = (0x4000, 64)
"""Do not fragment; through so many routers."""
_FORTH: Final = True


class End(NamedTuple):
    """One end of what passes: the number of the host, and its address as programs see it."""

    host: int
    address: str
    port: int = 0


class Capture:
    """The file, or (`again`) what is added to one; `UsageError` if it cannot be made."""

    def __init__(self, path: str, number: int, *, again: bool = False) -> None:
        self.path = path
        self._number = number
        self._ids = count()
        try:
            how = os.O_APPEND if again else os.O_TRUNC
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | how | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {os.strerror(error.errno or 0)}") from None
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.close(self._fd)
            raise UsageError(f"cannot write {path}: it is no file")
        if not os.fstat(self._fd).st_size:
            os.write(self._fd, struct.pack("=IHHiIII", _MAGIC, 2, 4, 0, 0, _LONGEST, _ETHERNET))

    def close(self) -> None:
        """It is complete."""
        os.close(self._fd)

    def frames(self, source: End, target: End, protocol: int, packets: list[bytes]) -> None:
        """Write packets of one protocol, whose checksums are still to be made (0), as they pass now."""
        now = time.time_ns() // 1000
        made = bytearray()
        for packet in packets:
            frame = self._frame(source, target, protocol, packet)
            made += struct.pack("=IIII", now // 1_000_000, now % 1_000_000, len(frame), len(frame)) + frame
        os.write(self._fd, made)

    def datagram(self, source: End, target: End, data: bytes) -> None:
        """A datagram of UDP."""
        header = struct.pack("!HHHH", source.port, target.port, 8 + len(data), 0)
        self.frames(source, target, socket.IPPROTO_UDP, [header + data])

    def echo(self, source: End, target: End, body: bytes, *, is_reply: bool) -> None:
        """A ping or its answer: identifier, sequence number and data."""
        if ip_address(source.address).version == 4:
            kind, protocol = (0 if is_reply else 8), socket.IPPROTO_ICMP
        else:
            kind, protocol = (129 if is_reply else 128), socket.IPPROTO_ICMPV6
        self.frames(source, target, int(protocol), [struct.pack("!BBH", kind, 0, 0) + body])

    def _frame(self, source: End, target: End, protocol: int, packet: bytes) -> bytes:
        one, other = ip_address(source.address), ip_address(target.address)
        if one.version != other.version:
            other = (
                one  # what was published for one version leads to the other: the gateway's address is told
            )
        pseudo = one.packed + other.packed
        if one.version == 4:
            summed = (
                b""
                if protocol == socket.IPPROTO_ICMP
                else pseudo + struct.pack("!xBH", protocol, len(packet))
            )
            start = struct.pack(
                "!BBHHHBBH", 0x45, 0, 20 + len(packet), next(self._ids) & 0xFFFF, *_PLAIN, protocol, 0
            )
            header = start + pseudo
            header = _with_sum(header, 10, header)
            kind = 0x0800
        else:
            summed = pseudo + struct.pack("!IxxxB", len(packet), protocol)
            header = struct.pack("!IHBB", 6 << 28, len(packet), protocol, 64) + pseudo
            kind = 0x86DD
        place = {socket.IPPROTO_TCP: 16, socket.IPPROTO_UDP: 6}.get(protocol, 2)
        packet = _with_sum(packet, place, summed + packet)
        return self._mac(target) + self._mac(source) + struct.pack("!H", kind) + header + packet

    def _mac(self, end: End) -> bytes:
        return bytes((2, 0x4C, 0x41, 0x4E, self._number, end.host))


def _with_sum(packet: bytes, place: int, summed: bytes) -> bytes:
    """A packet with the Internet checksum (RFC 1071) at its place."""
    even = summed if len(summed) % 2 == 0 else summed + b"\0"
    total = sum(memoryview(even).cast("H"))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    value = struct.pack("=H", ~total & 0xFFFF)
    if value == b"\0\0" and place == 6:
        value = b"\xff\xff"  # in UDP, 0 means that there is none
    return packet[:place] + value + packet[place + 2 :]


class TcpTap:
    """What passes on one connection; `forth` is from who has connected."""

    def __init__(self, capture: Capture, client: End, server: End) -> None:
        self._capture = capture
        self._ends = {_FORTH: client, not _FORTH: server}
        self._sent = {
            _FORTH: int.from_bytes(os.urandom(4), "big"),
            not _FORTH: int.from_bytes(os.urandom(4), "big"),
        }
        self._heard = {_FORTH: 0, not _FORTH: 0}

    def asked(self) -> None:
        """Somebody connects."""
        self._write(_FORTH, _SYN)

    def answered(self) -> None:
        """Somebody else accepts."""
        self._heard[not _FORTH] = self._sent[_FORTH]
        self._write(not _FORTH, _SYN | _ACK)

    def begun(self) -> None:
        """They are connected."""
        self._heard[_FORTH] = self._sent[not _FORTH]
        self._write(_FORTH, _ACK)

    def refused(self) -> None:
        """Nobody accepts."""
        self._heard[not _FORTH] = self._sent[_FORTH]
        self._write(not _FORTH, _RST | _ACK)

    def data(self, forth: bool, data: bytes) -> None:
        """Bytes set out."""
        self._write(forth, _ACK | _PSH, data)

    def arrived(self, forth: bool, size: int) -> None:
        """Bytes, or an end of file, have arrived: that is acknowledged."""
        self._heard[not forth] = (self._heard[not forth] + size) % _SEQUENCE
        self._write(not forth, _ACK)

    def end(self, forth: bool, *, is_reset: bool) -> None:
        """One side has ended its direction, or all."""
        self._write(forth, (_RST if is_reset else _FIN) | _ACK)

    def _write(self, forth: bool, flags: int, data: bytes = b"") -> None:
        source, target = self._ends[forth], self._ends[not forth]
        pieces = [data[start : start + _SEGMENT] for start in range(0, len(data), _SEGMENT)] or [b""]
        options = struct.pack("!BBH", 2, 4, _SEGMENT) if flags & _SYN else b""
        size = (20 + len(options)) << 2
        packets: list[bytes] = []
        for piece in pieces:
            numbers = self._sent[forth], self._heard[forth]
            start = struct.pack("!HHIIBBHHH", source.port, target.port, *numbers, size, flags, _WINDOW, 0, 0)
            packets.append(start + options + piece)
            step = len(piece) + bool(flags & (_SYN | _FIN))
            self._sent[forth] = (self._sent[forth] + step) % _SEQUENCE
        self._capture.frames(source, target, socket.IPPROTO_TCP, packets)
