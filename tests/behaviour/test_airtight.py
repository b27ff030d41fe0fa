"""Hostile programs that try every way out of a view that has no network, or one of its own."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from behaviour.harness import Bench, Way, each_way, finish, run_with
from behaviour.programs import Programs
from modules.networks.packet.hosts import needs_lwip

pytestmark = pytest.mark.timeout(180)

NONE = run_with("--net", "none:")
DENIED = run_with("--net", "host:,deny=*")
RULES = run_with("--net", "host:,deny=*,allow=127.0.0.1:PORT")
LAN = run_with("--net", "lan:NAME")
PACKET = run_with("--net", "packet:")
LOOPBACK = ("127.0.0.1", 0)

VICTIM = """
import ctypes, socket, sys
ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1 & (1 << 64) - 1))  # PR_SET_PTRACER_ANY
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(sock.fileno(), flush=True)
sys.stdin.read()
"""


class Outside:
    """Servers and a process that a program in a view must not reach, and what they have seen of it."""

    def __init__(self, directory: Path) -> None:
        self.held = ExitStack()
        self.abstract = f"diorama-{os.getpid()}-{directory.name}"
        self.tcp = self._listen(socket.socket(), LOOPBACK)
        self.udp = self._bind(socket.socket(type=socket.SOCK_DGRAM), LOOPBACK)
        self.stream = self._listen(socket.socket(socket.AF_UNIX), f"\0{self.abstract}-stream")
        packets = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.packets = self._listen(packets, f"\0{self.abstract}-packet")
        datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.datagrams = self._bind(datagrams, f"\0{self.abstract}-datagram")
        self.allowed = self._listen(socket.socket(), LOOPBACK)
        self.fine = self._bind(socket.socket(type=socket.SOCK_DGRAM), self.allowed.getsockname())
        self.passing = directory / "passing"
        self._pass = self._listen(socket.socket(socket.AF_UNIX), str(self.passing))
        self.kept = self._listen(socket.socket(), LOOPBACK)
        where = ["-c", VICTIM, str(self.kept.getsockname()[1])]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.victim = subprocess.Popen([sys.executable, *where], **pipes)  # type: ignore[call-overload]
        self.victim_socket = self.held.enter_context(self.kept.accept()[0])
        self.victim_fd = int(self.victim.stdout.readline())
        self.given = [*self._three(), *self._three()]
        for sink in self.allowed, self._pass:
            threading.Thread(target=self._serve, args=(sink,), daemon=True).start()

    def _bind(self, sock: socket.socket, where: object) -> socket.socket:
        self.held.enter_context(sock)
        sock.bind(where)  # type: ignore[arg-type]
        return sock

    def _listen(self, sock: socket.socket, where: object) -> socket.socket:
        # Nobody accepts: there is room for all that may get out.
        self._bind(sock, where).listen(1024)
        return sock

    def _three(self) -> Iterator[socket.socket]:
        """A stream, a datagram socket and a listener that somebody waits to be accepted by."""
        yield self.held.enter_context(socket.socket())
        yield self.held.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        listener = self._listen(socket.socket(), LOOPBACK)
        self.held.enter_context(socket.create_connection(listener.getsockname()))
        yield listener

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                if listener is self._pass:
                    socket.send_fds(sock, [b"x"], [one.fileno() for one in self.given[3:]])

    @property
    def reached(self) -> list[str]:
        """Which of them somebody has reached."""
        servers = {
            "tcp": self.tcp,
            "udp": self.udp,
            "abstract stream": self.stream,
            "abstract packets": self.packets,
            "abstract datagrams": self.datagrams,
            "the connection of another process": self.victim_socket,
        }
        ready = select.select(list(servers.values()), [], [], 0)[0]
        return [name for name, server in servers.items() if server in ready]

    def arguments(self, *, allowed: bool) -> list[str]:
        """Those of the hostile program."""
        ports = [str(one.getsockname()[1]) for one in (self.tcp, self.udp, self.allowed)]
        fds = [str(one.fileno()) for one in self.given[:3]]
        process = [str(self.victim.pid), str(self.victim_fd)]
        return [*ports[:2], self.abstract, *fds, str(self.passing), *process, ports[2] if allowed else "0"]

    def close(self) -> None:
        for sink in self.allowed, self._pass:
            sink.shutdown(socket.SHUT_RDWR)
        self.victim.kill()
        self.victim.communicate()
        self.held.close()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    made = Outside(tmp_path)
    yield made
    made.close()


def named(way: Way, outside: Outside) -> Way:
    """The same with a port that rules allow, and a LAN of its own."""
    names = {"PORT": str(outside.allowed.getsockname()[1]), "NAME": f"t{uuid.uuid4().hex[:12]}"}
    words = way.words
    for name, value in names.items():
        words = tuple(word.replace(name, value) for word in words)
    return Way(way.name, words)


def attempt(bench: Bench, words: list[str], outside: Outside) -> list[str]:
    """Run a hostile program to its end: what it tells."""
    bench.fresh()
    fds = tuple(one.fileno() for one in outside.given[:3])
    out = finish(bench.start(words, pass_fds=fds), limit=150)
    assert out.lines[-1:], (out.stderr, out.status)
    assert out.lines[-1].startswith("attempts that got out: "), (out.lines[-3:], out.stderr, out.status)
    return out.lines


def got_out(lines: Iterable[str]) -> set[str]:
    return {line.removesuffix(": OUT") for line in lines if line.endswith(": OUT")}


@each_way(NONE, DENIED, RULES)
def test_there_is_no_way_out(bench: Bench, way: Way, programs: Programs, outside: Outside) -> None:
    way = named(way, outside)
    is_allowed = any("allow=" in word for word in way.words)
    words = way([programs("hostile"), *outside.arguments(allowed=is_allowed)])
    lines = attempt(bench, words, outside)
    assert not got_out(lines)
    assert "received: three" in lines
    assert outside.reached == [], lines
    families = {int(line.split()[1]) for line in lines if line.startswith("made ")}
    expected = set() if "none:" in way.words else {socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}
    assert families <= expected


OWN = tuple(
    f"{whose} {kind}: " for whose in ("own", "inherited", "received") for kind in ("stream", "datagram")
)
IN_IT = {"flags of an interface set", "socketcall sendto", "socketcall connect", "32-bit connect"}
"""What is done in a network of its own, where it may be."""


@needs_lwip
@each_way(LAN, PACKET)
def test_a_network_of_its_own_is_no_way_out(
    bench: Bench, way: Way, programs: Programs, outside: Outside
) -> None:
    words = named(way, outside)([programs("hostile"), *outside.arguments(allowed=False)])
    lines = attempt(bench, words, outside)
    assert "received: three" in lines
    assert outside.reached == [], lines
    assert not {what for what in got_out(lines) if not what.startswith(OWN)} - IN_IT


@needs_lwip
@each_way(NONE, DENIED, LAN, PACKET)
def test_what_is_no_call_of_a_socket_is_no_way_out(
    bench: Bench, way: Way, programs: Programs, outside: Outside
) -> None:
    words = named(way, outside)([programs("hostile_more"), *outside.arguments(allowed=False)])
    lines = set(attempt(bench, words, outside))
    assert not got_out(lines)
    assert outside.reached == [], lines
    assert lines & {"own namespace works", "own namespace Operation not permitted"}, lines


def test_without_a_view_the_hostile_program_gets_out(
    bench: Bench, programs: Programs, outside: Outside
) -> None:
    """Or the test above would prove nothing."""
    lines = attempt(bench, [str(programs("hostile")), *outside.arguments(allowed=True)], outside)
    assert set(outside.reached) >= {"tcp", "udp", "abstract stream", "abstract packets", "abstract datagrams"}
    assert got_out(lines) >= {
        "own datagram: sendmmsg",
        "received datagram: sendto unspecified",
        "inherited listener: accept",
        "abstract sendmsg",
        "pidfd_getfd",
        "reading a process",
        "memory of a process",
    }, lines
    outside.udp.recv(1)
    more = attempt(bench, [str(programs("hostile_more")), *outside.arguments(allowed=True)], outside)
    assert got_out(more) >= {
        "inherited socket in another namespace",
        "listener of its own",
        "executed from memory",
    }, more
