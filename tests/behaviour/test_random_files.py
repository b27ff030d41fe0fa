"""Random operations on files come to the same in a mount as on the host's own file system.

In the style of fsx and fsstress: two programs, one natively and one in a view, do the same operations, and
tell the same results, and the same trees in the end.  With DIORAMA_RANDOM_SECONDS a test goes on for so long.

What differs by right is not asked for; each kind of mount says what.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines import ENGINES
from tools.conformance.kinds import KINDS, Site

WORKER = Path(__file__).parent / "operations.py"
SECONDS = float(os.environ.get("DIORAMA_RANDOM_SECONDS", "0"))
EXAMPLES = 500 if SECONDS else 40

Operation = list[Any]

names = st.sampled_from(
    ["a", "b", "c", "d", "d/a", "d/b", "e", "e/a", "link", "link/a", "d/../b", ".", "none/a"]
)
slots = st.sampled_from([0, 0, 1, 1, 2])
who = st.sampled_from([0, 0, 0, 1])
offsets = st.one_of(
    st.sampled_from([0, 1, 4095, 4096, 4097, 8192, 65536]), st.integers(0, 20_000), st.sampled_from([-1])
)
lengths = st.one_of(st.sampled_from([0, 1, 4096, 8192]), st.integers(0, 20_000))
sizes = st.one_of(st.sampled_from([0, 1, 4096, 10_000]), st.integers(0, 30_000))
byte = st.integers(0, 250)
modes = st.sampled_from([0o600, 0o644, 0o755, 0o400, 0o000, 0o2755, 0o4711, 0o1777])
keys = st.sampled_from(["user.one", "user.two", "bad"])
access = st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR])
extra = st.sets(
    st.sampled_from(
        [os.O_CREAT, os.O_CREAT, os.O_TRUNC, os.O_APPEND, os.O_EXCL, os.O_NOFOLLOW, os.O_DIRECTORY]
    ),
    max_size=3,
)
flags = st.builds(lambda base, more: base | sum(more), access, extra) | st.just(os.O_RDWR | os.O_CREAT)
KEEP_SIZE, PUNCH, COLLAPSE, ZERO, INSERT = 1, 2, 8, 16, 32


def one(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Operation]:
    return st.tuples(who, st.just(name), *arguments).map(list)


def allocation(*manners: int) -> st.SearchStrategy[Operation]:
    return one("fallocate", slots, st.sampled_from(manners), offsets, lengths)


FIRST: list[Operation] = [
    [0, "open", 0, "a", os.O_RDWR | os.O_CREAT, 0o644],
    [0, "pwrite", 0, 0, 20_000, 1],
    [0, "mkdir", "d", 0o755],
    [0, "open", 1, "d/a", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600],
    [0, "write", 1, 5000, 2],
    [0, "symlink", "d", "link"],
]
"""With what each example begins."""
OTHERS: list[Operation] = [
    [1, "open", 0, "a", os.O_RDWR, 0],
    [1, "open", 1, "b", os.O_RDWR | os.O_CREAT, 0o644],
]

OPENING = one("open", slots, names, flags, modes)
CONTENT = [
    one("pread", slots, offsets, lengths),
    one("pwrite", slots, offsets, lengths, byte),
    one("read", slots, lengths),
    one("write", slots, lengths, byte),
    one("lseek", slots, offsets, st.integers(0, 2)),
    one("ftruncate", slots, sizes),
    one("truncate", names, sizes),
    one("copy", slots, slots, offsets, offsets, lengths),
    one("sendfile", slots, slots, offsets, lengths),
    one("map", slots, st.sampled_from([4096, 10_000]), st.booleans()),
    one("poke", slots, st.integers(0, 9000), lengths, byte),
    one("peek", slots, st.integers(0, 9000), lengths),
    one("unmap", slots),
    one("dup", slots, slots),
    one("close", slots),
    one("fsync", slots),
    one("fdatasync", slots),
    one("fstat", slots),
    one("fchmod", slots, modes),
    one("lock", slots, st.integers(0, 2), st.integers(0, 100), st.integers(0, 100)),
    one("flock", slots, st.sampled_from([1, 2, 8])),
]
NAMES = [
    one("rename", names, names, st.sampled_from([0, 0, 1, 2])),
    one("link", names, names),
    one("unlink", names),
    one("symlink", st.sampled_from(["a", "d", "../b", "none", "link"]), names),
    one("readlink", names),
    one("mkdir", names, modes),
    one("mkfifo", names, modes),
    one("rmdir", names),
    one("chmod", names, modes),
    one("utimens", names, st.integers(0, 10**9), st.sampled_from([0, 1, 999_999_999])),
    one("stat", names),
    one("lstat", names),
    one("access", names, st.integers(0, 7)),
    one("listdir", names),
    one("scan", names),
    one("same", names, names),
    one("setxattr", names, keys, st.sampled_from(["", "value", "v" * 300]), st.integers(0, 2)),
    one("getxattr", names, keys),
    one("listxattr", names),
    one("removexattr", names, keys),
]
HOLES = [one("lseek", slots, offsets, st.integers(3, 4))]


@dataclass(frozen=True)
class Likeness:
    """How far a kind of mount is like ext4."""

    allocations: tuple[int, ...] = (0, KEEP_SIZE, PUNCH | KEEP_SIZE, ZERO, ZERO | KEEP_SIZE, COLLAPSE, INSERT)
    holes: bool = True

    def operations(self) -> st.SearchStrategy[list[Operation]]:
        kinds = [OPENING, OPENING, OPENING, *CONTENT, allocation(*self.allocations), *NAMES]
        each = st.one_of(kinds + HOLES * self.holes)
        # Lists of any size are mostly short.
        return st.integers(1, 60).flatmap(lambda size: st.lists(each, min_size=size, max_size=size))


LIKE_EXT4 = Likeness()
LIKENESSES = {"bind": LIKE_EXT4, "beside": LIKE_EXT4}


@dataclass
class Doer:
    """A program that does operations at a site."""

    site: Site
    errors: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*self.site.words, sys.executable, "-S", "-E", str(WORKER)],
                cwd=self.site.directory,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def ask(self, operations: list[Operation]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(operations).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> list[Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"ended: {self.process.wait(5)}; {self.errors.read_text()[-2000:]}"
        found: list[Any] = json.loads(line)
        return found

    def close(self) -> None:
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0
        assert self.errors.read_text() == ""


@dataclass
class Pair:
    """One natively, one in a view."""

    native: Doer
    inside: Doer
    count: int = 0

    def compare(self, operations: list[Operation]) -> None:
        self.count += 1
        asked: list[list[Operation]] = []
        for doer in (self.native, self.inside):
            directory = str(doer.site.directory / f"{self.count}")
            both = [[1, "begin", directory], *OTHERS] if any(operation[0] for operation in operations) else []
            asked.append([[0, "begin", directory], *FIRST, *both, *operations, [0, "tree"]])
            doer.ask(asked[-1])
        expected, found = self.native.hear(), self.inside.hear()
        for doer, done in zip((self.native, self.inside), asked, strict=True):
            last = [[1, "end"]] if any(operation[0] for operation in done) else []
            doer.ask([*last, [0, "leave", str(doer.site.directory / f"{self.count}")]])
        assert self.native.hear()[-1] == self.inside.hear()[-1]
        for operation, native, ours in zip(asked[0], expected, found, strict=True):
            assert (operation, ours) == (operation, native)


@pytest.fixture
def pair(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> Iterator[Pair]:
    kind: str = request.param
    with KINDS["native"].site("") as outside, KINDS[kind].site(engine) as inside:
        found = Pair(Doer(outside, tmp_path / "native"), Doer(inside, tmp_path / "inside"))
        yield found
        found.native.close()
        found.inside.close()


@pytest.mark.slow
@pytest.mark.timeout(120 + 2 * SECONDS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("pair", "likeness"), LIKENESSES.items(), ids=LIKENESSES, indirect=["pair"]
)
def test_random_operations_come_to_the_same(pair: Pair, likeness: Likeness) -> None:
    @given(likeness.operations())
    @settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False
    )
    def run(operations: list[Operation]) -> None:
        pair.compare(operations)

    until = time.monotonic() + SECONDS
    run()
    while time.monotonic() < until:
        run()
