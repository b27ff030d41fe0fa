"""Surroundings: what a program inherits is the same in a view: signals, descriptors, limits, environment."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from behaviour import harness
from behaviour.harness import DIORAMA, EMPTY, TRACE, Bench, Outcome, Way, finish, run_with
from engines import needs_notify

each_way = harness.each_way(
    EMPTY,
    TRACE,
    run_with("--guardians", "shared", module="every_result"),
    run_with(module="every_result").on("notify"),
)

STATUS = "grep -E '^(Umask|Uid|Gid|Groups|SigPnd|ShdPnd|SigBlk|SigIgn|SigCgt|Cap...)' /proc/self/status"


def through_shell(bench: Bench, before: str, command: list[str]) -> Outcome:
    """Run a command from a shell that has prepared something."""
    bench.fresh()
    return finish(bench.start(["bash", "-c", f"{before}; exec {shlex.join(command)}"]))


@each_way
@pytest.mark.parametrize(
    ("before", "look"),
    [
        (":", STATUS),
        ("trap '' USR1 INT QUIT TSTP CHLD", STATUS),
        ("ulimit -n 77; ulimit -c 0; ulimit -S -s 4096; ulimit -f 100000", "ulimit -a | grep -v pending"),
        ("umask 027", "umask; : >file; stat -c %a file"),
        ("exec 7</etc/passwd 9>>file", "ls /proc/self/fd; readlink /proc/self/fd/[79]"),
        ("exec 0<&-", "ls /proc/self/fd; cat; echo $?"),
        ("exec 1>&-", "ls /proc/self/fd >&2; echo x; echo $? >&2"),
        ("exec 2>&-", "ls /proc/self/fd"),
        ("exec 0<&- 1>&- 2>file", "echo x; ls /proc/self/fd >&2"),
        ("cd /usr/bin; nice -n 5 true", "pwd; readlink /proc/self/cwd; nice"),
        ("export WORD='several words' EMPTY= ; unset HOME", "env | grep -v ^_= | sort"),
        ("taskset -p 1 $$ >/dev/null", "nproc; taskset -p $$ | sed s/.*://"),
    ],
)
def test_a_program_inherits_what_it_would_outside(bench: Bench, way: Way, before: str, look: str) -> None:
    command = ["bash", "-c", look]
    expected = through_shell(bench, before, command)
    assert through_shell(bench, before, way(command)) == expected


@each_way
def test_blocked_signals_stay_blocked(bench: Bench, way: Way) -> None:
    code = (
        "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {10, 12, 15, 17, 34, 64});"
        "[signal.signal(number, signal.SIG_DFL) for number in (signal.SIGPIPE, signal.SIGXFSZ)];"
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    look = ["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"]
    bench.fresh()
    expected = finish(bench.start([sys.executable, "-c", code, *look]))
    assert finish(bench.start([sys.executable, "-c", code, *way(look)])) == expected


@each_way
def test_arguments_of_any_bytes_and_length_arrive(bench: Bench, way: Way) -> None:
    words = ["printf", "%s|", "", " ", "--", "-x", "\udcff\udc80", "line\nend", "x" * 100_000]
    bench.fresh()
    assert finish(bench.start(way(words))) == bench.native(words)


@each_way
def test_too_many_arguments_are_refused_as_outside(bench: Bench, way: Way) -> None:
    script = "/bin/true $(seq 1000000) 2>&1 | grep -o 'Argument list too long'; echo ${PIPESTATUS[0]}"
    assert bench.same(way, ["bash", "-c", script]).lines == ["Argument list too long", "126"]


@each_way
@pytest.mark.parametrize("first", ["#!/bin/sh", "#!/usr/bin/env -S bash -e", "#! /bin/sh -u"])
def test_a_script_runs_by_its_first_line(bench: Bench, way: Way, first: str) -> None:
    def prepare(place: Path) -> None:
        script = place / "script"
        script.write_text(f"{first}\necho $0 $#; exit 3\n")
        script.chmod(0o755)

    bench.prepare = prepare
    assert bench.same(way, ["./script", "a", "b"]).status == 3


@each_way
def test_an_executable_without_a_first_line_runs_from_a_shell(bench: Bench, way: Way) -> None:
    def prepare(place: Path) -> None:
        (place / "script").write_text("echo plain\n")
        (place / "script").chmod(0o755)

    bench.prepare = prepare
    bench.same(way, ["bash", "-c", "./script; echo $?"])


def test_views_without_handlers_can_be_nested(bench: Bench) -> None:
    assert bench.inside(EMPTY, EMPTY(["echo", "deep"])) == Outcome("deep\n", "", 0)


def test_a_view_without_handlers_works_in_one_with(bench: Bench) -> None:
    assert bench.inside(TRACE, EMPTY(["echo", "deep"])) == Outcome("deep\n", "", 0)


def test_a_view_with_handlers_in_another_says_why_it_can_t(bench: Bench) -> None:
    found = bench.inside(TRACE, TRACE(["echo", "deep"]))
    assert (found.stdout, found.status, len(found.stderr.splitlines())) == ("", 125, 1)


@needs_notify
@pytest.mark.parametrize("inner", [TRACE, run_with("--hostname", "inner")], ids=["trace", "hostname"])
def test_a_view_that_is_notified_tells_an_inner_one_that_it_can_t_handle_calls(
    bench: Bench, inner: Way
) -> None:
    """The kernel would tell the outer one alone of a call that both handle."""
    outer = run_with("--hostname", "outer").on("notify")
    assert bench.inside(outer, EMPTY(["uname", "-n"])) == Outcome("outer\n", "", 0)
    found = bench.inside(outer, inner(["uname", "-n"]))
    assert (found.stdout, found.status, len(found.stderr.splitlines())) == ("", 125, 1)
    assert found.stderr.startswith("diorama: cannot handle or trace calls inside of the view ")


def test_the_child_of_a_process_without_standard_descriptors(bench: Bench) -> None:
    code = f"import os; os.closerange(0, 3); os.execv({DIORAMA[0]!r}, {[*TRACE(['touch', 'made'])]!r})"
    bench.fresh()
    process = bench.start([sys.executable, "-c", code])
    assert finish(process).status == 0
    assert (bench.work / "made").exists()
    assert os.listdir(bench.work) == ["made"]
