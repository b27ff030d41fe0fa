"""Run: exit statuses, what is passed to the program, and what is waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.runs import LIMIT, diorama
from engines import ENGINES, needs_notify

PASSES_EVERYTHING = "def load(view):\n    view.on('/.')(lambda call: None)\n"


@pytest.fixture(params=["empty", *ENGINES])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The options of a view that handles nothing, and of one that handles every call, by each engine."""
    if request.param == "empty":
        return []
    module = tmp_path / "module.py"
    module.write_text(PASSES_EVERYTHING)
    return ["--strict", "--engine", request.param, "--module", str(module)]


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_the_status_is_the_program_s(options: list[str], status: int) -> None:
    found = diorama("run", *options, "--", "sh", "-c", f"echo out; echo err >&2; exit {status}")
    assert (found.stdout, found.stderr, found.returncode) == ("out\n", "err\n", status)


@pytest.mark.parametrize("number", [9, 15, 11])
def test_a_program_that_is_killed(options: list[str], number: int) -> None:
    assert diorama("run", *options, "--", "sh", "-c", f"kill -{number} $$").returncode == 128 + number


def test_options_of_the_program_are_its_own(options: list[str]) -> None:
    found = diorama("run", *options, "echo", "--mount", "-h", "--", "x")
    assert found.stdout == "--mount -h -- x\n"


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("no-such-program", 127, "command not found"),
        ("/no/such/program", 127, "No such file or directory"),
        ("/etc/passwd", 126, "Permission denied"),
        ("/", 126, "Permission denied"),
    ],
)
def test_a_program_that_does_not_start(options: list[str], name: str, status: int, words: str) -> None:
    found = diorama("run", *options, "--", name)
    assert found.returncode == status
    assert found.stderr == f"diorama: {name}: {words}\n"


def test_descriptors_of_the_caller_are_the_program_s(options: list[str]) -> None:
    reader, writer = os.pipe()
    command = [
        sys.executable,
        "-m",
        "diorama",
        "run",
        *options,
        "--",
        "bash",
        "-c",
        f"echo through >&{writer}",
    ]
    subprocess.run(command, pass_fds=[writer], timeout=LIMIT, check=True)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "through\n"


def test_no_descriptor_of_diorama_is_left_to_the_program(options: list[str]) -> None:
    found = diorama("run", *options, "--", "sh", "-c", "ls /proc/$$/fd")
    native = subprocess.run(
        ["sh", "-c", "ls /proc/$$/fd"], capture_output=True, text=True, check=True, timeout=LIMIT
    )
    assert found.stdout == native.stdout


def test_it_waits_for_what_the_program_left_running(options: list[str]) -> None:
    found = diorama("run", *options, "--", "sh", "-c", "(sleep 0.5; echo late) & echo early")
    assert found.stdout == "early\nlate\n"


def test_unless_it_is_told_to_end_it(options: list[str]) -> None:
    began = time.monotonic()
    found = diorama(
        "run", "--kill-on-exit", *options, "--", "sh", "-c", "(sleep 20; echo late) & echo early; exit 5"
    )
    assert (found.stdout, found.returncode) == ("early\n", 5)
    assert time.monotonic() - began < 10


def test_a_failing_module_costs_the_program_an_errno(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "def load(view):\n    @view.on('getpriority')\n    def fail(call):\n        raise KeyError('mine')\n"
    )
    found = diorama(
        "run", "--module", str(module), "--", sys.executable, "-c", "import os; os.getpriority(0, 0)"
    )
    assert found.returncode == 1
    assert "KeyError: 'mine'" in found.stderr
    assert "OSError: [Errno 5]" in found.stderr


def test_with_strict_it_costs_the_program_its_life(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "def load(view):\n    @view.on('getpriority')\n    def fail(call):\n        raise KeyError('mine')\n"
    )
    script = "import os, time\ntry: os.getpriority(0, 0)\nfinally: time.sleep(20); print('alive')"
    found = diorama("run", "--strict", "--module", str(module), "--", sys.executable, "-c", script)
    assert found.returncode == 125
    assert "KeyError: 'mine'" in found.stderr
    assert found.stdout == ""


ANSWERS = "def load(view):\n    view.answer('getpriority', result=3)\n"


@pytest.mark.parametrize("word", ["-v", "--verbose"])
@pytest.mark.parametrize(
    ("words", "text", "told"),
    [
        ([], None, "no engine: nothing is handled"),
        ([], PASSES_EVERYTHING, "engine guardians: handlers may run calls, which"),
        (["--engine", "guardians"], ANSWERS, "engine guardians: asked for"),
        (["--guardians", "shared"], ANSWERS, "engine guardians: one guardian for all is asked for"),
        (["--force", "skip=exit"], ANSWERS, "engine guardians: a path of the portable layer is forced"),
        (["--no-seccomp"], ANSWERS, "engine guardians: seccomp is not to be used"),
        pytest.param(["--engine", "notify"], ANSWERS, "engine notify: asked for", marks=needs_notify),
        pytest.param([], ANSWERS, "engine notify: calls are only answered or", marks=needs_notify),
    ],
)
def test_verbose_tells_the_engine_and_why_before_the_program_starts(
    tmp_path: Path, word: str, words: list[str], text: str | None, told: str
) -> None:
    if text is not None:
        module = tmp_path / "module.py"
        module.write_text(text)
        words = [*words, "--module", str(module)]
    found = diorama("run", word, *words, "--", "sh", "-c", "echo started >&2; exit 4")
    first, second = found.stderr.splitlines()
    assert first.startswith(f"diorama: {told}")
    assert (second, found.returncode) == ("started", 4)


def test_without_it_nothing_is_told(options: list[str]) -> None:
    assert diorama("run", *options, "--", "true").stderr == ""


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--bare"], "--bare says what is in another root: it needs --root DIR"),
        (["--root", "/etc/passwd"], "cannot mount /etc/passwd on /: a file needs a file, not a directory"),
        (["--root", "/no/such"], "cannot mount /no/such: no such file or directory"),
    ],
)
def test_a_root_that_cannot_be(words: list[str], complaint: str) -> None:
    found = diorama("run", *words, "--", "true")
    assert (found.returncode, found.stderr) == (125, f"diorama: {complaint}\n")
