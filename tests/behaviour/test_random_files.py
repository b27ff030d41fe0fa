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
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behaviour.operations import data_of
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


PREPARED = 200
"""How many examples find something below: then the view begins anew."""
FIRST: list[Operation] = [
    [0, "open", 0, "a", os.O_RDWR | os.O_CREAT, 0o644],
    [0, "pwrite", 0, 0, 20_000, 1],
    [0, "mkdir", "d", 0o755],
    [0, "open", 1, "d/a", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600],
    [0, "write", 1, 5000, 2],
    [0, "symlink", "d", "link"],
]
"""With what each example begins, where nothing lies below it."""
OPENED: list[Operation] = [
    [0, "open", 0, "a", os.O_RDWR, 0o644],
    [0, "open", 1, "d/a", os.O_RDWR | os.O_APPEND, 0o600],
]
"""With what the others begin."""
FOUND: list[list[Operation]] = [
    [[0, "unlink", "d/a"], [0, "mkdir", "d/a", 0o4711]],
    [[0, "open", 0, "link", os.O_NOFOLLOW | os.O_DIRECTORY, 0o600]],
]
"""What once came to another."""
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
    one("copy", slots, slots, offsets, offsets, lengths),
    one("sendfile", slots, slots, offsets, lengths),
    one("map", slots, st.sampled_from([4096, 10_000]), st.booleans()),
    one("peek", slots, st.integers(0, 9000), lengths),
    one("unmap", slots),
    one("dup", slots, slots),
    one("close", slots),
    one("fsync", slots),
    one("fdatasync", slots),
    one("fstat", slots),
    one("fchmod", slots, modes),
]
LOCKS = [
    one("lock", slots, st.integers(0, 2), st.integers(0, 100), st.integers(0, 100)),
    one("flock", slots, st.sampled_from([1, 2, 8])),
]
POKE = one("poke", slots, st.integers(0, 9000), lengths, byte)
POKE_STAMPED = one("poke_stamped", slots, st.integers(0, 9000), lengths, byte)
SIZING = [one("ftruncate", slots, sizes), one("truncate", names, sizes)]
RESIZING = [one("resize_open", slots, sizes), one("resize", names, sizes)]
NAMES = [
    one("rename", names, names, st.sampled_from([0, 0, 1, 2])),
    one("link", names, names),
    one("unlink", names),
    one("symlink", st.sampled_from(["a", "d", "../b", "none", "link"]), names),
    one("readlink", names),
    one("mkdir", names, modes),
    one("mkfifo", names, modes),
    one("rmdir", names),
    # Not of the current directory: one that may not be searched is a known gap of notifications.
    one("chmod", names.filter(lambda name: name != "."), modes),
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
    holes: bool = False
    locks: bool = True
    links: bool = True
    stamps_maps: bool = True
    stamps_sizes: bool = True

    def operations(self) -> st.SearchStrategy[list[Operation]]:
        sizing = SIZING if self.stamps_sizes else RESIZING
        sizing = [*sizing, POKE if self.stamps_maps else POKE_STAMPED]
        kinds = [OPENING, OPENING, OPENING, *CONTENT, *sizing, allocation(*self.allocations), *NAMES]
        each = st.one_of(kinds + HOLES * self.holes + LOCKS * self.locks)
        # Lists of any size are mostly short.
        return st.integers(1, 60).flatmap(lambda size: st.lists(each, min_size=size, max_size=size))


LIKE_EXT4 = Likeness(holes=True)
"""Where ext4 sees holes depends on what is in its caches: only the same file has them in the same places."""
MEMORY = Likeness(allocations=(0, KEEP_SIZE, PUNCH | KEEP_SIZE), stamps_maps=False)
"""Files are memfds, as on tmpfs: no ZERO_RANGE, COLLAPSE_RANGE and INSERT_RANGE, and the times of one that is
written through a mapping stay."""

TMPFS = replace(MEMORY, stamps_sizes=False)
"""A file of tmpfs that is truncated to the size that it has keeps its time."""

LAYERS = Likeness(links=False, locks=False)
"""Of a file below that has several names, the one that is changed becomes another file, as in overlayfs.  To
who has it open for reading it is another too, and his locks concern nobody."""

LIKENESSES = {"bind": LIKE_EXT4, "tmp": TMPFS, "memory": MEMORY, "overlay": LAYERS, "cow": LAYERS}


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
        self.process.communicate(timeout=50)
        assert self.process.returncode == 0
        assert self.errors.read_text() == ""


class Pair:
    """One natively, one in a view of a kind."""

    def __init__(self, kind: str, engine: str, place: Path) -> None:
        self.count = 0
        self._likeness = LIKENESSES[kind]
        self._sites = ((KINDS["native"], ""), (KINDS[kind], engine))
        self._place = place
        self._doers: list[Doer] = []
        self._ending = ExitStack()

    def compare(self, operations: list[Operation]) -> None:
        """Do the same on both sides, in a directory of its own."""
        if self.count % PREPARED == 0:
            self._begin()
        asked = [self._ask(doer, operations) for doer in self._doers]
        found = [doer.hear() for doer in self._doers]
        for doer in self._doers:
            doer.ask([[1, "end"]] * _has_two(operations) + [[0, "leave", self._directory(doer)]])
        left = [doer.hear()[-1] for doer in self._doers]
        self.count += 1
        for operation, native, ours in zip(asked[0], *found, strict=True):
            assert (operation, ours) == (operation, native)
        assert left[0] == left[1]

    def close(self) -> None:
        """End both."""
        self._ending.close()

    def _begin(self) -> None:
        self.close()
        sites = [self._ending.enter_context(kind.site(engine)) for kind, engine in self._sites]
        self._has_below = all(site.below is not None for site in sites)
        for site in sites if self._has_below else []:
            assert site.below is not None
            for number in range(PREPARED):
                prepare(site.below / str(number), linked=self._likeness.links)
        self._doers = [Doer(site, self._place / f"errors{at}") for at, site in enumerate(sites)]
        for doer in self._doers:
            self._ending.callback(doer.close)

    def _ask(self, doer: Doer, operations: list[Operation]) -> list[Operation]:
        directory = self._directory(doer)
        both: list[Operation] = [[1, "begin", directory], *OTHERS] if _has_two(operations) else []
        first = OPENED if self._has_below else FIRST
        asked = [[0, "begin", directory], *first, *both, *operations, [0, "tree"]]
        doer.ask(asked)
        return asked

    def _directory(self, doer: Doer) -> str:
        return str(doer.site.directory / str(self.count % PREPARED))


def _has_two(operations: list[Operation]) -> bool:
    return any(operation[0] for operation in operations)


def prepare(directory: Path, *, linked: bool) -> None:
    """What `FIRST` makes, and something more."""
    (directory / "d").mkdir(parents=True)
    (directory / "a").write_bytes(data_of(20_000, 1))
    (directory / "d/a").write_bytes(data_of(5000, 2))
    (directory / "d/b").touch(0o600)
    (directory / "link").symlink_to("d")
    if linked:
        os.link(directory / "a", directory / "c")


@pytest.fixture
def pair(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> Iterator[Pair]:
    found = Pair(request.param, engine, tmp_path)
    yield found
    found.close()


@pytest.mark.slow
@pytest.mark.timeout(120 + 2 * SECONDS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("pair", "likeness"), LIKENESSES.items(), ids=LIKENESSES, indirect=["pair"])
def test_random_operations_come_to_the_same(pair: Pair, likeness: Likeness) -> None:
    @given(likeness.operations())
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)
    def run(operations: list[Operation]) -> None:
        pair.compare(operations)

    until = time.monotonic() + SECONDS
    for operations in FOUND:
        pair.compare(operations)
    run()
    while time.monotonic() < until:
        run()
