"""Fixtures of the behaviour tests; each test ends with a search for what its commands left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from behaviour.harness import Bench, adopt_orphans, end_children, left_alive
from behaviour.programs import Programs
from behaviour.served import Served, serve
from diorama.dispatch.files.standins import StandIns
from diorama.view.mounts import Place

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def programs(pytestconfig: pytest.Config) -> Programs:
    """The compiled programs, kept from run to run."""
    cache = pytestconfig.cache
    assert cache is not None
    return Programs(cache.mkdir("programs"))


@pytest.fixture(scope="session", autouse=True)
def reaper() -> None:
    adopt_orphans()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A place to run commands, which must be left without processes and temporary files."""
    place = Bench(tmp_path)
    place.fresh()
    shared = in_shared_memory()
    yield place
    alive = left_alive()
    end_children()
    files = [str(path.relative_to(place.temporary)) for path in place.temporary.rglob("*")]
    assert not alive, f"still running: {alive}"
    assert not files, f"temporary files left: {files}"
    assert not left_in_shared_memory(place, shared)


@pytest.fixture
def served(engine: str, bench: Bench) -> Iterator[Served]:
    """A FUSE server, and a view of what it serves."""
    yield from serve(engine, bench)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The paths of directories that Python has opened, or entered."""
    paths = list[bytes]()
    really = StandIns.directory

    def directory(self: StandIns, place: Place) -> bytes:
        paths.append(place.path)
        return really(self, place)

    monkeypatch.setattr(StandIns, "directory", directory)
    return paths


def left_in_shared_memory(bench: Bench, before: set[Path]) -> set[str]:
    """What this test has left there.  Of who was killed the next view removes it, and else we do."""
    killed = {process.pid for process in bench.started if process.poll() == -signal.SIGKILL}
    ours = {process.pid for process in bench.started} | {os.getpid()}
    left = {path.name for path in in_shared_memory() - before if path.is_file()}
    for path in in_shared_memory():
        supervisor = supervisor_of(path)
        if supervisor in killed:
            shutil.rmtree(path, ignore_errors=True)
        elif supervisor in ours:
            left.add(path.name)
    return left


def in_shared_memory() -> set[Path]:
    return set(SHARED_MEMORY.glob("*diorama*"))


def supervisor_of(path: Path) -> int | None:
    """Whose a private directory is that nobody has any more; None of what is something else."""
    try:
        with (path / "supervisor").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return int(file.read() or 0)
    except (OSError, ValueError):
        return None
