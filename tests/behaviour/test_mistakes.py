"""Mistakes: wrong use gets one line that says what to do, and a status; never a traceback."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from behaviour.harness import DIORAMA, Bench, Outcome, Way, each_way, finish, run_with
from behaviour.programs import Programs


def one_line(found: Outcome, status: int, *words: str) -> None:
    assert found.status == status, found
    assert found.stdout == ""
    assert len(found.stderr.splitlines()) == 1, found.stderr
    assert found.stderr.startswith("diorama: ")
    for word in words:
        assert word in found.stderr


def module(bench: Bench, text: str) -> Way:
    file = bench.directory / "mistaken.py"
    file.write_text(text)
    return run_with(module=file)


def prepare(place: Path) -> None:
    (place / "plain").write_text("not a program\n")
    (place / "executable").write_text("not a program either\n\0")
    (place / "executable").chmod(0o755)
    (place / "broken.zip").write_bytes(b"PK\3\4 this is no archive")
    (place / "folder").mkdir()
    with zipfile.ZipFile(place / "good.zip", "w") as archive:
        archive.writestr("file", "text")


@pytest.fixture(autouse=True)
def prepared(bench: Bench) -> None:
    bench.prepare = prepare


@pytest.mark.parametrize(
    ("program", "status"),
    [("no-such-program", 127), ("/no/such/program", 127), ("./plain", 126), ("./folder", 126), ("", 127)],
)
@each_way(run_with(), run_with(module="every_pass"))
def test_a_program_that_can_t_be_executed(bench: Bench, way: Way, program: str, status: int) -> None:
    one_line(bench.inside(way, [program]), status, program)


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ("nosuch:rest=/mnt", ["nosuch"]),
        ("zip:missing.zip=/mnt", ["missing.zip"]),
        ("zip:broken.zip=/mnt", ["broken.zip"]),
        ("tar:broken.zip=/mnt", ["broken.zip"]),
        ("zip:good.zip=/etc/passwd", ["/etc/passwd"]),
        ("missing-directory=/mnt", ["missing-directory"]),
        ("folder=/etc/passwd", ["/etc/passwd"]),
        ("folder=/mnt:nosuchoption", ["nosuchoption"]),
        ("folder", ["folder"]),
        ("folder=relative/../../x", []),
    ],
)
def test_a_mount_that_can_t_be_done(bench: Bench, mount: str, words: list[str]) -> None:
    one_line(bench.inside(run_with("--mount", mount), ["true"]), 125, *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def load(view:\n", ["mistaken.py", "1"]),
        ("import nosuchmodule\n", ["mistaken.py", "nosuchmodule"]),
        ("x = 1\n", ["mistaken.py", "load"]),
        ("def load(view):\n    raise RuntimeError('of the author')\n", ["mistaken.py", "of the author"]),
        ("def load(view):\n    view.on('nosuchcall')(print)\n", ["nosuchcall"]),
        ("def load(view):\n    view.on('openat', nosuchfield=3)(print)\n", ["nosuchfield"]),
    ],
    ids=["syntax", "import", "no load", "raises", "unknown call", "unknown field"],
)
def test_a_module_that_can_t_be_loaded(bench: Bench, text: str, words: list[str]) -> None:
    one_line(bench.inside(module(bench, text), ["true"]), 125, *words)


def test_a_missing_module(bench: Bench) -> None:
    one_line(bench.inside(run_with(module=bench.directory / "nowhere.py"), ["true"]), 125, "nowhere.py")


@pytest.mark.parametrize(
    "words", [["--force", "skip=magic"], ["--force", "x"], ["--guardians", "none"], ["--nosuch"]]
)
def test_a_wrong_option(bench: Bench, words: list[str]) -> None:
    one_line(bench.inside(run_with(*words), ["true"]), 125, words[-1])


@pytest.mark.parametrize("words", [["trace", "-e", "nosuchcall", "--", "true"], ["explain", "nosuchcall"]])
def test_an_unknown_call(bench: Bench, words: list[str]) -> None:
    bench.fresh()
    one_line(finish(bench.start([*DIORAMA, *words])), 125, "nosuchcall")


def test_an_output_file_that_can_t_be_written(bench: Bench) -> None:
    bench.fresh()
    one_line(
        finish(bench.start([*DIORAMA, "trace", "-o", "/no/such/file", "--", "true"])), 125, "/no/such/file"
    )


@pytest.mark.parametrize("words", [["run"], ["trace"], ["run", "--"], ["nosuchcommand"]])
def test_a_missing_word(bench: Bench, words: list[str]) -> None:
    bench.fresh()
    one_line(finish(bench.start([*DIORAMA, *words])), 125)


def test_where_ptrace_is_not_permitted(bench: Bench, programs: Programs) -> None:
    bench.fresh()
    command = [str(programs("without_ptrace")), *run_with(module="every_pass")(["true"])]
    one_line(finish(bench.start(command)), 125, "trace")


def test_a_view_with_nothing_in_it_needs_no_ptrace(bench: Bench, programs: Programs) -> None:
    bench.fresh()
    command = [str(programs("without_ptrace")), *run_with()(["echo", "fine"])]
    assert finish(bench.start(command)) == Outcome("fine\n", "", 0)


def test_a_script_without_a_first_line_runs_as_a_shell_would(bench: Bench) -> None:
    found = bench.inside(run_with(), ["./executable"])
    assert found.status == 126
