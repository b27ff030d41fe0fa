"""Views that run: they are listed, named, and joined by other programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from behaviour.harness import DIORAMA, Bench, Outcome, finish
from behaviour.terminal import Terminal
from engines import ENGINES

NAME = f"test-{os.getpid()}"


@pytest.fixture(params=[*ENGINES, pytest.param("", id="nothing-handled")])
def view(request: pytest.FixtureRequest, bench: Bench, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A view with a name, in which cat runs until its input ends."""
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown/file").write_text("content\n")
    bench.environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    bench.fresh()
    options = ["--engine", request.param, "--mount", f"{tmp_path}/shown=/mnt"] if request.param else []
    words = [*DIORAMA, "run", "--name", NAME, *options, "--", "sh", "-c", "echo here; exec cat"]
    running = bench.start(words)
    assert running.stdout is not None
    assert running.stdout.readline() == b"here\n"
    yield running
    if running.poll() is None:
        finish(running)


def command(bench: Bench, *words: str, stdin: str = "") -> Outcome:
    return finish(bench.start([*DIORAMA, *words]), stdin)


def test_a_view_is_listed_while_it_runs(bench: Bench, view: subprocess.Popen[bytes]) -> None:
    listed = json.loads(command(bench, "ls", "--json").stdout)
    (found,) = [one for one in listed if one["name"] == NAME]
    assert found["pid"] == view.pid
    assert [program["command"] for program in found["programs"]] == ["sh -c echo here; exec cat"]
    assert [mount["target"] for mount in found["mounts"] if mount["target"] == "/mnt"] in ([], ["/mnt"])
    assert NAME in command(bench, "ls").stdout
    assert finish(view).status == 0
    assert NAME not in command(bench, "ls").stdout


def test_a_view_is_one_line_whatever_its_command_is(bench: Bench, view: subprocess.Popen[bytes]) -> None:
    script = "echo ready\nread line # \x1b[31m\udcff"
    bench.environment["PYTHONIOENCODING"] = "utf-8:strict"
    joined = bench.start([*DIORAMA, "exec", NAME, "--", "sh", "-c", script])
    assert joined.stdout is not None
    assert joined.stdout.readline() == b"ready\n"
    (line,) = [line for line in command(bench, "ls").lines if line.startswith(f"{view.pid} ")]
    while "ready read line # ?[31m?" not in line:  # it runs before the view has noted that
        (line,) = [line for line in command(bench, "ls").lines if line.startswith(f"{view.pid} ")]
    assert finish(joined, "\n").status == 0


def test_a_command_joins_a_view(bench: Bench, view: subprocess.Popen[bytes]) -> None:
    bench.environment["GIVEN"] = "yes"
    script = "cat; echo $GIVEN; pwd; umask; cat /mnt/file 2>/dev/null || echo none; echo err >&2; exit 7"
    old = os.umask(0o27)
    try:
        found = command(bench, "exec", NAME, "--", "sh", "-c", script, stdin="typed\n")
    finally:
        os.umask(old)
    shown = "none" if "--mount" not in view.args else "content"  # type: ignore[operator]
    assert found.lines == ["typed", "yes", str(bench.work), "0027", shown]
    assert (found.stderr, found.status) == ("err\n", 7)


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["sh", "-c", "kill -9 $$"], 137, ""),
        (["/nowhere/program"], 127, "/nowhere/program: No such file or directory"),
        (["no-such-program"], 127, "no-such-program: command not found"),
        (["/etc/passwd"], 126, "/etc/passwd: Permission denied"),
    ],
)
def test_the_status_is_as_a_shell_has_it(
    bench: Bench, view: subprocess.Popen[bytes], words: list[str], status: int, told: str
) -> None:
    found = command(bench, "exec", NAME, *words)
    assert found.status == status
    assert told in found.stderr


def test_signals_are_passed_on(bench: Bench, view: subprocess.Popen[bytes]) -> None:
    script = "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    joined = bench.start([*DIORAMA, "exec", NAME, "--", "sh", "-c", script])
    assert joined.stdout is not None
    assert joined.stdout.readline() == b"ready\n"
    joined.send_signal(signal.SIGTERM)
    found = finish(joined)
    assert (found.stdout, found.status) == ("told\n", 3)


def test_a_program_whose_caller_is_killed_is_hung_up(bench: Bench, view: subprocess.Popen[bytes]) -> None:
    script = "trap 'echo hung up >&3; exit' HUP; echo ready; while :; do sleep 0.1; done"
    read, write = os.pipe()
    words = [*DIORAMA, "exec", NAME, "--", "sh", "-c", script.replace(">&3", f"> {bench.directory}/told")]
    joined = bench.start(words)
    os.close(write)
    assert joined.stdout is not None
    assert joined.stdout.readline() == b"ready\n"
    joined.kill()
    joined.communicate(timeout=50)
    os.close(read)
    assert finish(view).status == 0  # which waits for who has joined
    assert (bench.directory / "told").read_text() == "hung up\n"


def test_the_view_lasts_as_long_as_who_has_joined(bench: Bench, view: subprocess.Popen[bytes]) -> None:
    joined = bench.start([*DIORAMA, "exec", NAME, "--", "sh", "-c", "echo ready; read line; echo $line"])
    assert joined.stdout is not None
    assert joined.stdout.readline() == b"ready\n"
    assert view.stdin is not None
    view.stdin.close()
    view.stdin = None
    assert finish(joined, "still here\n").stdout == "still here\n"
    assert view.wait(timeout=50) == 0


def test_a_name_is_one_view_s(bench: Bench, view: subprocess.Popen[bytes]) -> None:
    found = command(bench, "run", "--name", NAME, "true")
    assert (found.status, found.stderr.count("\n")) == (125, 1)
    assert "another one that runs is called so" in found.stderr
    other = f"{NAME}.b"
    script = f"{' '.join(DIORAMA)} name; {' '.join(DIORAMA)} name {other}; {' '.join(DIORAMA)} name"
    renamed = command(bench, "exec", NAME, "--", "sh", "-c", script)
    assert renamed.lines == [NAME, other], renamed.stderr
    assert command(bench, "exec", NAME, "true").status == 125
    assert command(bench, "run", "--name", NAME, "true").status == 0
    assert command(bench, "exec", str(view.pid), "true").status == 0


def test_the_name_of_a_view_that_was_killed_is_free(bench: Bench, view: subprocess.Popen[bytes]) -> None:
    view.kill()
    view.communicate(timeout=50)
    assert NAME not in command(bench, "ls").stdout
    found = command(bench, "exec", NAME, "true")
    assert (found.status, found.stderr.count("\n")) == (125, 1)
    places = Path(bench.environment["XDG_RUNTIME_DIR"], "diorama/views")
    assert sorted(path.name for path in places.iterdir()) == sorted([NAME, str(view.pid)])
    assert command(bench, "run", "true").status == 0
    assert not list(places.iterdir())
    assert command(bench, "run", "--name", NAME, "--", "echo", "again").stdout == "again\n"


@pytest.mark.parametrize("name", ["", "4711", "a/b", "..", "-x", "x" * 65])
def test_what_is_no_name_is_one_line(bench: Bench, name: str) -> None:
    bench.fresh()
    found = command(bench, "run", f"--name={name}", "true")
    assert (found.status, found.stderr.count("\n")) == (125, 1)
    assert "cannot call a view" in found.stderr


def test_outside_of_views_a_name_is_an_error_and_a_prompt_is_the_host_s(bench: Bench) -> None:
    bench.fresh()
    assert command(bench, "name").status == 125
    assert command(bench, "name", "-P").lines == [os.uname().nodename]


def test_a_directory_that_others_can_enter_is_not_used(bench: Bench, tmp_path: Path) -> None:
    bench.fresh()
    (tmp_path / "diorama").mkdir(mode=0o755)
    bench.environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    assert command(bench, "run", "--name", f"{NAME}.c", "true").status == 0
    assert not list((tmp_path / "diorama").glob("views/*"))


# -- on a terminal --------------------------------------------------------------------------------


@contextmanager
def on_terminal(bench: Bench, *words: str) -> Generator[Terminal, None, None]:
    terminal = Terminal(list(words), bench.work, {**bench.surroundings(), "PS1": "outer> ", "TERM": "dumb"})
    try:
        yield terminal
    finally:
        os.close(terminal.master)  # which hangs up


LIMIT = 45
MARKING = "sed -u 's/$/+/'"  # what is printed tells that it has read, and so has the terminal


def test_a_shell_in_a_view_has_job_control(bench: Bench, view: subprocess.Popen[bytes]) -> None:
    words = [*DIORAMA, "exec", NAME, "--", "bash", "--norc", "--noprofile", "-i"]
    with on_terminal(bench, *words) as terminal:
        terminal.expect("outer> ", LIMIT)
        terminal.resize(30, 111)
        terminal.type("stty size\n")
        terminal.expect("(?s)30 111.*outer> ", LIMIT)
        terminal.type(f"{MARKING}\n")
        terminal.type("one\n")
        terminal.expect("one[+]", LIMIT)
        terminal.type("\x1a")
        terminal.expect("(?s)Stopped.*outer> ", LIMIT)
        terminal.type("fg\n")
        terminal.type("two\n")
        terminal.expect("two[+]", LIMIT)
        terminal.type("\x03")
        terminal.expect("outer> ", LIMIT)
        terminal.type("echo status=$?; exit 5\n")
        terminal.expect("status=130", LIMIT)
        assert os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1]) == 5


@pytest.mark.usefixtures("view")
def test_the_caller_s_shell_sees_a_program_stop_and_go_on(bench: Bench) -> None:
    with on_terminal(bench, "bash", "--norc", "--noprofile", "-i") as terminal:
        terminal.expect("outer> ", LIMIT)
        terminal.type(f"{' '.join(DIORAMA)} exec {NAME} -- {MARKING}\n")
        terminal.type("one\n")
        terminal.expect("one[+]", LIMIT)
        terminal.type("\x1a")
        terminal.expect("(?s)Stopped.*outer> ", LIMIT)
        terminal.type("stty -a | grep -o ' icanon'; fg\n")
        terminal.expect(" icanon", LIMIT)
        terminal.type("two\n")
        terminal.expect("two[+]", LIMIT)
        terminal.type("\x03")
        terminal.expect("outer> ", LIMIT)
        terminal.type("echo status=$?\n")
        terminal.expect("status=130", LIMIT)
        terminal.type("exit\n")
        os.waitpid(terminal.pid, 0)
