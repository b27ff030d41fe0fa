"""Datagram sockets that are connected, on LANs that change while they are.

No time has a limit from above.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from behaviour.harness import Bench
from behaviour.lans import Lan
from behaviour.test_lan_changes import net
from modules.networks.test_lan_pcap import read

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def lan(bench: Bench, engine: str) -> Lan:
    return Lan(bench, engine)


SERVING = """
both = socket.socket(type=socket.SOCK_DGRAM)
both.bind((A, 7))
any = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
any.bind(("::", 53))
ready()
go_on()
both.connect((B, 7))
ready()
def echo():
    while data := both.recv(100):
        both.send(data)
def answer():
    while True:
        any.sendto(*any.recvfrom(100))
for each in (echo, answer):
    threading.Thread(target=each, daemon=True).start()
end()
"""
TALKING = """
both = socket.socket(type=socket.SOCK_DGRAM)
both.bind((B, 7))
both.connect((A, 7))
one = socket.socket(type=socket.SOCK_DGRAM)
one.connect((A, 53))
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
six.connect((A6, 53))
mapped = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
mapped.connect(("::ffff:" + A, 53))
nobody = socket.socket(type=socket.SOCK_DGRAM)
nobody.connect((A, 9))
names = [each.getsockname()[:2] for each in (both, one, six, mapped)]
def talk(word, at):
    at.settimeout(60)
    begun = time.monotonic()
    at.send(word)
    return at.recv(100) == word, time.monotonic() - begun >= 0.1
def go(word):
    late = socket.socket(type=socket.SOCK_DGRAM)
    late.connect((A, 53))
    begun = time.monotonic()
    nobody.settimeout(60)
    nobody.send(word)
    refused = fails(nobody.recv, 100), time.monotonic() - begun >= 0.1
    found = [talk(word, each) for each in (both, one, six, mapped, late)]
    ready(*(sum(part) for part in zip(*found)), *refused)
    go_on()
ready()
go_on()
go(b"before")
go(b"meanwhile")
go(b"after")
assert names == [each.getsockname()[:2] for each in (both, one, six, mapped)]
assert one.getpeername() == (A, 53)
"""


def test_what_is_between_hosts_changes_for_who_is_connected(lan: Lan, tmp_path: Path) -> None:
    path = tmp_path / "lan.pcap"
    with lan.serving(1, SERVING) as serving, lan.serving(2, TALKING) as talking:
        serving.tell()
        serving.wait()
        talking.tell()
        assert talking.wait() == ["5", "0", "ECONNREFUSED", "False"]
        net(lan, "set", "latency=100ms")
        net(lan, "pcap", str(path))
        talking.tell()
        assert talking.wait() == ["5", "5", "ECONNREFUSED", "True"]
        net(lan, "set", "latency=0")
        net(lan, "pcap", "none")
        talking.tell()
        talking.wait()
        assert [talking.said[0], talking.said[2]] == ["5", "ECONNREFUSED"]
    for each in (serving, talking):
        assert each.outcome is not None
        assert (each.outcome.status, each.outcome.stderr) == (0, "")
    packets = [packet for packet in read(path) if packet.data == b"meanwhile"]
    ends = [(packet.source, packet.target) for packet in packets]
    four, six = ("10.1.0.2", "10.1.0.1"), ("fd00:1::2", "fd00:1::1")
    talks = [way for pair in (four, four, six, four, four) for way in (pair, pair[::-1])]
    assert ends == [four, *talks]
    ports = [{packet.ports[way in (four, six)]} for packet, way in zip(packets, ends, strict=True)]
    assert ports == [{9}, *[{7}] * 2, *[{53}] * 8]
