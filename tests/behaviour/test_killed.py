"""What write(2) has acknowledged is there, whoever is killed afterwards."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from behaviour.harness import Bench, finish
from engines import ENGINES
from tools.conformance.kinds import KINDS

pytestmark = pytest.mark.parametrize("engine", ENGINES)

KINDS_THAT_WRITE = ("bind", "tmp", "memory", "overlay", "cow")

WRITER = """
import os, sys
how = sys.argv[1]
flags = os.O_RDWR | os.O_CREAT
fd = os.open("new", flags, 0o644) if how != "renamed" else os.open("old", flags, 0o644)
if how == "renamed":
    os.rename("old", "new")
for number in range(10**9):
    record = b"%09d\\n" % number
    if how == "vector":
        os.writev(fd, [record[:4], record[4:]])
    elif how == "at":
        os.pwrite(fd, record, number * 10)
    else:
        os.write(fd, record)
    os.write(1, record)
"""
KILLER = """
import os, signal, subprocess, sys
writer = subprocess.Popen([sys.executable, "-S", "-E", *sys.argv[1:3]], stdout=subprocess.PIPE)
acknowledged = b"".join(writer.stdout.readline() for _ in range(200))
writer.kill()
acknowledged += writer.stdout.read()
writer.wait()
with open("new", "rb") as file:
    written = file.read()
whole = len(acknowledged) // 10
same = written[: whole * 10] == acknowledged[: whole * 10]
print("kept" if same else "lost", len(written) - whole * 10 < 20)
"""


@pytest.mark.parametrize("kind", KINDS_THAT_WRITE)
@pytest.mark.parametrize("how", ["at", "renamed", "vector"])
def test_what_a_killed_program_has_written_is_there(bench: Bench, engine: str, kind: str, how: str) -> None:
    bench.fresh()
    writer = bench.directory / "writer.py"
    writer.write_text(WRITER)
    with KINDS[kind].site(engine) as site:
        command = [*site.words, sys.executable, "-S", "-E", "-c", KILLER, str(writer), how]
        found = finish(subprocess.Popen(
            ["sh", "-c", 'cd "$0" && exec "$@"', site.directory, *command],
            env=bench.surroundings(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ))  # fmt: skip
    assert (found.stdout, found.stderr, found.status) == ("kept True\n", "", 0)


CHANGING = """
import os
for number in range(10**9):
    name = f"file{number % 40}"
    with open(name, "r+b") as file:
        file.write(b"%020d" % number)
    os.rename(name, "other")
    os.link("other", name)
    os.unlink("other")
    if number % 40 == 0:
        os.mkdir(f"made{number}"); os.rename(f"made{number}", f"moved{number}")
    os.write(1, b"%d\\n" % number)
"""
SIZE = 300_000
LOOK = """
import os, sys
size = int(sys.argv[1])
for number in range(40):
    name = f"file{number}" if os.path.exists(f"file{number}") else "other"
    with open(name, "rb") as file:
        content = file.read()
    print(len(content) == size and content[20:] == b"x" * (size - 20), content[:20].decode())
"""


@pytest.mark.parametrize("kind", ["bind", "overlay", "cow"])
@pytest.mark.parametrize("after", [1, 60])
def test_what_is_on_disk_is_whole_when_the_supervisor_is_killed(
    bench: Bench, engine: str, kind: str, after: int
) -> None:
    """Each file is in its old state or its new one: a copy that was not finished is not taken for one."""
    bench.fresh()
    with KINDS[kind].site(engine) as site:
        assert site.below is not None
        for number in range(40):
            (site.below / f"file{number}").write_bytes(b"x" * SIZE)
        process = subprocess.Popen(
            ["sh", "-c", 'cd "$0" && exec "$@"', site.directory, *site.words, sys.executable, "-c", CHANGING],
            env=bench.surroundings(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(after)]
        process.kill()
        acknowledged += [int(line) for line in process.stdout.read().split()]
        process.wait()
        last = acknowledged[-1]
        look = [*site.words, sys.executable, "-c", LOOK, str(SIZE)]
        found = finish(subprocess.Popen(
            ["sh", "-c", 'cd "$0" && exec "$@"', site.directory, *look],
            env=bench.surroundings(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ))  # fmt: skip
    for left in bench.temporary.glob("diorama-*"):
        shutil.rmtree(left)  # a supervisor that is killed cannot
    assert found.stderr == ""
    whole, starts = zip(*(line.split() for line in found.lines), strict=True)
    assert whole == ("True",) * 40
    for number in range(max(0, last - 39), last + 1):
        assert int(starts[number % 40]) >= number
