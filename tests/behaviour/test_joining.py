"""Views that run, asked and joined by who is in a hurry, rude, or in an odd place."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from behaviour.harness import DIORAMA, Bench, Outcome, finish, run_with
from behaviour.terminal import Terminal

NAME = f"joined-{os.getpid()}"
LIMIT = 60


@pytest.fixture
def view(bench: Bench, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A view with a name, in which cat runs until its input ends."""
    bench.environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    bench.fresh()
    running = bench.start([*DIORAMA, "run", "--name", NAME, "--", "sh", "-c", "echo here; exec cat"])
    assert running.stdout is not None
    assert running.stdout.readline() == b"here\n"
    yield running
    running.send_signal(signal.SIGCONT)
    if running.poll() is None:
        finish(running)


def command(bench: Bench, *words: str) -> Outcome:
    return finish(bench.start([*DIORAMA, *words]))


def descriptors(view: subprocess.Popen[bytes]) -> int:
    """How many it has open."""
    return len(os.listdir(f"/proc/{view.pid}/fd"))


def message(content: Any) -> bytes:
    data = json.dumps(content).encode()
    return struct.pack("!I", len(data)) + data


JOIN: dict[str, Any] = {"do": "join", "argv": ["true"], "env": {}, "cwd": "/", "umask": 0, "terminal": False}
GARBAGE = [
    b"",
    b"\0",
    b"\xff" * 8,
    struct.pack("!I", 100) + b"{",
    message([]),
    message({"do": ["join"]}),
    message({"do": "join"}),
    message(JOIN),  # without descriptors
    message({**JOIN, "argv": []}),
    message({**JOIN, "argv": 1, "env": 2}),
    message({**JOIN, "argv": ["a\0b"]}),
    message({**JOIN, "argv": ["\ud800"]}),
    message({**JOIN, "env": {"A=": "1"}}),
    struct.pack("!I", 100_000) + b"[" * 100_000,
]


def test_what_is_no_message_is_nobody_s_trouble(
    bench: Bench, view: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    before = descriptors(view)
    place = str(tmp_path / "diorama/views" / NAME)
    for data in GARBAGE:
        for count in (0, 3, 9):
            with socket.socket(socket.AF_UNIX) as link, open(os.devnull) as file:
                link.connect(place)
                if data:
                    socket.send_fds(link, [data], [file.fileno()] * count)
                link.shutdown(socket.SHUT_WR)
                link.settimeout(LIMIT)
                try:
                    while link.recv(4096):
                        continue
                except ConnectionResetError:  # it has not read all of that
                    pass
    assert command(bench, "exec", NAME, "echo", "still here").stdout == "still here\n"
    while descriptors(view) > before:
        continue
    assert finish(view) == Outcome("", "", 0)


def test_a_view_that_is_stopped_holds_nobody_up(
    bench: Bench, view: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    view.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, view.pid, os.WSTOPPED | os.WNOWAIT)
    found = command(bench, "exec", NAME, "true")
    told = f"diorama: the view {NAME} is stopped, and cannot answer until it goes on\n"
    assert (found.stderr, found.status) == (told, 125)
    assert f"\n{view.pid} " in command(bench, "ls").stdout
    place = str(tmp_path / "diorama/views" / NAME)
    try:
        for _ in range(1000):
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(0)
                link.connect(place)
        raise AssertionError("any number of connections can wait")
    except BlockingIOError:  # no more can
        pass
    assert command(bench, "run", "--", "echo", "other views run").stdout == "other views run\n"
    assert f"\n{view.pid} " in command(bench, "ls").stdout
    assert command(bench, "run", "--name", NAME, "--", "true").status == 125
    view.send_signal(signal.SIGCONT)
    assert command(bench, "exec", NAME, "echo", "goes on").stdout == "goes on\n"


def test_views_that_hang_are_listed_as_what_they_are(
    bench: Bench, view: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    place = tmp_path / "diorama/views"
    with contextlib.ExitStack() as held:
        for pid in (os.getpid(), os.getppid()):
            hung = held.enter_context(socket.socket(socket.AF_UNIX))
            hung.bind(str(place / str(pid)))
            hung.listen()
        (place / "hung").symlink_to(str(os.getpid()))
        found = {one["pid"]: one for one in json.loads(command(bench, "ls", "--json").stdout)}
        assert "does not answer" == found[os.getpid()]["trouble"] == found[os.getppid()]["trouble"]
        assert (found[os.getpid()]["name"], found[view.pid]["name"]) == ("hung", NAME)
        view.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, view.pid, os.WSTOPPED | os.WNOWAIT)
        lines = command(bench, "ls").lines
    told = {line.split()[1]: line.partition("(")[2] for line in lines}
    assert (told[NAME], told["hung"]) == ("stopped)", "does not answer)")


@pytest.mark.usefixtures("view")
def test_standard_descriptors_that_are_closed_stay_unusable(bench: Bench) -> None:
    words = [*DIORAMA, "exec", NAME, "sh", "-c", "readlink /proc/self/fd/0; cat 2>&1; echo status $?"]
    found = finish(bench.start(["sh", "-c", '"$@" <&-', "sh", *words]))
    assert found.lines[0] == "/dev/null"
    assert "Bad file descriptor" in found.stdout
    assert found.lines[-1] == "status 1"
    words = [*DIORAMA, "exec", NAME, "sh", "-c", "echo lost; echo status $? >&2"]
    assert finish(bench.start(["sh", "-c", '"$@" >&-', "sh", *words])).stderr.endswith("status 1\n")


@pytest.mark.usefixtures("view")
def test_who_is_nowhere_is_told_so(bench: Bench) -> None:
    script = f'mkdir gone && cd gone && rmdir ../gone && "$@" exec {NAME} true'
    found = finish(bench.start(["sh", "-c", script, "sh", *DIORAMA]))
    told = "diorama: cannot run anything in a view from here: this directory is gone\n"
    assert (found.stderr, found.status) == (told, 125)


def test_others_can_join_as_long_as_somebody_is_there(bench: Bench, view: subprocess.Popen[bytes]) -> None:
    joined = bench.start([*DIORAMA, "exec", NAME, "--", "sh", "-c", "echo ready; read line"])
    assert joined.stdout is not None
    assert joined.stdout.readline() == b"ready\n"
    assert view.stdin is not None
    view.stdin.close()
    view.stdin = None
    listed = ""
    while "sh -c echo here" in (listed := command(bench, "ls").stdout):
        continue
    assert NAME in listed
    assert command(bench, "exec", NAME, "echo", "another").stdout == "another\n"
    assert finish(joined, "\n").status == 0
    assert view.wait(timeout=LIMIT) == 0


def test_what_is_left_of_a_view_that_was_killed_is_no_ancestor_s(bench: Bench, tmp_path: Path) -> None:
    bench.environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    left = "import os, socket; p = 'diorama/views/%d' % os.getpid(); os.makedirs('diorama/views', 0o700);"
    left += "os.chmod('diorama', 0o700); os.chmod('diorama/views', 0o700);"
    left += "socket.socket(socket.AF_UNIX).bind(p); import subprocess, sys;"
    left += "sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    bench.fresh()
    words = ["sh", "-c", 'cd "$0" && exec "$@"', str(tmp_path), sys.executable, "-c", left]
    found = finish(bench.start([*words, *DIORAMA, "name"]))
    assert (found.stderr.count("\n"), found.status) == (1, 125)
    assert "not inside a view" in found.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user, who is another one in a view")
@pytest.mark.parametrize("user", ["root", "daemon"])
def test_who_is_another_user_in_a_view_finds_it(bench: Bench, user: str) -> None:
    bench.environment["XDG_RUNTIME_DIR"] = ""
    way = run_with("--name", NAME, "--user", user).on("notify")
    assert bench.inside(way, [*DIORAMA, "name"]) == Outcome(f"{NAME}\n", "", 0)


@pytest.mark.usefixtures("view")
def test_a_directory_that_is_closed_is_looked_past(bench: Bench) -> None:
    (bench.directory / "closed").mkdir(mode=0)
    script = f'PATH={bench.directory}/closed:$PATH; "$@" exec {NAME} no-such-program'
    found = finish(bench.start(["sh", "-c", script, "sh", *DIORAMA]))
    assert (found.stderr, found.status) == ("diorama: no-such-program: command not found\n", 127)


@pytest.mark.usefixtures("view")
def test_a_program_that_writes_before_it_reads_gets_all_that_is_typed(bench: Bench) -> None:
    typed, written = 300_000, 900_000
    script = f"stty raw -echo; printf ready; head -c {written} /dev/zero; head -c {typed} | wc -c"
    terminal = Terminal([*DIORAMA, "exec", NAME, "--", "sh", "-c", script], bench.work, bench.surroundings())
    try:
        terminal.expect("ready", LIMIT)
        os.set_blocking(terminal.master, False)
        left = b"x" * typed
        while left:
            ready, room, _ = select.select([terminal.master], [terminal.master], [], LIMIT)
            assert ready or room
            if ready:
                terminal.read()
            if room:
                left = left[os.write(terminal.master, left) :]
        terminal.expect(f"{typed}\\s", LIMIT)
        assert os.waitpid(terminal.pid, 0)[1] == 0
    finally:
        os.close(terminal.master)


@pytest.mark.usefixtures("view")
def test_a_terminal_lasts_where_nobody_has_it_open(bench: Bench) -> None:
    script = f"echo first; exec <&- >&- 2>&-; read line < {bench.directory}/fifo; echo second > /dev/tty"
    os.mkfifo(bench.directory / "fifo")
    terminal = Terminal([*DIORAMA, "exec", NAME, "--", "sh", "-c", script], bench.work, bench.surroundings())
    try:
        terminal.expect("first", LIMIT)
        (bench.directory / "fifo").write_text("go on\n")
        terminal.expect("second", LIMIT)
        os.waitpid(terminal.pid, 0)
    finally:
        os.close(terminal.master)


@pytest.mark.parametrize("engine", ["guardians", "notify"])
def test_programs_may_have_as_many_descriptors_as_the_view_was_given(
    bench: Bench, tmp_path: Path, engine: str
) -> None:
    bench.environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    bench.fresh()
    script = "ulimit -Sn; ulimit -Hn; grep '^Max open files' /proc/self/limits"
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    expected = ["900", str(most)]
    given = ["sh", "-c", 'ulimit -Sn 900; exec "$@"', "sh", *DIORAMA, "run", "--grow", "--engine", engine]
    running = bench.start([*given, "--name", NAME, "--", "sh", "-c", f"{script}; exec cat"])
    assert running.stdout is not None
    first = [running.stdout.readline().decode().strip() for _ in range(3)]
    assert first[:2] == expected
    assert first[2].split()[3:5] == expected
    assert resource.prlimit(running.pid, resource.RLIMIT_NOFILE) == (min(most, 1 << 16), most)
    joined = command(bench, "exec", NAME, "sh", "-c", script)
    assert joined.lines[:2] == expected
    finish(running)


def test_a_program_whose_descriptors_have_large_numbers() -> None:
    script = """
        import os, resource
        from diorama import View
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
        held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1200)]
        with View() as view:
            with view.Popen(["sleep", "30"]) as process:
                assert process.poll() is None
                process.kill()
            assert process.returncode == -9
            with view.Popen(["true"]) as process:
                assert process.wait() == 0
            print("done")
    """
    words = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.stdout, done.stderr) == ("done\n", "")


@pytest.mark.parametrize("engine", ["guardians", "notify"])
def test_what_a_module_starts_may_have_as_many_descriptors_as_the_view_was_given(
    bench: Bench, engine: str
) -> None:
    bench.fresh()
    module = bench.work / "starts.py"
    module.write_text(
        "import subprocess\n"
        "def load(view):\n"
        "    for options in ({}, {'close_fds': False}, {'start_new_session': True}):\n"
        "        subprocess.run(['sh', '-c', 'ulimit -Sn; ulimit -Hn'], check=True, **options)\n"
    )
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    given = ["sh", "-c", 'ulimit -Sn 900; exec "$@"', "sh", *DIORAMA, "run", "--engine", engine]
    out = finish(bench.start([*given, "--module", str(module), "--", "sh", "-c", "ulimit -Sn; ulimit -Hn"]))
    assert out.lines == ["900", str(most)] * 4
