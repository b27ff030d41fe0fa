"""Pings between hosts of a LAN."""

from __future__ import annotations

import re
import shutil

import pytest

from behaviour.harness import Bench, finish
from behaviour.lans import Lan

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def lan(bench: Bench, engine: str) -> Lan:
    return Lan(bench, engine)


PINGING = """
def ping(family, kind, to, ident=77):
    made = socket.socket(family, kind, 1 if family == socket.AF_INET else socket.IPPROTO_ICMPV6)
    made.settimeout(60)
    asks = 8 if family == socket.AF_INET else 128
    made.sendto(struct.pack("!BBHHH", asks, 0, 0, ident, 9) + b"body", (to, 0))
    data, address = made.recvfrom(100)
    if (family, kind) == (socket.AF_INET, socket.SOCK_RAW):
        print(socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20]), end=" ")
        data = data[20:]
    number = made.getsockname()[1] if kind == socket.SOCK_DGRAM else ident
    print(made.type.name, address[0], data[0], struct.unpack("!H", data[4:6])[0] == number, data[6:])
for to in A, B, "127.0.0.1", "10.1.0.254":
    ping(socket.AF_INET, socket.SOCK_DGRAM, to)
    ping(socket.AF_INET, socket.SOCK_RAW, to)
for to in A6, B6, "::1", "fd00:1::fe":
    ping(socket.AF_INET6, socket.SOCK_DGRAM, to)
print(fails(ping, socket.AF_INET, socket.SOCK_DGRAM, "10.1.0.77"))
print(fails(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP))
print(fails(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0))
"""


def test_hosts_answer_pings(lan: Lan) -> None:
    with lan.serving(1, "ready(); end()"):
        out = lan.run(2, PINGING)
    body = "True b'\\x00\\tbody'"
    four = [
        line
        for to, own in (
            ("10.1.0.1", "10.1.0.2"),
            ("10.1.0.2", "10.1.0.2"),
            ("127.0.0.1", "127.0.0.1"),
            ("10.1.0.254", "10.1.0.2"),
        )
        for line in (f"SOCK_DGRAM {to} 0 {body}", f"{to} {own} SOCK_RAW {to} 0 {body}")
    ]
    six = [f"SOCK_DGRAM {to} 129 {body}" for to in ("fd00:1::1", "fd00:1::2", "::1", "fd00:1::fe")]
    assert out.lines == [*four, *six, "EHOSTUNREACH", "EPERM", "EPERM"], out.stderr


@pytest.mark.skipif(shutil.which("ping") is None, reason="needs ping")
@pytest.mark.parametrize("to", ["h1", "10.1.0.1", "fd00:1::1", "127.0.0.1", "::1"])
def test_ping_works(lan: Lan, to: str) -> None:
    with lan.serving(1, "ready(); end()"):
        out = finish(lan.bench.start(lan.words(2, ["ping", "-c", "3", "-i", "0.2", "-W", "60", to])))
    assert out.status == 0, out.stderr
    assert "3 packets transmitted, 3 received, 0% packet loss" in out.stdout
    assert len(re.findall(r"icmp_seq=\d ttl=64 ", out.stdout)) == 3
