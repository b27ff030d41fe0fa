"""CPython's own tests end as natively in every kind of mount; here some of the quick ones."""

from __future__ import annotations

import subprocess

import pytest

from engines import ENGINES
from tools.conformance.cpython import compare, run
from tools.conformance.kinds import KINDS, VIEWS

PYTHON = "/usr/bin/python3"
QUICK = ["test_glob", "test_fileio", "test_largefile"]


def has_tests() -> bool:
    try:
        command = [PYTHON, "-c", "import test.test_glob"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


needs_tests = pytest.mark.skipif(not has_tests(), reason="no libpython3-testsuite for /usr/bin/python3")


def test_cases_that_end_otherwise_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    native = {"a": "passed", "b": "failure why", "c": "skipped", "d": "passed"}
    ours = {"a": "passed", "b": "failure otherwise", "c": "passed", "d": "error KeyError"}
    assert compare(native, ours, "bind") == 2
    assert "bind: d: error KeyError; natively passed" in capsys.readouterr().out


@needs_tests
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", [name for name in VIEWS if name != "beside"])
def test_python_finds_the_same_in_a_mount(kind: str, engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    for test in QUICK:
        native = run(test, KINDS["native"], "", PYTHON, None)
        found = run(test, KINDS[kind], engine, PYTHON, None)
        assert compare(native, found, test) == 0, capsys.readouterr().out
