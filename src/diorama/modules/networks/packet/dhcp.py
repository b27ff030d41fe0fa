"""Dhcp: gets an IPv4 address from a server, RFC 2131, without I/O.

`Client.start` and `Client.tick` give frames to be sent, `Client.receive` takes those that came; `lease` is
what was got. The frames are made here, Ethernet and all, because a host without an address cannot speak by
its stack.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Final

__all__ = ["Client", "Lease"]

_CLIENT: Final = 68
_SERVER: Final = 67
_COOKIE: Final = b"\x63\x82\x53\x63"
_BROADCAST: Final = b"\xff" * 6
_DISCOVER, _OFFER, _REQUEST, _ACK, _NAK = 1, 2, 3, 5, 6
_HEAD: Final = 14 + 20 + 8
_BOOTP: Final = struct.Struct("!BBBBIHH4s4s4s4s16s192x4s")
_MASK, _ROUTER, _NAMESERVER, _HOST_NAME, _DOMAIN = 1, 3, 6, 12, 15
_WANTED, _TIME, _TYPE, _ID, _LIST = 50, 51, 53, 54, 55
_ASKED: Final = bytes([_MASK, _ROUTER, _NAMESERVER, _DOMAIN])
_RETRY: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
_SHORTEST: Final = 4.0


@dataclass(frozen=True, slots=True)
class Lease:
    """What a server has given; `seconds` from then on."""

    address: IPv4Interface
    gateway: IPv4Address | None
    nameservers: tuple[IPv4Address, ...]
    domain: str
    server: IPv4Address
    seconds: float


def _sum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _frame(source: bytes, target: bytes, ports: tuple[int, int], payload: bytes) -> bytes:
    """A broadcast of UDP over IPv4 over Ethernet."""
    size = 20 + 8 + len(payload)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, size, 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    head = head[:10] + _sum(head).to_bytes(2, "big") + head[12:]
    udp = struct.pack("!HHHH", *ports, 8 + len(payload), 0)
    return target + source + b"\x08\x00" + head + udp + payload


def _options(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + 1 < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        size = data[at + 1]
        found[data[at]] = found.get(data[at], b"") + data[at + 2 : at + 2 + size]
        at += 2 + size
    return found


def _addresses(data: bytes) -> tuple[IPv4Address, ...]:
    return tuple(IPv4Address(data[at : at + 4]) for at in range(0, len(data) // 4 * 4, 4))


class Client:
    """A client on one interface; times are those of `now`, in seconds."""

    def __init__(self, address: bytes, host_name: str = "") -> None:
        self._address = address
        self._host_name = host_name
        self._number = secrets.randbits(32)
        self._tries = 0
        self._offer: tuple[IPv4Address, IPv4Address] | None = None
        self._due = 0.0
        self._ends = 0.0
        self.lease: Lease | None = None

    def start(self, now: float) -> list[bytes]:
        """Begin anew."""
        self.lease = None
        self._offer = None
        self._tries = 0
        return self._again(now)

    @property
    def due(self) -> float:
        """When `tick` has something to do."""
        return self._due

    def tick(self, now: float) -> list[bytes]:
        """Time has passed."""
        if now < self._due:
            return []
        if self.lease is not None and now >= self._ends:
            return self.start(now)
        if self._offer is not None and self._tries > 2 and self.lease is None:
            self._offer = None
        return self._again(now)

    def _again(self, now: float) -> list[bytes]:
        pause = _RETRY[min(self._tries, len(_RETRY) - 1)]
        if self.lease is not None:
            pause = max(_SHORTEST, (self._ends - now) / 2)
        self._due = now + pause
        self._tries += 1
        if self.lease is not None:
            return [self._message(_REQUEST, own=self.lease.address.ip)]
        if self._offer is not None:
            return [self._message(_REQUEST, wanted=self._offer)]
        return [self._message(_DISCOVER)]

    def _message(
        self,
        kind: int,
        own: IPv4Address | None = None,
        wanted: tuple[IPv4Address, IPv4Address] | None = None,
    ) -> bytes:
        mine = own.packed if own else bytes(4)
        # The flag asks for a broadcast, since nobody can answer to an address that we do not have yet.
        flags = 0 if own else 0x8000
        none, address = bytes(4), self._address.ljust(16, b"\0")
        head = _BOOTP.pack(1, 1, 6, 0, self._number, 0, flags, mine, none, none, none, address, _COOKIE)
        options = bytes([_TYPE, 1, kind, 61, 7, 1]) + self._address
        if wanted is not None:
            options += bytes([_WANTED, 4]) + wanted[0].packed + bytes([_ID, 4]) + wanted[1].packed
        if self._host_name:
            name = self._host_name.encode()[:63]
            options += bytes([_HOST_NAME, len(name)]) + name
        options += bytes([_LIST, len(_ASKED)]) + _ASKED + b"\xff"
        payload = (head + options).ljust(300, b"\0")
        return _frame(self._address, _BROADCAST, (_CLIENT, _SERVER), payload)

    @staticmethod
    def is_ours(frame: bytes) -> bool:
        """Whether a frame is an answer of a server, for whomever."""
        return (
            len(frame) > _HEAD + _BOOTP.size
            and frame[12:14] == b"\x08\x00"
            and frame[14] == 0x45
            and frame[23] == 17
            and frame[36:38] == b"\0\x44"
        )

    def receive(self, frame: bytes, now: float) -> list[bytes]:
        """A frame that `is_ours` has come.  If it brought a lease, `lease` is a new one."""
        fields = _BOOTP.unpack_from(frame, _HEAD)
        operation, number, yours, hardware, cookie = fields[0], fields[4], fields[8], fields[11], fields[12]
        if operation != 2 or number != self._number or cookie != _COOKIE or hardware[:6] != self._address:
            return []
        options = _options(frame[_HEAD + _BOOTP.size :])
        kind = (options.get(_TYPE) or b"\0")[0]
        server = options.get(_ID, bytes(4))
        if len(server) != 4:
            return []
        if kind == _OFFER and self._offer is None and self.lease is None:
            self._offer = IPv4Address(yours), IPv4Address(server)
            self._tries = 0
            return self._again(now)
        if kind == _NAK:
            return self.start(now)
        if kind == _ACK and (self._offer is not None or self.lease is not None):
            self._take(IPv4Address(yours), IPv4Address(server), options, now)
        return []

    def _take(self, address: IPv4Address, server: IPv4Address, options: dict[int, bytes], now: float) -> None:
        mask = options.get(_MASK, b"")
        prefix = int.from_bytes(mask, "big").bit_count() if len(mask) == 4 else 24
        seconds = float(int.from_bytes(options.get(_TIME, b"\0\0\x0e\x10")[:4], "big"))
        self.lease = Lease(
            address=IPv4Interface((address, prefix)),
            gateway=next(iter(_addresses(options.get(_ROUTER, b""))), None),
            nameservers=_addresses(options.get(_NAMESERVER, b"")),
            domain=options.get(_DOMAIN, b"").rstrip(b"\0").decode("ascii", "replace"),
            server=server,
            seconds=seconds,
        )
        self._tries = 0
        self._ends = now + seconds
        self._due = now + max(_SHORTEST, seconds / 2)
