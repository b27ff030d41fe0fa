"""Looking: what a thread that is in the kernel does there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.engine.looking import look_of

pytestmark = pytest.mark.timeout(60)

_NUMBERS = NUMBERS[Abi.native()[0].title]
_CALLS = {str(_NUMBERS[name]) for name in ("openat", "read")}


@contextmanager
def blocked(call: Callable[[], object], release: Callable[[], object]) -> Generator[int]:
    """A thread that is in a call until it is released: its id."""
    thread = threading.Thread(target=call)
    thread.start()
    try:
        assert thread.native_id is not None
        while _call_of(thread.native_id) not in _CALLS:
            time.sleep(0.001)
        yield thread.native_id
    finally:
        release()
        thread.join()


def _call_of(thread: int) -> str:
    return Path(f"/proc/self/task/{thread}/syscall").read_text().partition(" ")[0]


def opens(fifo: Path, flags: int) -> Callable[[], None]:
    return lambda: os.close(os.open(fifo, flags))


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def test_who_opens_what_is_there_looks(fifo: Path) -> None:
    with blocked(opens(fifo, os.O_RDONLY), opens(fifo, os.O_WRONLY)) as thread:
        look = look_of(thread)
        assert look is not None
        assert look_of(thread) == look


@pytest.mark.parametrize("flag", [os.O_CREAT, os.O_TRUNC])
def test_who_opens_to_make_or_empty_something_does_not(fifo: Path, flag: int) -> None:
    with blocked(opens(fifo, os.O_WRONLY | flag), opens(fifo, os.O_RDONLY)) as thread:
        assert look_of(thread) is None


def test_who_waits_for_data_does_not_look() -> None:
    reading, writing = os.pipe()
    with blocked(lambda: os.read(reading, 1), lambda: os.write(writing, b"x")) as thread:
        assert look_of(thread) is None
    os.close(reading)
    os.close(writing)


def test_who_runs_or_is_gone_is_not_in_the_kernel() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert thread.native_id is not None
    assert look_of(thread.native_id) is None
    assert look_of(threading.get_native_id()) is None  # what it does is read that file
