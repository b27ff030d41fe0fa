"""Engines: where they differ by design, each difference in one place. All else is one suite for both."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import diorama
from behaviour.harness import DIORAMA, Bench, Way, finish, run_with
from behaviour.programs import Programs
from diorama.engine.choice import GUARDIANS, NOTIFY
from engines import ENGINES, needs_notify

YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")


def with_answers(bench: Bench, engine: str) -> Way:
    """A view that answers getppid always alike, and cannot open `first`."""
    module = bench.directory / "module.py"
    module.write_text(
        "import errno\ndef load(view):\n"
        "    view.answer('getppid', result=4242)\n"
        "    view.answer('openat', error=errno.EXDEV, path='*/first')\n"
    )
    return run_with(module=module).on(engine)


def test_a_call_that_the_kernel_restarts_after_a_signal_is_asked_again_when_notified(
    programs: Programs, engine: str
) -> None:
    """A guardian sees that it is the same call; a notification is a new one each time."""
    asked: list[int] = []
    with diorama.View(engine=engine, strict=True) as view:
        view.on("read", size=16)(lambda call: asked.append(call.fd))
        done = view.run([programs("read_restarted")], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "restarted: late after 3 handlers",
        "interrupted, then: next after 4 handlers",
    ]
    restarts = {GUARDIANS: 0, NOTIFY: 3}
    assert len(asked) == 3 + restarts[engine]


def test_a_call_that_is_run_and_looked_at_is_asked_once_by_both(programs: Programs, engine: str) -> None:
    asked: list[int] = []

    def run(call: Any) -> int:
        asked.append(call.fd)
        result: int = call.run()
        return result

    with diorama.View(engine=engine, strict=True) as view:
        view.on("read", size=16)(run)
        view.run([programs("read_restarted")], capture_output=True)
    assert len(asked) == 3


@needs_notify
def test_there_are_no_observers_of_what_is_notified(bench: Bench) -> None:
    found = finish(bench.start([*DIORAMA, "trace", "--engine", NOTIFY, "--", "true"]))
    assert (found.stdout, found.status) == ("", 125)
    (line,) = found.stderr.splitlines()
    assert line.startswith("diorama: cannot use the engine 'notify': ")
    assert "observed" in line


@needs_notify
def test_an_observer_is_the_user_s_mistake_in_the_library_too() -> None:
    class Observer:
        wants_signals = False

    with diorama.View(engine=NOTIFY) as view:
        view.observe(Observer())
        with pytest.raises(diorama.UsageError, match="cannot use the engine 'notify'"):
            view.run(["true"])


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")


def two_files(place: Path) -> None:
    (place / "first").write_text("the first\n")
    (place / "second").write_text("the second\n")


@needs_notify
def test_strace_shows_what_a_notified_program_asks_and_gets(bench: Bench, programs: Programs) -> None:
    needs("strace")
    bench.prepare = two_files
    command = ["strace", "-f", "-e", "trace=openat", "-o", "trace", programs("cat"), "./first", "second"]
    found = bench.inside(with_answers(bench, NOTIFY), command)
    assert found.stdout == "the second\n"
    lines = (bench.work / "trace").read_text().splitlines()
    assert any('"./first"' in line and "= -1 EXDEV" in line for line in lines)
    assert any('"second"' in line and "= 3" in line for line in lines)


@needs_notify
def test_strace_attaches_to_a_notified_program(bench: Bench) -> None:
    needs("strace")
    if os.geteuid() and YAMA.exists() and YAMA.read_text().strip() != "0":
        pytest.skip("needs Yama's ptrace_scope 0 to attach to a sibling")
    loop = "import os, time\nwhile True: os.getppid(); time.sleep(0.01)"
    script = f"{sys.executable} -c '{loop}' & timeout 1 strace -e trace=getppid -o trace -p $!; kill $!; wait"
    bench.inside(with_answers(bench, NOTIFY), ["bash", "-c", script])
    lines = (bench.work / "trace").read_text().splitlines()
    assert sum(line.startswith("getppid()") and line.endswith("= 4242") for line in lines) > 5


@needs_notify
def test_gdb_steps_through_a_notified_program(bench: Bench, programs: Programs) -> None:
    needs("gdb")
    bench.prepare = two_files
    words = [
        "gdb",
        "-batch",
        "-nx",
        "-iex",
        "set debuginfod enabled off",
        "-iex",
        "set startup-with-shell off",
    ]
    steps = ["-ex", "catch syscall openat", "-ex", "run", "-ex", "delete", "-ex", "continue"]
    command = [*words, *steps, "--args", programs("cat"), "./first", "./second"]
    found = bench.inside(with_answers(bench, NOTIFY), command)
    assert "Catchpoint 1 (call to syscall openat)" in found.stdout
    assert "the second" in found.stdout
    assert "Invalid cross-device link" in found.stdout + found.stderr
    assert "exited with code 01" in found.stdout


def test_no_debugger_attaches_to_a_guarded_program(bench: Bench, programs: Programs) -> None:
    """It has a tracer, and there can be one only."""
    needs("strace")
    found = bench.inside(with_answers(bench, GUARDIANS), ["strace", "-o", "trace", programs("hello")])
    assert found.status != 0
    assert "not permitted" in found.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_a_listener_of_the_program_s_own_is_ebusy_when_it_is_notified_itself(
    bench: Bench, programs: Programs, engine: str
) -> None:
    way, program = with_answers(bench, engine), programs("own_listener")
    expected = bench.native([program])
    assert expected.stdout == "answered child: exit 7\n"
    found = bench.inside(way, [program])
    if engine == NOTIFY:
        assert (found.stdout, found.status) == ("no listener: Device or resource busy\n", 1)
    else:
        assert found == expected


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read any memory")
def test_a_program_whose_memory_is_closed_to_us_is_not_led_to_the_host_behind_a_mount(
    bench: Bench, programs: Programs, engine: str
) -> None:
    """What a program sets is told to it only; but one that its user may not read is closed by the kernel."""
    program = bench.directory / "cat"
    shutil.copy(programs("cat", static=True), program)
    program.chmod(0o111)
    (bench.work / "mnt").mkdir()
    (bench.work / "mnt" / "f").write_text("of the host")
    bench.prepare = lambda place: (place / "mnt").mkdir()
    way = run_with("--mount", "memory:=mnt").on(engine)
    found = bench.inside(way, [program, "mnt/f"])
    assert "of the host" not in found.stdout
    assert "Operation not permitted" in found.stderr
    assert found.stderr.count("openat: the program has closed its memory") == 1


@needs_notify
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read any memory")
def test_calls_of_a_program_that_closed_its_memory_cannot_be_changed_when_notified(
    bench: Bench, programs: Programs
) -> None:
    way = run_with(module="every_result")
    expected = bench.native([programs("undumpable")])
    assert bench.inside(way.on(GUARDIANS), [programs("undumpable")]) == expected
    assert "closed its memory" in bench.inside(way.on(NOTIFY), [programs("undumpable")]).stderr
