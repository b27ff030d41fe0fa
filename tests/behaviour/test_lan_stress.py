"""A LAN under stress: a thousand connections at once, members and programs that are killed."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from behaviour.harness import Bench, finish
from behaviour.lans import HEAD, Lan, Serving
from diorama.modules.networks.lan import meeting

CONNECTIONS = 1000
KILLS = int(os.environ.get("DIORAMA_KILLS", "6"))
PATIENCE = 60.0

pytestmark = pytest.mark.timeout(max(180, 4 * KILLS))

SERVER = """
import resource, selectors
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
listener = socket.create_server(("", 80), backlog=1024)
listener.setblocking(False)
datagrams = socket.socket(type=socket.SOCK_DGRAM)
datagrams.bind(("", 80))
selector = selectors.DefaultSelector()
for one in (listener, datagrams, sys.stdin):
    selector.register(one, selectors.EVENT_READ)
held = set()
ready()
def serve(one):
    if one is listener:
        new, _ = listener.accept()
        held.add(new)
        selector.register(new, selectors.EVENT_READ)
    elif one is datagrams:
        datagrams.sendto(*datagrams.recvfrom(100))
    else:
        try:
            data = one.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if data:
            one.sendall(data)
        else:
            selector.unregister(one)
            held.discard(one)
            one.close()
while True:
    for key, _ in selector.select():
        if key.fileobj is sys.stdin:
            if sys.stdin.readline() == "end\\n":
                sys.exit()
            print(len(held), flush=True)
        else:
            try:
                serve(key.fileobj)
            except BlockingIOError:
                pass
"""


@pytest.fixture
def lan(bench: Bench, engine: str) -> Iterator[Lan]:
    bench.fresh()
    made = Lan(bench, engine)
    yield made
    for left in bench.temporary.glob("diorama-*"):
        shutil.rmtree(left)  # a supervisor that is killed cannot
    deadline = time.monotonic() + PATIENCE
    while (found := files_of(made)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found == []


def files_of(lan: Lan) -> list[str]:
    """What there is of a LAN in the file system."""
    place = meeting.directory()
    return [path.name for path in place.glob(f"lan-{lan.name}.*")]


def wait_for(server: Serving, connections: int) -> None:
    """Ask a server how many connections it has, until there are so many."""
    assert server.process.stdout is not None
    deadline = time.monotonic() + PATIENCE
    while True:
        server.tell("how", "many?")
        found = int(server.process.stdout.readline())
        if found == connections or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    assert found == connections


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2 * CONNECTIONS, reason="needs 2,000 descriptors"
)
def test_a_thousand_connections_are_open_at_once(lan: Lan) -> None:
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
made = [socket.create_connection((A, 80), 60) for _ in range({CONNECTIONS})]
ready()
for turn in range(3):
    for number, one in enumerate(made):
        one.sendall(f"{{turn}}-{{number}}\\n".encode())
    for number, one in enumerate(made):
        expected = f"{{turn}}-{{number}}\\n".encode()
        found = one.recv(len(expected), socket.MSG_WAITALL)
        assert found == expected, (found, expected)
end()
"""
    with lan.serving(1, SERVER) as server:
        with lan.serving(2, script) as client:
            wait_for(server, CONNECTIONS)
        assert client.outcome is not None
        assert (client.outcome.status, client.outcome.stderr) == (0, "")
        wait_for(server, 0)


STEADY = """
import selectors
count = 0
one = socket.create_connection((A, 80), 60)
datagrams = socket.socket(type=socket.SOCK_DGRAM)
datagrams.settimeout(60)
ready()
while not select.select([sys.stdin], [], [], 0)[0]:
    for data in (b"a" * 10000, b"b"):
        one.sendall(data)
        assert one.recv(len(data), socket.MSG_WAITALL) == data
    with socket.create_connection((A, 80), 60) as other:
        other.sendall(b"x")
        assert other.recv(1) == b"x"
    datagrams.sendto(b"y%d" % count, (A, 80))
    assert datagrams.recv(10) == b"y%d" % count
    count += 1
print("turns", count)
"""
VICTIM = """
listener = socket.create_server(("", 70))
held = [socket.create_connection((A, 80), 60) for _ in range(5)]
if sys.argv[1] == "program" or os.fork():
    ready(os.getpid())
while True:
    for one in held:
        one.sendall(b"z" * 3000)
        one.recv(3000, socket.MSG_WAITALL)
    with socket.create_connection((C, 70), 60) as other:
        listener.accept()[0].close()
"""


def test_members_and_programs_that_are_killed_leave_nothing_and_hold_up_nobody(lan: Lan) -> None:
    """The next victim has the address and the ports of the one before."""
    rng = random.Random(1)
    with lan.serving(1, SERVER) as server, lan.serving(2, STEADY) as steady:
        for turn in range(KILLS):
            kill_one(lan, rng, ("supervisor", "program", "early")[turn % 3])
        steady.tell()  # to end
        wait_for(server, 0)
    assert steady.outcome is not None
    assert (steady.outcome.status, steady.outcome.stderr) == (0, "")
    assert int(steady.outcome.stdout.split()[-1]) > 0
    assert server.outcome is not None
    assert (server.outcome.status, server.outcome.stderr) == (0, "")


def kill_one(lan: Lan, rng: random.Random, what: str) -> None:
    """Kill a supervisor, or its first program, that is busy; or a supervisor that may not be a host yet."""
    process = lan.bench.start(lan.words(3, [sys.executable, "-c", HEAD + VICTIM, what]))
    if what == "early":
        time.sleep(rng.random() * 0.5)
        process.kill()
        finish(process)
        return
    assert process.stdout is not None
    line = process.stdout.readline().split()
    if line[:1] != [b"ready"]:
        raise AssertionError(finish(process))
    os.kill(process.pid if what == "supervisor" else int(line[1]), signal.SIGKILL)
    outcome = finish(process)
    assert outcome.status == 128 + signal.SIGKILL
