"""What is run before a command, and lines about how calls are decided."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from behaviour.harness import DIORAMA, Bench, finish, run_with
from engines import ENGINES


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


def test_start_up_files_are_run_in_the_view(bench: Bench, engine: str, tmp_path: Path) -> None:
    bench.environment["XDG_CONFIG_HOME"] = str(tmp_path)
    script(tmp_path / "diorama/rc", "hostname green; read line || echo no input; echo rc >&2")
    way = run_with("--hostname", "blue").on(engine)
    found = bench.inside(way, ["sh", "-c", "uname -n; cat"], stdin="typed")
    assert found.lines == ["no input", "green", "typed"]
    assert found.stderr == "rc\n"
    without = run_with("--hostname", "blue", "--no-rc").on(engine)
    assert bench.inside(without, ["uname", "-n"]).stdout == "blue\n"
    other = script(tmp_path / "other", "hostname red")
    named = run_with("--hostname", "blue", "--rc", str(other)).on(engine)
    assert bench.inside(named, ["uname", "-n"]).stdout == "red\n"


def test_a_start_up_file_that_fails_is_told_of_and_the_command_run(bench: Bench, tmp_path: Path) -> None:
    failing = script(tmp_path / "rc", "exit 3")
    found = bench.inside(run_with("--rc", str(failing)), ["echo", "here"])
    assert (found.stdout, found.status) == ("here\n", 0)
    assert found.stderr == f"diorama: {failing} has failed: its status is 3\n"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_who_ends_a_start_up_file_ends_the_view(
    bench: Bench, engine: str, tmp_path: Path, sent: signal.Signals
) -> None:
    hanging = script(tmp_path / "rc", "trap '' TERM INT; echo here; while sleep 1; do :; done")
    way = run_with("--mount", "memory:=/mnt/memory", "--rc", str(hanging)).on(engine)
    running = bench.start(way(["echo", "the command"]))
    assert running.stdout is not None
    assert running.stdout.readline() == b"here\n"
    running.send_signal(sent)
    found = finish(running)
    assert (found.stdout, found.stderr, found.status) == ("", "", 128 + sent)


def test_a_start_up_file_that_cannot_be_executed_is_one_line(bench: Bench, tmp_path: Path) -> None:
    plain = script(tmp_path / "rc", "true", 0o644)
    for name in (plain, tmp_path, tmp_path / "missing"):
        found = bench.inside(run_with("--rc", str(name)), ["true"])
        assert (found.status, found.stderr.count("\n")) == (125, 1)


def test_calls_of_a_command_are_told_of_and_of_no_other(bench: Bench, engine: str, tmp_path: Path) -> None:
    (tmp_path / "shown").mkdir()
    log = tmp_path / "log"
    bench.environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    way = run_with("--log", str(log), "--mount", f"{tmp_path}/shown=/mnt").on(engine)
    inner = f"{' '.join(DIORAMA)} debug +files -- sh -c 'ls /mnt; cat /mnt/first'; cat /mnt/second"
    found = bench.inside(way, ["sh", "-c", inner])
    assert found.stderr.count("No such file") == 2
    lines = log.read_text().splitlines()
    assert all(line.startswith("diorama: files: ") for line in lines)
    first = [line for line in lines if "/mnt/first" in line and "openat(" in line]
    assert len(first) == 1
    assert not [line for line in lines if "/mnt/second" in line]


def test_a_view_is_switched_from_outside(bench: Bench, engine: str, tmp_path: Path) -> None:
    (tmp_path / "shown").mkdir()
    log = tmp_path / "log"
    bench.environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    bench.fresh()
    options = ["--engine", engine, "--log", str(log), "--name", "watched"]
    options += ["--mount", f"{tmp_path}/shown=/mnt"]
    inner = "echo here; while read name; do test -e /mnt/$name; echo done; done"
    view = bench.start([*DIORAMA, "run", *options, "--", "sh", "-c", inner])
    assert view.stdout is not None
    assert view.stdin is not None

    def look(name: str) -> None:
        assert view.stdin is not None
        assert view.stdout is not None
        view.stdin.write(f"{name}\n".encode())
        view.stdin.flush()
        assert view.stdout.readline() == b"done\n"

    def debug(*words: str) -> str:
        return finish(bench.start([*DIORAMA, "debug", "watched", *words])).stdout

    assert view.stdout.readline() == b"here\n"
    assert debug() == "none\n"
    look("one")
    assert debug("+files,net") == "files,net\n"
    look("two")
    assert debug("-all") == "none\n"
    look("three")
    assert finish(view).status == 0
    told = log.read_text()
    assert "/mnt/two" in told
    assert "/mnt/one" not in told
    assert "/mnt/three" not in told


def test_what_cannot_be_switched_is_one_line(bench: Bench, tmp_path: Path) -> None:
    bench.environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    inner = " ".join(DIORAMA)
    commands = f"{inner} debug +colour -- true; {inner} debug +files -- true"
    found = bench.inside(run_with("--name", "idle-view"), ["sh", "-c", commands])
    assert found.stderr.count("\n") == 2
    assert "cannot switch '+colour'" in found.stderr or "nothing is handled" in found.stderr
    assert found.status == 125
