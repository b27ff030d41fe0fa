"""Networks that are in use: their mounts stay, unless they are taken away lazily."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from behaviour.harness import Bench, Way, each_way, run_with
from diorama import View
from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.errors import UsageError
from diorama.interfaces.network import Endpoint, Network
from diorama.modules.networks.none import NoNetwork

pytestmark = pytest.mark.timeout(120)

LIMIT = 60.0
CHOOSING = """
import os, socket, sys
os.setxattr(sys.argv[1], "system.stack", b"")
held = socket.socket()
print("has it", flush=True)
sys.stdin.readline()
os.setxattr(sys.argv[2], "system.stack", b"")
print("has another", flush=True)
sys.stdin.readline()
held.close()
held = None
print("has none", flush=True)
sys.stdin.readline()
"""


class Plain(Network):
    """The kernel's, which tells when it is closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def make(self, family: int, type: int, protocol: int) -> Endpoint:
        return Endpoint(family, type, protocol)

    def adopt(self, at: socket.socket, family: int) -> Endpoint | None:
        return None

    def close(self) -> None:
        self.closed.set()


def test_a_network_that_somebody_has_is_busy(tmp_path: Path, engine: str) -> None:
    paths = [tmp_path / "one", tmp_path / "other"]
    with View(engine=engine, grows=True) as view:
        networks = [Plain(), Plain()]
        for network, path in zip(networks, paths, strict=True):
            view.mount(network, path)
        words = [sys.executable, "-c", CHOOSING, *map(str, paths)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with view.Popen(words, **pipes, text=True, bufsize=1) as program:
            assert program.stdout.readline() == "has it\n"
            with pytest.raises(UsageError, match="busy"):
                view.unmount(paths[0])
            program.stdin.write("go on\n")
            assert program.stdout.readline() == "has another\n"
            with pytest.raises(UsageError, match="busy"):
                view.unmount(paths[0])  # it has a socket of the first one
            view.unmount(paths[1], lazy=True)
            program.stdin.write("go on\n")
            assert program.stdout.readline() == "has none\n"
            view.unmount(paths[0])
            assert networks[0].closed.is_set()
            assert not networks[1].closed.is_set()
            program.stdin.write("go on\n")
        assert networks[1].closed.wait(LIMIT)


@pytest.mark.parametrize("besides", [False, True])
def test_the_hosts_network_as_it_is_stops_no_call_of_a_socket(besides: bool) -> None:
    abi = Abi.native()[0]
    calls = {NUMBERS[abi.title][name] for name in ("socket", "getsockopt", "setsockopt", "listen", "bpf")}
    with View() as view:
        view.stack("host:")
        if besides:
            view.mount(NoNetwork(), "/dev/net/besides")
        view.router.compile(tells_clones=True)
        assert calls & set(view.router.wanted()[abi]) == (calls if besides else set())


MOUNTING = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for source in sys.argv[1:]:
    target = b"directory" if source in ("zip:packed.zip", "tmp:") else b"file"
    failed = libc.mount(source.encode(), target, b"diorama", 0, None)
    print(source, os.strerror(ctypes.get_errno()) if failed else "mounted")
"""
PLAIN = run_with("--net", "host:")
NO_NETWORK = run_with("--mount", "memory:=/mnt")
NONE = run_with("--net", "none:")
DENIED = run_with("--net", "host:,deny=*")
NO = "Operation not permitted"


def prepare(work: Path) -> None:
    (work / "directory").mkdir()
    (work / "file").touch()
    (work / "own.py").write_text("open('file', 'w').write('has run')")
    with zipfile.ZipFile(work / "packed.zip", "w") as packed:
        packed.writestr("x", "x")


@each_way(PLAIN, NO_NETWORK)
def test_filters_that_see_no_sockets_are_for_no_network(bench: Bench, way: Way) -> None:
    bench.prepare = prepare
    sources = ["none:", "host:"]
    out = bench.inside(way, [sys.executable, "-c", MOUNTING, *sources, "tmp:"])
    assert out.lines == [*(f"{source} {NO}" for source in sources), "tmp: mounted"]
    assert "start the view with --grow" in out.stderr


@each_way(NONE, DENIED)
def test_what_programs_mount_leads_round_no_network(bench: Bench, way: Way) -> None:
    bench.prepare = prepare
    around = [
        *("host:", "packet:", "py:./own.py:x", "ftp://localhost:1/", "fuse:own", "nbd://localhost:1"),
        *("zip:ftp://localhost:1/a.zip", "zip::ftp://localhost:1/a.zip", "tar://x::ftp://localhost:1/a.tar"),
    ]
    out = bench.inside(way, [sys.executable, "-c", MOUNTING, *around, "zip:packed.zip", "tmp:"])
    assert out.lines == [*(f"{source} {NO}" for source in around), "zip:packed.zip mounted", "tmp: mounted"]
    assert "would lead round the view's network" in out.stderr
    assert (bench.work / "file").read_text() == ""
