"""Harness: run a command natively and in a view, within a time limit, and find what it leaves behind.

The test process makes itself the reaper of orphans, so whatever a command leaves running, the
supervisor included, ends up as its child and can't hide: not by a new session, not by two forks, not by
an environment of its own.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from diorama.engine.choice import GUARDIANS, NOTIFY
from engines import needs_notify

PR_SET_CHILD_SUBREAPER = 36
DIORAMA = (sys.executable, "-P", "-m", "diorama")
MODULES = Path(__file__).parent / "modules"

# `trace` observes, which takes guardians; so do these options, and who names an engine wants that one.
HANDLING = {"--module", "--mount", "--net", "--root", "--grow", "--user", "--hostname", "--cpus", "--clock"}
ONE_ENGINE = {"trace", "--engine", "--guardians", "--force", "--no-seccomp"}

Argv = Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did: its two outputs and its status, as a shell counts it."""

    stdout: str
    stderr: str
    status: int

    @property
    def lines(self) -> list[str]:
        """The lines of the standard output."""
        return self.stdout.splitlines()


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run a command in a view: the words that stand before it."""

    name: str
    words: tuple[str, ...]

    def __call__(self, argv: Argv) -> list[str]:
        return [*DIORAMA, *self.words, "--", *map(str, argv)]

    def on(self, engine: str) -> Way:
        """The same with one engine, whatever the view would take by itself."""
        return Way(f"{self.name}-{engine}", (self.words[0], "--engine", engine, *self.words[1:]))

    @property
    def has_both_engines(self) -> bool:
        """Whether something is handled, and nothing is asked for that one engine only can do."""
        words = set(self.words)
        return bool(words & HANDLING) and not words & ONE_ENGINE

    def variants(self) -> list[Way]:
        """This way once, or with each engine."""
        return [self.on(GUARDIANS), self.on(NOTIFY)] if self.has_both_engines else [self]


def run_with(*options: str, module: str | Path | None = None) -> Way:
    """`diorama run` with these options, and a module by its path or its name among the tests' own."""
    if module is None:
        return Way(" ".join(options) or "empty", ("run", *options))
    path = module if isinstance(module, Path) else MODULES / f"{module}.py"
    return Way(" ".join((path.stem, *options)), ("run", *options, "--module", str(path)))


def each_way(*ways: Way) -> pytest.MarkDecorator:
    """A decorator: run a test with each `way`, and those that can with each engine."""
    found = [variant for way in ways for variant in way.variants()]
    marks = [needs_notify if NOTIFY in way.words else () for way in found]
    return pytest.mark.parametrize(
        "way", [pytest.param(way, id=way.name, marks=mark) for way, mark in zip(found, marks, strict=True)]
    )


TRACE = Way("trace", ("trace", "-o", "/dev/null"))
EMPTY = run_with()


@dataclass(slots=True)
class Bench:
    """The place where commands run: an empty directory each time, always at the same path."""

    directory: Path
    prepare: Callable[[Path], None] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def work(self) -> Path:
        """The commands' current directory."""
        return self.directory / "work"

    @property
    def temporary(self) -> Path:
        """Where temporary files go, which must be empty in the end."""
        return self.directory / "temporary"

    def fresh(self) -> None:
        """Lay the directories anew."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.temporary.mkdir(exist_ok=True)
        if self.prepare:
            self.prepare(self.work)

    def surroundings(self) -> dict[str, str]:
        """The environment: as little of ours as the interpreter needs."""
        kept = {name: os.environ[name] for name in ("PYTHONPATH", "JAVA_HOME") if name in os.environ}
        return kept | {
            "PATH": searchable_path(),
            "HOME": str(self.work),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "TMPDIR": str(self.temporary),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.environment,
        }

    def native(self, argv: Argv, *, stdin: str = "", limit: float = 40) -> Outcome:
        """Run a command as it is."""
        self.fresh()
        return finish(self.start([str(word) for word in argv]), stdin, limit)

    def inside(self, way: Way, argv: Argv, *, stdin: str = "", limit: float = 50) -> Outcome:
        """Run a command in a view."""
        self.fresh()
        return finish(self.start(way(argv)), stdin, limit)

    def start(self, argv: list[str], **options: object) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            argv,
            **({"cwd": self.work, "env": self.surroundings(), "start_new_session": True} | pipes | options),
        )
        self.started.append(process)
        return process

    def same(self, way: Way, argv: Argv, *, stdin: str = "", limit: float = 50) -> Outcome:
        """Run a command both ways, demand the same outputs and status, and return them."""
        expected = self.native(argv, stdin=stdin)
        found = self.inside(way, argv, stdin=stdin, limit=limit)
        assert found == expected
        return found


def needs_mounting() -> None:
    """Skip unless a root may make mounts of the kernel's, in a namespace of his own."""
    made = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False, timeout=50)
    if made.returncode:
        pytest.skip("needs unshare(1) and CAP_SYS_ADMIN")


def searchable_path() -> str:
    """The directories of PATH that this user may search; another would make "not found" a "not permitted"."""
    return ":".join(place for place in os.get_exec_path() if os.access(place, os.X_OK))


def finish(process: subprocess.Popen[bytes], stdin: str = "", limit: float = 50) -> Outcome:
    """Wait for a process; after the limit kill it and all that it made."""
    try:
        stdout, stderr = process.communicate(stdin.encode(), timeout=limit)
    except subprocess.TimeoutExpired as late:
        end_children()
        stdout, stderr = process.communicate()
        shown = (late.stdout or stdout or b"")[-2000:], (late.stderr or stderr or b"")[-2000:]
        raise AssertionError(f"not done after {limit} s: {process.args}; so far: {shown}") from None
    status = process.returncode
    texts = (text.decode(errors="replace") if text else "" for text in (stdout, stderr))
    return Outcome(next(texts), next(texts), status if status >= 0 else 128 - status)


def adopt_orphans() -> None:
    """Become the parent of all that our children leave behind."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def children_of(pid: int | str = "self") -> list[int]:
    """The children of all threads of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            continue
    return found


def state_of(pid: int) -> str:
    """The state letter of a process, Z when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def describe(pid: int) -> str:
    """A process in one line, for a failure."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        words = "?"
    return f"{pid} ({state_of(pid)}) {words}"


def reap_orphans() -> list[int]:
    """Collect the children that have ended; return those that live."""
    alive: list[int] = []
    for pid in children_of():
        if state_of(pid) != "Z":
            alive.append(pid)
            continue
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue
    return alive


def left_alive(patience: float = 3.0) -> list[str]:
    """Descriptions of the children that are still there after a moment of patience."""
    deadline = time.monotonic() + patience
    while (alive := reap_orphans()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [describe(pid) for pid in alive]


def end_children(patience: float = 5.0) -> None:
    """Kill all descendants, as far down as there are any."""
    deadline = time.monotonic() + patience
    while (alive := [pid for pid in children_of() if state_of(pid) != "Z"]) and time.monotonic() < deadline:
        for pid in alive:
            for descendant in [pid, *children_of(pid)]:
                try:
                    os.kill(descendant, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        time.sleep(0.02)
