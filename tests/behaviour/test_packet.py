"""Packet stacks, used by real programs: in two views on one wire, and in one view with two stacks."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from behaviour.harness import Bench, Outcome, finish, run_with
from modules.networks.packet.hosts import needs_lwip, needs_vde, new_switch, vde_switch

pytestmark = [needs_lwip, pytest.mark.timeout(180)]
LIMIT = 100.0
HERE, THERE = "10.0.0.1", "10.0.0.2"
SIZE = 12_000_000


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", script, *arguments]


class Lab:
    """Views on one wire."""

    def __init__(self, bench: Bench, engine: str, wire: str) -> None:
        self.bench = bench
        self.engine = engine
        self.wire = wire
        self.line = b""

    def words(self, address: str, argv: list[str], *options: str) -> list[str]:
        net = ",".join([f"packet:{self.wire}", f"address={address}/24", *options])
        return run_with("--net", net).on(self.engine)(argv)

    def run(self, address: str, argv: list[str], *options: str, stdin: str = "") -> Outcome:
        return finish(self.bench.start(self.words(address, argv, *options)), stdin, LIMIT)

    @contextlib.contextmanager
    def running(self, address: str, argv: list[str], *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """A program in a view, which has said its first line."""
        process = self.bench.start(self.words(address, argv, *options))
        try:
            assert process.stdout is not None
            self.line = process.stdout.readline()
            assert self.line, (process.wait(LIMIT), process.stderr and process.stderr.read())
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.communicate(timeout=LIMIT)


@pytest.fixture
def lab(bench: Bench, engine: str) -> Lab:
    return Lab(bench, engine, new_switch())


WAITING = ["sh", "-c", "echo ready; exec cat"]


def test_two_views_ping_each_other(lab: Lab) -> None:
    need("ping")
    with lab.running(THERE, WAITING):
        out = lab.run(HERE, ["ping", "-c", "2", "-W", "30", THERE])
    assert "2 packets transmitted, 2 received, 0% packet loss" in out.stdout
    assert f"64 bytes from {THERE}: icmp_seq=1" in out.stdout


SERVING = """
import hashlib, socket, sys
server = socket.create_server(("", 5000))
print("ready", flush=True)
connection, peer = server.accept()
sum, size = hashlib.sha256(), 0
while data := connection.recv(1 << 16):
    sum.update(data)
    size += len(data)
print(size, sum.hexdigest(), peer[0], flush=True)
connection.sendall(b"thanks")
connection.close()
"""


CONFIGURING = f"""
ip -br link | cut -d' ' -f1
ip addr add {HERE}/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.0.254
ip -4 -br addr show eth0
ip route show default
ping -c 1 -W 30 {THERE} | grep -c 'bytes from'
ip neigh | cut -d' ' -f1-3
ip addr del {HERE}/24 dev eth0
ip route show default
ping -c 1 {THERE} || true
"""


def test_ip_configures_an_interface(lab: Lab) -> None:
    need("ip", "ping")
    with lab.running(THERE, WAITING):
        way = run_with("--net", f"packet:{lab.wire}").on(lab.engine)
        out = finish(lab.bench.start(way(["sh", "-c", CONFIGURING])), "", LIMIT)
    assert [" ".join(line.split()) for line in out.lines] == [
        "lo",
        "eth0",
        f"eth0 UP {HERE}/24",
        "default via 10.0.0.254 dev eth0",
        "1",
        f"{THERE} dev eth0",
    ]
    assert "Network is unreachable" in out.stderr


def copy(lab: Lab) -> None:
    need("nc")
    data = os.urandom(SIZE)
    (lab.bench.work / "data").write_bytes(data)
    with lab.running(THERE, python(SERVING)) as server:
        out = lab.run(HERE, ["sh", "-c", f"nc -N {THERE} 5000 < data"])
        assert (out.stdout, out.status) == ("thanks", 0)
        assert server.stdout is not None
        told = server.stdout.readline().split()
    assert told == [str(SIZE).encode(), hashlib.sha256(data).hexdigest().encode(), HERE.encode()]


def test_what_nc_sends_over_a_switch_arrives(lab: Lab) -> None:
    copy(lab)


@needs_vde
def test_what_nc_sends_over_vde_arrives(bench: Bench, engine: str, tmp_path: Path) -> None:
    with vde_switch(tmp_path) as path:
        copy(Lab(bench, engine, f"vde://{path}"))


@needs_vde
def test_what_nc_sends_over_vxvde_arrives(bench: Bench, engine: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            group = socket.inet_aton("239.0.1.1") + bytes(4)
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        except OSError:
            pytest.skip("this machine has no multicast")
    numbers = ".".join(str(secrets.randbelow(254) + 1) for _ in range(3))
    copy(Lab(bench, engine, f"vxvde://239.{numbers}"))


def test_curl_gets_a_page_from_another_view(lab: Lab) -> None:
    need("curl")
    page = os.urandom(2_000_000)
    (lab.bench.work / "page").write_bytes(page)
    serving = "import http.server as h; s = h.ThreadingHTTPServer(('', 80), h.SimpleHTTPRequestHandler);"
    serving += "print('ready', flush=True); s.serve_forever()"
    with lab.running(THERE, python(serving)):
        out = lab.run(HERE, ["curl", "-sS", "--max-time", "60", f"http://{THERE}/page", "-o", "got"])
        assert (out.stderr, out.status) == ("", 0)
    assert (lab.bench.work / "got").read_bytes() == page


ECHOING = """
import asyncio
async def serve(reader, writer):
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "", 7)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
ASKING = """
import asyncio, sys
async def ask(number):
    reader, writer = await asyncio.open_connection(sys.argv[1], 7)
    data = b"%d " % number * 1000
    writer.write(data)
    writer.write_eof()
    assert await reader.read() == data
    writer.close()
async def main():
    await asyncio.gather(*map(ask, range(60)))
    print("all")
asyncio.run(main())
"""


def test_asyncio_on_both_sides(lab: Lab) -> None:
    with lab.running(THERE, python(ECHOING)):
        out = lab.run(HERE, python(ASKING, THERE))
    assert (out.stdout, out.stderr) == ("all\n", "")


def test_socat_speaks_udp(lab: Lab) -> None:
    need("socat")
    serving = ["sh", "-c", "echo ready; exec socat UDP4-RECVFROM:9,fork EXEC:cat"]
    once = f"echo hello | socat -T 2 - UDP4:{THERE}:9"
    asking = f"for n in 1 2 3 4 5 6 7 8 9; do {once} && break; done | head -1"
    with lab.running(THERE, serving):
        out = lab.run(HERE, ["sh", "-c", asking])
    assert out.stdout == "hello\n"


NAMING = """
import socket, sys
client = socket.create_connection((sys.argv[1], 5000))
print(client.family.name, client.type.name, client.getsockname()[0], client.getpeername())
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print(*(client.getsockopt(*each) for each in ((socket.IPPROTO_TCP, socket.TCP_NODELAY), (1, 4))))
copy = socket.socket(fileno=client.detach())
print(copy.family.name, copy.type.name, copy.proto)
for port in 1, 2:
    try:
        socket.create_connection((sys.argv[1], port))
    except OSError as error:
        print(error.strerror)
# Then the server ends, and its host with it.
copy.sendall(b"all")
copy.shutdown(socket.SHUT_WR)
print(copy.recv(100), copy.recv(100))
"""


def test_names_are_those_of_the_stack(lab: Lab) -> None:
    with lab.running(THERE, python(SERVING)):
        out = lab.run(HERE, python(NAMING, THERE))
    assert out.lines == [
        f"AF_INET SOCK_STREAM {HERE} ('{THERE}', 5000)",
        "1 0",
        "AF_INET SOCK_STREAM 6",
        "Connection refused",
        "Connection refused",
        "b'thanks' b''",
    ]
    assert out.stderr == ""


NARROW = """
import ctypes, socket, sys
libc = ctypes.CDLL(None)
def receive_from(at, size):
    data, address = ctypes.create_string_buffer(100), ctypes.create_string_buffer(64)
    room = ctypes.c_uint32(size)
    count = libc.recvfrom(at.fileno(), data, 100, 0, address, ctypes.byref(room))
    return data.raw[:count], address.raw[:min(size, room.value)], room.value
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.sendto(b"one", (sys.argv[1], 9))
data, address, size = receive_from(udp, 16)
host, port = socket.inet_ntoa(address[4:8]), int.from_bytes(address[2:4], "big")
print(data, host, port, size)
tcp = socket.create_connection((sys.argv[1], 9))
tcp.sendall(b"two")
print(receive_from(tcp, 16))
tcp.sendall(b"three")
print(tcp.recvmsg(100, 100)[0], tcp.recvfrom(100))
"""
REPLYING = """
import socket, time
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 9))
tcp = socket.create_server(("", 9))
print("ready", flush=True)
data, sender = udp.recvfrom(100)
time.sleep(0.2)
udp.sendto(data, sender)
connection, _ = tcp.accept()
connection.sendall(connection.recv(100))
connection.recv(100)
connection.sendall(b"4")
time.sleep(0.2)
connection.close()
"""


def test_who_has_little_room_for_addresses_is_told_them(lab: Lab) -> None:
    with lab.running(THERE, python(REPLYING)):
        out = lab.run(HERE, python(NARROW, THERE))
    assert out.lines == [f"b'one' {THERE} 9 16", "(b'two', b'', 0)", "b'4' (b'', None)"]


TWO = f"""
import subprocess, sys
diorama = [sys.executable, "-P", "-m", "diorama", "stack"]
serving = [*diorama, "/dev/net/b", "--", sys.executable, "-c", sys.argv[1]]
server = subprocess.Popen(serving, stdout=subprocess.PIPE)
server.stdout.readline()
script = "import socket; s = socket.create_connection(('{THERE}', 5000)); s.sendall(b'x' * 1000);"
script += "s.shutdown(socket.SHUT_WR); print(s.recv(100).decode(), s.getsockname()[0])"
subprocess.run([*diorama, "/dev/net/a", "--", sys.executable, "-c", script], check=True)
print(*server.communicate()[0].split()[::2])
"""


def test_two_stacks_in_one_view(bench: Bench, engine: str) -> None:
    wire = new_switch()
    mounts = [f"packet:{wire}=/dev/net/{name}:address={at}/24" for name, at in (("a", HERE), ("b", THERE))]
    way = run_with("--mount", mounts[0], "--mount", mounts[1]).on(engine)
    out = bench.inside(way, python(TWO, SERVING))
    assert (out.lines, out.stderr) == ([f"thanks {HERE}", f"b'1000' b'{HERE}'"], "")


HOLDING = """
import os, socket, sys
server = socket.create_server(("", 5000))
print("ready", flush=True)
connection, _ = server.accept()
size = 0
try:
    while data := connection.recv(1 << 16):
        size += len(data)
    print("end", flush=True)
except OSError as error:
    print(error.strerror, flush=True)
"""
SENDING = """
import os, socket, sys
client = socket.create_connection((sys.argv[1], 5000))
client.sendall(bytes(1000000))
print(os.getpid(), flush=True)
while True:
    client.sendall(bytes(100000))
"""


def test_who_is_killed_leaves_nobody_waiting(lab: Lab) -> None:
    with lab.running(THERE, python(HOLDING)) as server:
        with lab.running(HERE, python(SENDING, THERE)):
            os.kill(int(lab.line), signal.SIGKILL)
        assert server.stdout is not None
        assert server.stdout.readline() in (b"end\n", b"Connection reset by peer\n")


DYING = """
import os, signal, socket, sys, threading, time
def told(what, call):
    try:
        print(what, call(), flush=True)
    except OSError as error:
        print(what, error.strerror, flush=True)
server = socket.create_server(("", 80))
client = socket.create_connection(("127.0.0.1", 80))
other, _ = server.accept()
threads = [
    threading.Thread(target=told, args=("accept", server.accept)),
    threading.Thread(target=told, args=("recv", lambda: client.recv(1))),
    threading.Thread(target=told, args=("connect", lambda: socket.create_connection(("10.0.0.77", 80)))),
]
for thread in threads:
    thread.start()
WAITS = "42", "43", "45", "288"  # in connect, accept, recvfrom, accept4
def waits(thread):
    with open(f"/proc/self/task/{thread.native_id}/syscall") as file:
        return file.read().split()[0] in WAITS
while not all(map(waits, threads)):
    time.sleep(0.01)
print("ready", flush=True)
for thread in threads:
    thread.join()
told("socket", socket.socket)
told("send", lambda: other.send(b"x"))
"""


def stacks_below(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"networks.packet.process" in path.read_bytes():
                status = (path.parent / "stat").read_text().rpartition(")")[2].split()
                if int(status[1]) == pid:
                    found.append(int(path.parent.name))
    return found


def test_the_death_of_the_stack_wakes_who_waits(lab: Lab) -> None:
    with lab.running(HERE, python(DYING)) as process:
        (stack,) = stacks_below(process.pid)
        time.sleep(0.2)
        os.kill(stack, signal.SIGKILL)
        output, warning = process.communicate(timeout=LIMIT)
    lines = output.decode().splitlines()
    assert lines[3:] == ["socket Network is down", "send Broken pipe"]
    assert set(lines[:3]) == {
        "accept Software caused connection abort",
        "recv Connection reset by peer",
        "connect Network is down",
    }
    assert "its network is down" in warning.decode()


def test_what_passes_can_be_recorded(lab: Lab) -> None:
    need("ping", "tcpdump")
    with lab.running(THERE, WAITING):
        lab.run(HERE, ["ping", "-c", "1", "-W", "30", THERE], f"pcap={lab.bench.work}/all.pcap")
    dump = ["tcpdump", "-nr", str(lab.bench.work / "all.pcap")]
    told = subprocess.run(dump, capture_output=True, text=True, check=True, timeout=60).stdout
    assert f"{HERE} > {THERE}: ICMP echo request" in told
    assert f"{THERE} > {HERE}: ICMP echo reply" in told
