"""Trace: the lines of real programs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from cli.runs import diorama


def test_a_program_from_its_exec_to_its_end() -> None:
    found = diorama("trace", "--", "true")
    lines = found.stderr.splitlines()
    assert found.returncode == 0
    assert re.fullmatch(r'execve\("/\S+/true", \["true"\], 0x[0-9a-f]+ /\* \d+ vars \*/\) = 0', lines[0])
    assert re.fullmatch(r"exit_group\(0\) +=\ \?", lines[-2])
    assert lines[-1] == "+++ exited with 0 +++"


def test_the_program_s_output_is_its_own() -> None:
    found = diorama("trace", "-e", "write", "--", "sh", "-c", "echo out; exit 3")
    assert (found.stdout, found.returncode) == ("out\n", 3)
    assert found.stderr.splitlines()[0] == 'write(1, "out\\n", 4)                    = 4'


def test_errors_have_names() -> None:
    found = diorama("trace", "-e", "%file", "--", "cat", "/no/such/file")
    line = 'openat(AT_FDCWD, "/no/such/file", O_RDONLY) = -1 ENOENT (No such file or directory)'
    assert line in found.stderr.splitlines()


def test_a_file_has_the_thread_on_each_line(tmp_path: Path) -> None:
    file = tmp_path / "trace"
    found = diorama("trace", "-o", str(file), "--", "sh", "-c", "true & wait; ls / >/dev/null")
    assert found.stderr == ""
    lines = file.read_text().splitlines()
    assert all(re.match(r"\d+ +(\w+\(|---|\+\+\+)", line) for line in lines)
    assert len({line.split()[0] for line in lines}) == 3


def test_children_are_told_apart_on_standard_error() -> None:
    found = diorama("trace", "-e", "execve", "--", "sh", "-c", "ls / >/dev/null; true")
    assert re.search(r'^\[pid +\d+\] execve\("/\S+/ls"', found.stderr, re.MULTILINE)
    assert re.search(r"^(\[pid +\d+\] )?--- SIGCHLD ---$", found.stderr, re.MULTILINE)


def test_a_program_that_is_killed() -> None:
    found = diorama("trace", "-e", "kill", "--", "sh", "-c", "kill -9 $$")
    assert found.returncode == 137
    assert found.stderr.splitlines()[-1] == "+++ killed by SIGKILL +++"


def test_only_what_is_selected_is_shown() -> None:
    found = diorama("trace", "-e", "trace=openat", "-e", "close", "--", "cat", "/etc/hostname")
    names = {line.partition("(")[0] for line in found.stderr.splitlines() if "(" in line}
    assert names == {"openat", "close"}


def test_json_lines_are_objects(tmp_path: Path) -> None:
    file = tmp_path / "trace"
    diorama("trace", "--json", "-o", str(file), "--", "cat", "/no/such/file")
    events = [json.loads(line) for line in file.read_text().splitlines()]
    (opened,) = [event for event in events if event.get("args", {}).get("path") == "/no/such/file"]
    assert (opened["call"], opened["errno"], opened["result"]) == ("openat", "ENOENT", None)
    assert events[-1]["exited"] == 1


def test_threads_are_shown() -> None:
    script = (
        "import threading; t = threading.Thread(target=print, args=['from', 'thread']); t.start(); t.join()"
    )
    found = diorama("trace", "-e", "write", "--", sys.executable, "-u", "-c", script)
    assert found.stdout == "from thread\n"
    assert re.search(r"^\[pid +\d+\] write\(1, ", found.stderr, re.MULTILINE)
    assert len(re.findall(r"\+\+\+ exited with 0 \+\+\+", found.stderr)) == 2


def test_modules_lie_inside_of_the_trace(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("def load(view):\n    view.on('getppid')(lambda call: 99)\n")
    found = diorama(
        "trace",
        "-e",
        "getppid",
        "--module",
        str(module),
        "--",
        sys.executable,
        "-c",
        "import os; os.getppid()",
    )
    assert re.search(r"^getppid\(\) +=\ 99$", found.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    ("word", "shown"),
    [("openat", "OpenAt"), ("creat", "OpenAt"), ("%network", "socketpair"), ("/stat", "fstat")],
)
def test_explain_tells_of_calls(word: str, shown: str) -> None:
    found = diorama("explain", word)
    assert found.returncode == 0
    assert shown in found.stdout
