"""Multicast and broadcast on a LAN: who hears what."""

from __future__ import annotations

import pytest

from behaviour.harness import Bench
from behaviour.lans import Lan

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def lan(bench: Bench, engine: str) -> Lan:
    return Lan(bench, engine)


HEARING = """
GROUP, GROUP6, PORT = "239.1.2.3", "ff15::77", 5353
def listener(address="", join=None, family=socket.AF_INET, port=PORT):
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    if join:
        packed = socket.inet_pton(family, join)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, packed + struct.pack("i", 0))
        else:
            made.setsockopt(socket.SOL_IP, socket.IP_ADD_MEMBERSHIP, packed + bytes(4))
    return made
def tell(*sockets, number=1):
    for made in sockets:
        got = []
        for _ in range(number):
            made.settimeout(60)
            data, address = made.recvfrom(100)
            got.append((data.decode(), address[0]))
        made.settimeout(0)
        rest = fails(made.recv, 100)
        print(*got, rest, flush=True)
"""
MEMBERS = (
    HEARING
    + """
one, two = listener(join=GROUP), listener(GROUP, join=GROUP)
other = listener(join="239.9.9.9", port=5354)
other.setsockopt(socket.SOL_IP, 49, 0)
six = listener("::", GROUP6, socket.AF_INET6, 5355)
everybody = listener(port=5356)
NAMES = two.getsockname()[0], one.getsockname()[0]
for made in one, two, other, six, everybody:
    made.settimeout(60)
ready()
go_on()
print(*NAMES)
tell(one, two, six, everybody)
other.settimeout(0)
print(fails(other.recv, 10))
one.setsockopt(socket.SOL_IP, socket.IP_DROP_MEMBERSHIP, socket.inet_aton(GROUP) + bytes(4))
print(fails(one.setsockopt, socket.SOL_IP, socket.IP_DROP_MEMBERSHIP, socket.inet_aton(GROUP) + bytes(4)))
print(fails(two.setsockopt, socket.SOL_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + bytes(4)))
print(fails(two.setsockopt, socket.SOL_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(A) + bytes(4)))
"""
)
SENDING = (
    HEARING
    + """
own = listener(join=GROUP)
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(sender.sendto(b"to all of them", (GROUP, PORT)))
print(sender.sendmsg([b"no", b"body"], [], 0, (GROUP, 5354)))
tell(own)
sender.setsockopt(socket.SOL_IP, socket.IP_MULTICAST_LOOP, 0)
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
six.sendto(b"six", (GROUP6, 5355))
print(fails(sender.sendto, b"loud", ("10.1.0.255", 5356)))
sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
print(sender.sendto(b"loud", ("255.255.255.255", 5356)))
sender.setsockopt(socket.SOL_IP, socket.IP_MULTICAST_TTL, 0)
print(sender.sendto(b"not at all", (GROUP, PORT)))
own.settimeout(0)
print(fails(own.recv, 10))
"""
)


def test_groups_hear_what_is_sent_to_them(lan: Lan) -> None:
    with lan.serving(1, MEMBERS) as first, lan.serving(3, MEMBERS) as third:
        out = lan.run(2, SENDING)
        first.tell("on")
        third.tell("on")
    assert out.lines == [
        "14",
        "6",
        "('to all of them', '10.1.0.2') EAGAIN",
        "EACCES",
        "4",
        "10",
        "EAGAIN",
    ], out.stderr
    for each in first, third:
        assert each.outcome is not None
        assert each.outcome.lines == [
            "239.1.2.3 0.0.0.0",
            "('to all of them', '10.1.0.2') EAGAIN",
            "('to all of them', '10.1.0.2') EAGAIN",
            "('six', 'fd00:1::2') EAGAIN",
            "('loud', '10.1.0.2') EAGAIN",
            "EAGAIN",
            "EADDRNOTAVAIL",
            "EADDRINUSE",
            "EINVAL",
        ], each.outcome.stderr
