"""A hostile program that tries every way out of a view without a network, and of one under rules."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from behaviour.harness import Bench, Way, each_way, finish, run_with
from behaviour.programs import Programs

pytestmark = pytest.mark.timeout(180)

NONE = run_with("--net", "none:")
DENIED = run_with("--net", "host:,deny=*")
RULES = run_with("--net", "host:,deny=*,allow=127.0.0.1:PORT")
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


def attempt(bench: Bench, words: list[str], outside: Outside) -> list[str]:
    bench.fresh()
    fds = tuple(one.fileno() for one in outside.given[:3])
    out = finish(bench.start(words, pass_fds=fds), limit=150)
    got_out = [line for line in out.lines if line.endswith(": OUT")]
    assert not got_out
    assert out.lines[-1:] == ["attempts that got out: 0"], (out.lines[-3:], out.stderr, out.status)
    assert "received: three" in out.lines
    return out.lines


@each_way(NONE, DENIED, RULES)
def test_there_is_no_way_out(bench: Bench, way: Way, programs: Programs, outside: Outside) -> None:
    port = str(outside.allowed.getsockname()[1])
    way = Way(way.name, tuple(word.replace("PORT", port) for word in way.words))
    is_allowed = any("allow=" in word for word in way.words)
    words = way([programs("hostile"), *outside.arguments(allowed=is_allowed)])
    lines = attempt(bench, words, outside)
    assert outside.reached == [], lines
    families = {int(line.split()[1]) for line in lines if line.startswith("made ")}
    expected = set() if "none:" in way.words else {socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}
    assert families <= expected


def test_without_a_view_the_hostile_program_gets_out(
    bench: Bench, programs: Programs, outside: Outside
) -> None:
    """Or the test above would prove nothing."""
    bench.fresh()
    words = [str(programs("hostile")), *outside.arguments(allowed=True)]
    fds = tuple(one.fileno() for one in outside.given[:3])
    out = finish(bench.start(words, pass_fds=fds), limit=150)
    assert set(outside.reached) >= {"tcp", "udp", "abstract stream", "abstract packets", "abstract datagrams"}
    got_out = {line.removesuffix(": OUT") for line in out.lines if line.endswith(": OUT")}
    assert got_out >= {
        "own datagram: sendmmsg",
        "received datagram: sendto unspecified",
        "inherited listener: accept",
        "abstract sendmsg",
        "pidfd_getfd",
        "reading a process",
        "memory of a process",
    }, out.lines
