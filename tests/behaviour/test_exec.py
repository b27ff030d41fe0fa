"""Executing what is found in the view: the same in a directory and in what is mounted on an empty one."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from behaviour import execution
from behaviour.harness import DIORAMA, Bench, finish
from behaviour.programs import Programs

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


class Laid:
    """The tree, where it is to be executed: really, or by a mount."""

    def __init__(self, directory: Path) -> None:
        self.source = directory / "source"
        self.target = directory / "target"
        self.archive = directory / "tree.tar"
        execution.build(self.source, self.target)
        with tarfile.open(self.archive, "w") as archive:
            archive.add(self.source, ".")

    def really(self) -> None:
        """Put it there."""
        shutil.copytree(self.source, self.target, symlinks=True)

    def emptied(self) -> None:
        """Leave an empty directory there."""
        shutil.rmtree(self.target, ignore_errors=True)
        self.target.mkdir()


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Laid:
    return Laid(tmp_path_factory.mktemp("executed"))


@pytest.fixture(scope="module")
def caller(programs: Programs) -> Path:
    return programs("executing")


@pytest.fixture(scope="module")
def expected(laid: Laid, caller: Path) -> list[str]:
    laid.really()
    tried = execution.attempts(laid.source)
    done = subprocess.run(
        [caller], cwd=laid.target, input=tried, capture_output=True, text=True, check=True, timeout=60
    )
    laid.emptied()
    return done.stdout.splitlines()


@pytest.mark.parametrize("kind", ["bind", "tar"])
def test_every_way_to_execute(
    bench: Bench, laid: Laid, caller: Path, expected: list[str], kind: str, engine: str
) -> None:
    source = laid.source if kind == "bind" else f"tar:{laid.archive}"
    words = ["run", "--strict", "--engine", engine, "--mount", f"{source}={laid.target}", "--", str(caller)]
    process = bench.start([*DIORAMA, *words], cwd=laid.target)
    found = finish(process, execution.attempts(laid.source), 100)
    # What was opened through a bind mount that may be written may be named by either path.
    shown = found.stdout.replace(str(laid.source), str(laid.target)).splitlines()
    assert differing(expected, shown, READ_ONLY if kind == "tar" else {}) == []
    assert found.stderr == ""


READ_ONLY = {"written": "open: EROFS"}
"""What differs where nothing can be opened for writing."""


def differing(expected: list[str], found: list[str], known: dict[str, str]) -> list[tuple[str, str]]:
    """Lines that differ, but for what is known of a way to execute."""
    pairs = itertools.zip_longest(expected, found, fillvalue="")
    return [
        (one, other)
        for one, other in pairs
        if one != other and other.partition(": ")[2] != known.get(one.partition(" ")[0])
    ]
