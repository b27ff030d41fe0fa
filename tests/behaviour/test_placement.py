"""Placement: programs see and set their own masks of CPUs, however often they stop."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from behaviour.harness import Bench, Way, each_way, run_with
from behaviour.programs import Programs

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs to choose from")

OFTEN = run_with("--strict", module="often_stopped")
PLACED = OFTEN.on("guardians")
WAYS = [
    OFTEN,
    run_with("--strict", "--placement", "none", module="often_stopped").on("guardians"),
    run_with("--strict", "--guardians", "shared", module="often_stopped"),
    run_with("--strict", "--no-seccomp", module="often_stopped"),
]
CHECKS = ["mask", "self", "inheritance", "exec", "other", "exec-from-thread", "arguments", "i386"]


@pytest.mark.parametrize("check", CHECKS)
@each_way(*WAYS)
def test_masks_are_the_program_s(bench: Bench, programs: Programs, way: Way, check: str) -> None:
    found = bench.same(way, [programs("affinity"), check])
    assert found.lines[-1].startswith(f"{check}: as it should be"), found.stdout


def test_masks_are_the_program_s_in_a_32_bit_program(bench: Bench, programs: Programs) -> None:
    found = bench.same(PLACED, [programs("affinity", 32), "self", "inheritance", "other", "arguments"])
    assert found.status == 0, found.stdout


SCRIPTS = {
    "nproc": "nproc; nproc --all",
    "taskset before": "taskset -c 0 nproc",
    "taskset of itself": "taskset -p $$ | sed 's/.*: //'; taskset -p 1 $$ >/dev/null; nproc",
    "taskset as a list": "taskset -pc 1 $$ >/dev/null; taskset -pc $$ | sed 's/.*: //'",
}


@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset (util-linux)")
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=list(SCRIPTS))
def test_a_shell_finds_the_same_cpus(bench: Bench, script: str) -> None:
    assert bench.same(PLACED, ["sh", "-c", script]).status == 0


PYTHON = """
import os, threading
whole = os.sched_getaffinity(0)
def busy():
    for _ in range(4000): os.getppid()
busy()
assert os.sched_getaffinity(0) == whole
one = {max(whole)}
def thread():
    os.sched_setaffinity(0, one)
    busy()
    assert os.sched_getaffinity(0) == one
    child = os.fork()
    if child == 0:
        busy()
        os._exit(os.sched_getaffinity(0) != one)
    assert os.waitpid(child, 0)[1] == 0
for _ in range(3):
    worker = threading.Thread(target=thread)
    worker.start()
    busy()
    assert os.sched_getaffinity(0) == whole
    worker.join()
print(len(whole), os.sched_getaffinity(0) == whole)
"""


def test_python_threads_have_masks_of_their_own(bench: Bench) -> None:
    # From 3.12 on it warns, with its PID, of fork() in a process with threads.
    assert bench.same(PLACED, [sys.executable, "-W", "ignore", "-c", PYTHON]).status == 0


def test_a_handler_of_the_call_sees_the_program_s_mask(bench: Bench, programs: Programs, engine: str) -> None:
    module = bench.directory / "module.py"
    module.write_text(
        "def load(view):\n"
        "    view.on('getppid')(lambda call: None)\n"
        "    view.on('sched_getaffinity', 'sched_setaffinity')(lambda call: call.run())\n"
    )
    way = run_with("--strict", module=module).on(engine)
    for check in ("self", "inheritance", "other", "arguments"):
        assert bench.same(way, [programs("affinity"), check]).status == 0


TWO_VIEWS = """
import os, sys, diorama
whole = os.sched_getaffinity(0)
for _ in range(3):
    with diorama.View(engine="guardians", strict=True) as view:
        view.on("getppid")(lambda call: None)
        assert view.run([sys.argv[1], "self"], stdout=-3).returncode == 0
    assert os.sched_getaffinity(0) == whole
print(len(os.listdir("/proc/self/task")))
"""


def test_the_supervisor_keeps_its_mask_and_its_threads_end(bench: Bench, programs: Programs) -> None:
    found = bench.native([sys.executable, "-P", "-c", TWO_VIEWS, str(programs("affinity"))])
    assert (found.stdout, found.stderr) == ("1\n", "")


def test_many_processes_that_stop_and_fork_keep_their_masks(bench: Bench, programs: Programs) -> None:
    script = 'for i in $(seq 12); do "$0" inheritance exec & done; wait; echo done'
    found = bench.inside(PLACED, ["bash", "-c", script, programs("affinity")])
    assert found.stdout.count("as it should be") == 3 * 12, found.stdout


def test_a_wrong_placement_is_the_user_s_mistake(bench: Bench) -> None:
    found = bench.inside(run_with("--placement", "some"), [Path("true")])
    assert found.status == 125
    assert "--placement" in found.stderr
