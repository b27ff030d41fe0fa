"""Users of a view: who programs are, and what they make of it."""

from __future__ import annotations

import sys

import pytest

from behaviour.harness import Bench, Way, each_way, run_with

ROOT = run_with("--user", "root")
NOBODY = run_with("--user", "4321:8765")

pytestmark = pytest.mark.timeout(120)


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", script, *arguments]


TELLING = """
import os
print(os.getresuid(), os.getresgid(), os.getgroups())
"""


@each_way(ROOT)
def test_programs_are_root(bench: Bench, way: Way) -> None:
    assert bench.inside(way, python(TELLING)).lines == ["(0, 0, 0) (0, 0, 0) [0]"]


@each_way(NOBODY)
def test_a_number_that_is_no_users_is_a_user_too(bench: Bench, way: Way) -> None:
    assert bench.inside(way, python(TELLING)).lines == ["(4321, 4321, 4321) (8765, 8765, 8765) []"]


DROPPING = """
import os
os.setgroups([5, 3])
os.setresgid(7, 8, 9)
os.setresuid(10, 11, 12)
print(os.getresuid(), os.getresgid(), os.getgroups())
try:
    os.setuid(0)
except PermissionError:
    print("refused")
os.seteuid(12)
if not os.fork():
    print("child", os.getresuid(), flush=True)
    os._exit(0)
os.wait()
os.execv("/bin/sh", ["sh", "-pc", "id -u; id -ru"])
"""


@each_way(ROOT)
def test_who_gives_up_root_does_so_for_good_and_his_children_too(bench: Bench, way: Way) -> None:
    assert bench.inside(way, python(DROPPING)).lines == [
        "(10, 11, 12) (7, 8, 9) [3, 5]",
        "refused",
        "child (10, 12, 12)",
        "12",
        "10",
    ]


@pytest.mark.parametrize(
    ("who", "told"),
    [
        ("nosuchuser", "unknown user 'nosuchuser'"),
        ("root:nosuchgroup", "unknown group 'nosuchgroup'"),
        ("-1", "cannot run with the id -1"),
        ("4294967295", "cannot run with the id 4294967295"),
        ("", "cannot run as nobody in particular"),
        ("0:", "cannot run as nobody in particular"),
    ],
)
def test_an_unknown_user_is_one_clear_line(bench: Bench, who: str, told: str) -> None:
    out = bench.inside(run_with("--user", who), ["true"])
    assert (out.status, out.stdout) == (125, "")
    (line,) = out.stderr.splitlines()
    assert told in line
