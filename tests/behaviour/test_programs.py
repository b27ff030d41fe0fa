"""Test programs: each does the same in every kind of view, in 64-bit and in 32-bit form."""

from __future__ import annotations

import os

import pytest

from behaviour.harness import EMPTY, TRACE, Bench, Way, each_way, run_with
from behaviour.programs import Programs
from diorama.engine.choice import NOTIFY

PROGRAMS = {
    "altstack": (),
    "children": ("100",),
    "clone3": (),
    "copying": ("/usr/bin/env",),
    "exec_from_thread": (),
    "exit_race": (),
    "fork_many": ("12", "6"),
    "fork_raw": (),
    "hello": ("one", "two"),
    "longjmp": (),
    "orphans": (),
    "own_filter": (),
    "posix_spawn": (),
    "read_restarted": (),
    "registers": ("5",),
    "signal_storm": (),
    "sleep_interrupted": (),
    "stop_continue": (),
    "threads": ("100",),
    "threads_exit": (),
    "throughput": (),
    "timeout_stopped": (),
    "timers": (),
    "undumpable": (),
    "untraced": (),
    "vfork_exec": (),
}

WAYS = [
    TRACE,
    EMPTY,
    run_with(module="every_pass"),
    run_with(module="every_result"),
    run_with("--guardians", "shared", module="every_result"),
    run_with("--force", "info=registers", "--force", "skip=exit", module="every_result"),
    run_with("--force", "rewind=restart", module="every_sequence"),
    run_with("--force", "rewind=registers", module="every_sequence"),
    run_with(module="every_sequence").on("notify"),
]
WAYS_32 = [WAYS[0], WAYS[3], *WAYS[6:]]


def skip_if_closed(name: str, way: Way) -> None:
    """What is notified cannot be changed in memory that is closed to us: test_engines states what happens."""
    changes = any(module in str(way.words) for module in ("every_result", "every_sequence"))
    if name == "undumpable" and NOTIFY in way.words and changes and os.geteuid() != 0:
        pytest.skip("needs CAP_SYS_PTRACE: by design, see test_engines.py")


@each_way(*WAYS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_behaves_as_outside(bench: Bench, programs: Programs, name: str, way: Way) -> None:
    skip_if_closed(name, way)
    found = bench.same(way, [programs(name), *PROGRAMS[name]])
    assert "WRONG" not in found.stdout
    assert found.stdout


@each_way(*WAYS_32)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_32_bit_program_behaves_as_outside(bench: Bench, programs: Programs, name: str, way: Way) -> None:
    skip_if_closed(name, way)
    found = bench.same(way, [programs(name, 32), *PROGRAMS[name]])
    assert "WRONG" not in found.stdout


@each_way(*WAYS)
@pytest.mark.parametrize("bits", [64, 32])
def test_a_static_program_behaves_as_outside(bench: Bench, programs: Programs, bits: int, way: Way) -> None:
    found = bench.same(way, [programs("hello", bits, static=True)])
    assert found.status == 5
