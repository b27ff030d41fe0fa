"""Private directories of supervisors that were killed are removed by the next one; others stay."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from diorama.dispatch.files.leftovers import PrivateDirectory

SCRIPT = """
import os, sys
from diorama.dispatch.files.leftovers import PrivateDirectory
made = PrivateDirectory(sys.argv[1])
os.mkdir(made.path + b"/d0")
print(os.fsdecode(made.path), flush=True)
sys.stdin.read()
os.kill(os.getpid(), 9)
"""


def make_old(path: Path) -> None:
    os.utime(path, (1, 1))


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A supervisor that has one, and is killed when its input ends."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]
    yield process
    process.communicate(timeout=40)


def test_what_a_killed_supervisor_has_left_is_removed(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    assert other.stdout is not None
    left = Path(other.stdout.readline().strip())
    make_old(left)
    first = PrivateDirectory(str(tmp_path))
    assert (left / "d0").exists()  # it lives
    other.communicate(timeout=40)
    make_old(left)
    second = PrivateDirectory(str(tmp_path))
    assert {*tmp_path.iterdir()} == {Path(os.fsdecode(one.path)) for one in (first, second)}
    first.close()
    second.close()
    assert [*tmp_path.iterdir()] == []


def test_what_is_new_or_has_no_lock_stays(tmp_path: Path) -> None:
    new, strange = tmp_path / "diorama-new", tmp_path / "diorama-strange"
    new.mkdir()
    (new / "supervisor").touch()
    strange.mkdir()
    make_old(strange)
    PrivateDirectory(str(tmp_path)).close()
    assert {*tmp_path.iterdir()} == {new, strange}
