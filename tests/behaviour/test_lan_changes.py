"""LANs that change while programs talk: names, ways in and out, partitions, death."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from behaviour.harness import Bench, finish
from behaviour.lans import HEAD, Lan
from modules.networks.test_lan_pcap import read

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def lan(bench: Bench, engine: str) -> Lan:
    return Lan(bench, engine)


def net(lan: Lan, *words: str) -> str:
    command = [sys.executable, "-P", "-m", "diorama", "net", lan.name, *words]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env=lan.bench.surroundings()
    )
    return done.stdout


ECHOING = """
listener = socket.create_server((A, 7))
ready()
made, _ = listener.accept()
while data := made.recv(100):
    made.sendall(data)
"""
TALKING = """
made = socket.create_connection((A, 7))
made.settimeout(60)
def talk(word):
    made.sendall(word)
    return made.recv(100)
print(talk(b"before"))
ready()
go_on()
made.settimeout(0.5)
try:
    print(talk(b"meanwhile"))
except TimeoutError:
    ready("silent")
go_on()
made.settimeout(60)
print(made.recv(100), talk(b"after"))
"""


@pytest.mark.parametrize(
    ("cut", "heal"), [("partition h1/h2", "heal"), ("pause h1", "resume"), ("down h2", "up")]
)
def test_a_connection_stands_still_while_its_hosts_do_not_hear_each_other(
    lan: Lan, cut: str, heal: str
) -> None:
    with lan.serving(1, ECHOING):
        talking = lan.bench.start(lan.words(2, [sys.executable, "-c", HEAD + TALKING]))
        assert talking.stdout is not None
        assert talking.stdin is not None
        said = [talking.stdout.readline(), talking.stdout.readline()]
        net(lan, *cut.split())
        talking.stdin.write(b"\n")
        talking.stdin.flush()
        said.append(talking.stdout.readline())
        net(lan, *heal.split())
        out = finish(talking, "\n")
    assert b"".join(said) == b"b'before'\nready\nready silent\n"
    assert out.stdout == "b'meanwhile' b'after'\n", out.stderr


def test_who_is_cut_off_cannot_be_connected_to_until_it_is_healed(lan: Lan) -> None:
    script = """
made = socket.socket()
made.settimeout(0)
print(errno.errorcode[made.connect_ex((A, 7))])
print(select.select([], [made], [], 0.5)[1])
ready()
go_on()
print(len(select.select([], [made], [], 60)[1]), made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
made.settimeout(60)
made.sendall(b"hello")
print(made.recv(100))
"""
    with lan.serving(1, ECHOING):
        net(lan, "cut", "h1")
        late = lan.bench.start(lan.words(2, [sys.executable, "-c", HEAD + script]))
        assert late.stdout is not None
        lines = [late.stdout.readline() for _ in range(3)]
        net(lan, "heal")
        out = finish(late, "\n")
    assert lines[0] == b"EINPROGRESS\n"
    assert out.stdout == "1 0\nb'hello'\n", (lines, out.stderr)


def test_names_of_hosts_are_found_as_programs_look_for_them(lan: Lan) -> None:
    pytest.importorskip("dns", reason="needs dnspython")
    script = """
import subprocess
print(socket.gethostbyname("h1"), socket.gethostbyname("www"))
"""
    with lan.serving(1, "ready()\nend()\n"):
        net(lan, "name", "www=h1")
        out = lan.run(2, script)
    assert out.stdout == "10.1.0.1 10.1.0.1\n", out.stderr


def test_dig_asks_the_gateway(lan: Lan, tmp_path: Path) -> None:
    pytest.importorskip("dns", reason="needs dnspython")
    if shutil.which("dig") is None:
        pytest.skip("needs dig")
    with lan.serving(1, "ready()\nend()\n"):
        for words, told in (
            (("h1",), "10.1.0.1"),
            (("h1", "AAAA"), "fd00:1::1"),
            (("-x", "10.1.0.1"), f"h1.{lan.name}."),
            (("+tcp", f"h1.{lan.name}"), "10.1.0.1"),
        ):
            found = finish(lan.bench.start(lan.words(2, ["dig", "+short", "+search", *words])))
            assert found.lines == [told], found.stderr
        path = tmp_path / "lan.pcap"
        net(lan, "set", "latency=100ms")
        net(lan, "pcap", str(path))
        found = finish(lan.bench.start(lan.words(2, ["dig", "+tries=1", "+timeout=30", "h1"])))
    assert "10.1.0.1" in found.stdout, found.stderr
    (took,) = [line for line in found.lines if "Query time" in line]
    assert int(took.split()[3]) >= 100
    ends = [(packet.source, packet.target) for packet in read(path) if packet.protocol == socket.IPPROTO_UDP]
    assert ends == [("10.1.0.2", "10.1.0.254"), ("10.1.0.254", "10.1.0.2")]


def test_a_published_port_leads_to_the_host(lan: Lan) -> None:
    script = """
listener = socket.create_server(("", 80))
ready()
made, peer = listener.accept()
print(peer[0], made.recv(100))
made.sendall(b"hello outside")
made.close()
"""
    with lan.serving(1, script) as serving:
        net(lan, "publish", "0=h1:80")
        address, _, port = net(lan).split("publish ")[1].split("=")[0].rpartition(":")
        with socket.create_connection((address, int(port)), 60) as client:
            client.sendall(b"hello inside")
            assert client.recv(100) == b"hello outside"
    assert serving.outcome is not None
    assert serving.outcome.stdout == "10.1.0.254 b'hello inside'\n"


def test_what_a_mount_orders_is_ordered(lan: Lan) -> None:
    words = lan.words(1, ["true"], "publish=0=h1:80", "allow=*:443", "deny=*")
    done = finish(lan.bench.start(words))
    assert done.status == 0, done.stderr
    bad = finish(lan.bench.start(lan.words(1, ["true"], "publish=80")))
    assert bad.status == 125
    assert "publishes nothing" in bad.stderr


def test_a_program_of_the_machine_is_not_taken_for_a_host(lan: Lan) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        out = lan.run(
            1, f"for a in (A, '127.0.0.1', '127.0.0.9'): print(fails(socket.create_connection, (a, {port})))"
        )
        with lan.serving(1, "ready()\nend()\n"):
            other = lan.run(2, f"print(fails(socket.create_connection, (A, {port})))")
    assert out.lines == ["ECONNREFUSED"] * 3, out.stderr
    assert other.lines == ["ECONNREFUSED"], other.stderr


def test_pings_and_connections_are_written_down(bench: Bench, lan: Lan, tmp_path: Path) -> None:
    if shutil.which("ping") is None:
        pytest.skip("needs ping")
    path = tmp_path / "lan.pcap"
    with lan.serving(1, ECHOING + "end()\n"):
        net(lan, "pcap", str(path))
        for address in ("10.1.0.1", "fd00:1::1"):
            done = finish(bench.start(lan.words(2, ["ping", "-c", "1", address])))
            assert done.status == 0, done.stderr
        assert (
            lan.run(
                2, "made = socket.create_connection((A, 7)); made.sendall(b'x'); print(made.recv(1))"
            ).status
            == 0
        )
        net(lan, "pcap", "none")
    packets = read(path)
    assert [packet.body[0] for packet in packets if packet.protocol in (1, 58)] == [8, 0, 128, 129]
    assert [packet.data for packet in packets if packet.protocol == 6 and packet.data] == [b"x", b"x"]


def test_connecting_takes_the_latency_whether_it_waits_or_not(lan: Lan) -> None:
    script = """
for blocks in (True, False):
    made = socket.socket()
    begun = time.monotonic()
    if blocks:
        made.connect((A, 7))
    else:
        made.settimeout(0)
        assert made.connect_ex((A, 7)) == errno.EINPROGRESS
        select.select([], [made], [])
        assert not made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    print(time.monotonic() - begun >= 0.1, made.getpeername() == (A, 7))
    made.close()
"""
    listening = """
listener = socket.create_server((A, 7))
ready()
for _ in range(2):
    print(listener.accept()[1][0])
"""
    with lan.serving(1, listening) as serving:
        net(lan, "set", "latency=100ms")
        out = lan.run(2, script)
    assert out.lines == ["True True"] * 2, out.stderr
    assert serving.outcome is not None
    assert serving.outcome.lines == ["10.1.0.2"] * 2


REDIS = (
    "redis-server",
    "--protected-mode",
    "no",
    "--save",
    "",
    "--repl-ping-replica-period",
    "1",
    "--repl-timeout",
    "2",
)


def test_a_redis_replica_sees_a_partition_and_its_healing(bench: Bench, lan: Lan) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server")

    def ask(*words: str) -> str:
        return finish(bench.start(lan.words(3, ["redis-cli", *words]))).stdout

    def link(wanted: str) -> None:
        is_so = f"redis-cli -h h2 info replication | grep -q master_link_status:{wanted}"
        watching = f"until {is_so}; do sleep 0.2; done"
        done = finish(bench.start(lan.words(3, ["sh", "-c", watching])), limit=120)
        assert done.status == 0, done.stderr

    master = bench.start(lan.words(1, [*REDIS, "--dir", str(bench.work)]))
    waiting = "until redis-cli -h h1 ping 2>/dev/null; do sleep 0.2; done"
    replica = None
    try:
        assert "PONG" in finish(bench.start(lan.words(3, ["sh", "-c", waiting]))).stdout
        replica = bench.start(lan.words(2, [*REDIS, "--dir", str(bench.work), "--replicaof", "h1", "6379"]))
        link("up")
        net(lan, "partition", "h1/h2")
        link("down")
        assert ask("-h", "h1", "set", "key", "value") == "OK\n"
        assert ask("-h", "h2", "get", "key") == "\n"
        net(lan, "heal")
        link("up")
        waited = 'until [ "$(redis-cli -h h2 get key)" = value ]; do sleep 0.2; done'
        assert finish(bench.start(lan.words(3, ["sh", "-c", waited]))).status == 0
    finally:
        for process, host in ((replica, "h2"), (master, "h1")):
            if process is not None:
                ask("-h", host, "shutdown", "nosave")
                finish(process)


def test_why_nobody_answers_outside_is_told(lan: Lan) -> None:
    script = """
there = ("255.255.255.255", 9)
print(fails(socket.create_connection, there))
for how in ("option", "connect"):
    made = socket.socket()
    made.settimeout(0)
    print(errno.errorcode[made.connect_ex(there)])
    select.select([], [made], [])
    code = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if how == "option" else made.connect_ex(there)
    print(errno.errorcode[code], made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
"""
    done = finish(lan.bench.start(lan.words(1, [sys.executable, "-c", HEAD + script], "allow=*")))
    assert done.lines == ["ENETUNREACH", *["EINPROGRESS", "ENETUNREACH 0"] * 2], done.stderr
