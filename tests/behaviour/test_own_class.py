"""Programs in a file system that is a class of the user's own: the examples of the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from behaviour.harness import Bench, Way, each_way, run_with
from modules.test_python import examples


def lay(work: Path) -> None:
    (work / "mnt").mkdir()
    for name, text in examples().items():
        (work / name).write_text(text)


@pytest.fixture
def laid(bench: Bench) -> Bench:
    bench.prepare = lay
    return bench


@each_way(run_with("--strict", "--mount", 'py:./clock.py:Clock("UTC")=mnt'))
def test_the_clock_of_the_page(laid: Bench, way: Way) -> None:
    out = laid.inside(way, ["sh", "-c", "ls mnt; cat mnt/now; cat mnt/then"])
    assert re.fullmatch(r"now\n\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\n", out.stdout)
    assert "No such file" in out.stderr


NOTES = """
cd mnt
echo milk > buy; echo bread >> buy; cat buy
mv buy sell; ls
sed -i s/milk/cheese/ sell; cat sell
wc -c < sell
rm sell; ls
"""


@each_way(run_with("--strict", "--mount", "py:./notes.py:Notes=mnt"))
def test_the_notes_of_the_page(laid: Bench, way: Way) -> None:
    assert laid.same(way, ["sh", "-c", NOTES]).stdout.startswith("milk\nbread\n")
