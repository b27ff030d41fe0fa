"""Supervisor: when it is killed, at any time and in any way, no program of its view lives on."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from behaviour import harness
from behaviour.harness import EMPTY, TRACE, Bench, Way, children_of, left_alive, run_with
from behaviour.programs import Programs

each_way = harness.each_way(
    EMPTY,
    TRACE,
    run_with(module="every_result"),
    run_with("--guardians", "shared", module="every_result"),
    run_with("--force", "rewind=restart", module="every_sequence"),
    run_with(module="every_sequence").on("notify"),
)

BUSY = "while :; do (: & /bin/true; wait) ; setsid sleep 100 & done"


@each_way
@pytest.mark.parametrize("seed", range(8))
def test_killed_at_a_random_time_it_leaves_no_program(bench: Bench, way: Way, seed: int) -> None:
    pause = random.Random(f"{way.name} {seed}").uniform(0, 0.9)
    process = bench.start(way(["bash", "-c", BUSY]))
    time.sleep(pause)
    process.kill()
    process.communicate(timeout=50)
    assert left_alive() == []


@each_way
def test_killed_while_threads_and_children_are_made(bench: Bench, programs: Programs, way: Way) -> None:
    for pause in (0.2, 0.3, 0.4, 0.5):
        process = bench.start(way(["bash", "-c", f"while :; do {programs('exit_race')} & sleep 0.02; done"]))
        time.sleep(pause)
        process.kill()
        process.communicate(timeout=50)
        assert left_alive() == []


@each_way
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ended_by_a_signal_it_leaves_no_program(bench: Bench, way: Way, number: signal.Signals) -> None:
    process = bench.start(way(["sh", "-c", "echo ready; exec sleep 100"]))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    process.communicate(timeout=50)
    assert process.returncode in (-number, 128 + number)
    assert left_alive() == []


@each_way
def test_when_its_first_process_is_killed_everything_ends(bench: Bench, way: Way) -> None:
    process = bench.start(way(["sh", "-c", "echo ready; exec sleep 100"]))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    for child in children_of(process.pid):
        os.kill(child, signal.SIGKILL)
    process.communicate(timeout=50)
    assert process.returncode != 0
    assert left_alive() == []


def test_a_program_that_outlives_the_command_keeps_its_view(bench: Bench, engine: str) -> None:
    module = bench.directory / "module.py"
    module.write_text("def load(view):\n    view.on('getppid')(lambda call: 99)\n")
    script = "(sleep 0.4; exec python3 -c 'import os; print(os.getppid(), flush=True)') & exit 6"
    found = bench.inside(run_with(module=module).on(engine), ["bash", "-c", script])
    assert (found.stdout, found.status) == ("99\n", 6)
