"""Fixtures of the behaviour tests; each test ends with a search for what its commands left behind."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from behaviour.harness import Bench, adopt_orphans, end_children, left_alive
from behaviour.programs import Programs
from behaviour.served import Served, serve

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
    shared = ours_in_shared_memory()
    yield place
    alive = left_alive()
    end_children()
    files = [str(path.relative_to(place.temporary)) for path in place.temporary.rglob("*")]
    assert not alive, f"still running: {alive}"
    assert not files, f"temporary files left: {files}"
    assert not left_in_shared_memory(shared)


@pytest.fixture
def served(engine: str, bench: Bench) -> Iterator[Served]:
    """A FUSE server, and a view of what it serves."""
    yield from serve(engine, bench)


def ours_in_shared_memory() -> set[str]:
    return {path.name for path in SHARED_MEMORY.glob("*diorama*") if not is_in_use(path)}


def left_in_shared_memory(before: set[str]) -> set[str]:
    """What has come and stays: views of other tests come and go, and are seen while they do."""
    left = ours_in_shared_memory() - before
    deadline = time.monotonic() + 5
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left &= ours_in_shared_memory()
    return left


def is_in_use(path: Path) -> bool:
    """Whether it belongs to a view that runs at the same time, or is about to."""
    if not path.is_dir():
        return False
    try:
        with (path / "supervisor").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
