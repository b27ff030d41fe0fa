"""Network namespaces of the kernel's, in views that have networks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from behaviour.harness import Bench, Way, each_way, finish, run_with

SCRIPT = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
FLAGS = 0x40000000 | (0x10000000 if os.geteuid() else 0)  # CLONE_NEWNET, CLONE_NEWUSER

def see(who):
    try:
        names = [name for _, name in socket.if_nameindex()]
    except OSError as error:
        names = error.errno
    try:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            one.listen()
            other.connect(one.getsockname())
            reached = True
    except OSError as error:
        reached = error.errno
    print(who, names, reached, flush=True)

see("before")
if not os.fork():
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    assert not libc.unshare(FLAGS)
    see("unshared")
    if not os.fork():
        see("child")
        os._exit(0)
    os.wait()
    if not os.geteuid():
        assert not libc.setns(home, 0x40000000)
        see("back")
    os._exit(0)
os.wait()
see("after")
if not libc.syscall(56 if os.uname().machine == "x86_64" else 220, FLAGS | 17, 0, 0, 0, 0):
    see("cloned")
    os._exit(0)
os.wait()
"""
ALONE = "['lo'] 101"


@pytest.fixture(autouse=True)
def _needs_namespaces() -> None:
    words = ["unshare", "--net", *(() if os.geteuid() == 0 else ("--map-root-user",)), "true"]
    try:
        done = subprocess.run(words, capture_output=True, check=False, timeout=50)
    except FileNotFoundError:
        pytest.skip("needs unshare(1)")
    if done.returncode:
        pytest.skip("needs network namespaces")


@each_way(run_with("--net", "lan:namespaces"), run_with("--net", "none:"))
def test_who_gets_a_network_namespace_has_left_the_networks_of_the_view(bench: Bench, way: Way) -> None:
    own = "['lo', 'eth0'] True" if any("lan" in word for word in way.words) else "97 97"
    found = bench.inside(way, [sys.executable, "-c", SCRIPT])
    back = [f"back {own}"] if os.geteuid() == 0 else []
    expected = [f"before {own}", f"unshared {ALONE}", f"child {ALONE}", *back, f"after {own}"]
    assert found.lines == [*expected, f"cloned {ALONE}"], found.stderr


@each_way(run_with("--mount", "memory:=/mnt"))
def test_what_is_no_namespace_is_told_as_by_linux(bench: Bench, way: Way) -> None:
    script = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); fd = os.open('/etc/passwd', 0)\n"
    script += "for at in (-1, fd):\n"
    script += "    for kind in (0, 0x20000): print(libc.setns(at, kind), ctypes.get_errno())"
    found = bench.same(way, [sys.executable, "-c", script])
    assert (found.lines, found.stderr) == (["-1 9", "-1 9", "-1 22", "-1 22"], "")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who can enter any namespace")
@each_way(run_with("--net", "none:"))
def test_a_namespace_that_is_none_of_the_view_s_is_not_entered(bench: Bench, way: Way) -> None:
    words = ["unshare", "--net", "cat"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as outside:
        assert outside.stdin is not None
        assert outside.stdout is not None
        outside.stdin.write(b"x\n")
        outside.stdin.flush()
        assert outside.stdout.readline() == b"x\n"  # it runs, so it is in its namespace
        fd = os.open(f"/proc/{outside.pid}/ns/net", os.O_RDONLY)
        script = "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
        script += f"for kind in (0x40000000, 0): print(libc.setns({fd}, kind), ctypes.get_errno())"
        bench.fresh()
        found = finish(bench.start(way([sys.executable, "-c", script]), pass_fds=(fd,)))
        os.close(fd)
        outside.stdin.close()
    assert found.lines == ["-1 1", "-1 1"], found.stderr
