"""Rings: io_uring, which acts without system calls, so it is only for who could do as much without a view."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from behaviour.harness import Bench, Way, each_way, finish, run_with

pytestmark = pytest.mark.timeout(120)

SETUP = 425
MAKING = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
ring = libc.syscall({SETUP}, 4, ctypes.create_string_buffer(120))
print("made" if ring >= 0 else os.strerror(ctypes.get_errno()))
"""
HOST = run_with("--net", "host:")
NAMED = run_with("--mount", "host:=/dev/net/host", "--net", "/dev/net/host")
NONE = run_with("--net", "none:", "--mount", "host:=/dev/net/host")
BOUND = run_with("--net", "host:", "--mount", "here=/mnt")
GROWING = run_with("--net", "host:", "--grow")
SHIFTED = run_with(module="shifted")


def setup() -> int:
    """A ring of this process, which programs inherit; skips where the kernel gives none."""
    ring = int(ctypes.CDLL(None).syscall(SETUP, 4, ctypes.create_string_buffer(120)))
    if ring < 0:
        pytest.skip("the kernel refuses io_uring")
    return ring


@each_way(HOST, NAMED)
def test_a_program_on_the_hosts_network_has_rings(bench: Bench, way: Way) -> None:
    os.close(setup())
    assert bench.inside(way, [sys.executable, "-c", MAKING]).lines == ["made"]


@each_way(NONE, BOUND, GROWING, SHIFTED)
def test_where_a_ring_would_lead_round_something_there_is_none(bench: Bench, way: Way) -> None:
    os.close(setup())
    bench.prepare = lambda work: (work / "here").mkdir()
    out = bench.inside(way, [sys.executable, "-c", MAKING])
    assert out.lines == ["Function not implemented"]
    assert "io_uring_setup: not supported" in out.stderr


def test_a_ring_is_not_handed_over(bench: Bench, engine: str) -> None:
    bench.fresh()
    ring = setup()
    words = run_with("--net", "none:").on(engine)(["true"])
    try:
        out = finish(bench.start(words, pass_fds=(ring,), stdout=subprocess.PIPE))
    finally:
        os.close(ring)
    assert out.status != 0
    assert f"cannot hand over descriptor {ring}: an io_uring leads round" in out.stderr
    assert "Traceback" not in out.stderr
