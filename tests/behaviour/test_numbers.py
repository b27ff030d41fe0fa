"""Numbers: very many children and threads end, and leave the supervisor as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from behaviour import harness
from behaviour.harness import EMPTY, TRACE, Bench, Way, finish, run_with
from behaviour.programs import Programs
from diorama.engine.choice import NOTIFY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

each_way = harness.each_way(
    EMPTY, TRACE, run_with(module="every_result"), run_with("--guardians", "shared", module="every_pass")
)


def usage(pid: int) -> dict[str, int]:
    """Threads, descriptors, kilobytes and mappings of a process."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "threads": int(status["Threads"]),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "kilobytes": int(status["VmRSS"].split()[0]),
        "mappings": len(Path(f"/proc/{pid}/maps").read_text().splitlines()),
    }


@each_way
def test_10_000_children_leave_nothing_behind(bench: Bench, programs: Programs, way: Way) -> None:
    every = 2500
    process = bench.start(way([programs("children"), "10000", str(every)]))
    assert process.stdin is not None
    assert process.stdout is not None
    measured: list[dict[str, int]] = []
    for number in range(every, 10001, every):
        assert process.stdout.readline() == b"%d\n" % number
        measured.append(usage(process.pid))
        process.stdin.write(b"\n")
        process.stdin.flush()
    assert finish(process).stdout == "10000 children\n"
    first, last = measured[0], measured[-1]
    # Idle workers end some seconds later.
    assert last["threads"] <= first["threads"] + (8 if NOTIFY in way.words else 1)
    assert last["descriptors"] <= first["descriptors"] + 1
    # malloc makes arenas when threads contend, up to eight a CPU, each of two mappings.
    assert last["mappings"] <= first["mappings"] + 16 * (os.cpu_count() or 1)
    assert last["kilobytes"] <= first["kilobytes"] + 1500


@each_way
def test_2_000_threads_of_one_process_end(bench: Bench, programs: Programs, way: Way) -> None:
    found = bench.inside(way, [programs("threads"), "2000"], limit=200)
    assert (found.stdout, found.status) == ("2000 threads, sum 1999000\n", 0), found.stderr


@each_way
def test_64_processes_that_each_fork_50_times_end(bench: Bench, programs: Programs, way: Way) -> None:
    found = bench.inside(way, [programs("fork_many"), "64", "50"], limit=200)
    assert (found.stdout, found.status) == ("64 processes, each with 50 children\n", 0), found.stderr


def test_a_thousand_programs_executed_one_after_another(bench: Bench) -> None:
    script = "for i in $(seq 1000); do /bin/true || echo failed; done; echo done"
    assert bench.inside(TRACE, ["bash", "-c", script], limit=200).stdout == "done\n"


def test_many_views_one_after_another_in_one_process_leave_nothing(bench: Bench, engine: str) -> None:
    program = """
import os, sys, time, diorama
def once():
    with diorama.View(engine=sys.argv[1]) as view:
        view.on("getpid")(lambda call: 5)
        assert view.run(["sh", "-c", "exit 3"]).returncode == 3
def count():
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
def settled(wanted=None):
    # A thread that has told of its end is listed until the kernel has taken it away.
    deadline = time.monotonic() + 50
    while (found := count()) != wanted and found[1] > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    return found
for _ in range(5): once()
before = settled()
for _ in range(60): once()
assert settled(before) == before, (before, count())
print("flat")
"""
    process = bench.start([sys.executable, "-P", "-c", program, engine], stderr=subprocess.STDOUT)
    assert finish(process, limit=200).stdout == "flat\n"
