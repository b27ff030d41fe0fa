"""Pieces of a file are fetched when they are needed, and never read before."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diorama.dispatch.files.pieces import CHUNK, Budget, Pieces

SIZE = 10 * CHUNK + 1234
CONTENT = random.Random(7).randbytes(SIZE)
MANY = 100 * CHUNK


class Backend:
    """A file that counts what is fetched of it."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.asked: list[tuple[int, int]] = []
        self.hook: Callable[[int, int], None] = lambda _offset, _size: None

    def fetch(self, offset: int, size: int) -> bytes:
        self.asked.append((offset, size))
        self.hook(offset, size)
        return self.content[offset : offset + size]

    @property
    def fetched(self) -> int:
        return sum(size for _, size in self.asked)


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def fd() -> Iterator[int]:
    number = os.memfd_create("pieces")
    yield number
    os.close(number)


def allocated(fd: int) -> int:
    return os.fstat(fd).st_blocks * 512


def test_only_what_is_held_is_fetched(backend: Backend, fd: int) -> None:
    pieces = Pieces(fd, SIZE, backend.fetch, Budget())
    assert os.fstat(fd).st_size == SIZE
    start = 5 * CHUNK + 10
    with pieces.hold(start, start + 100):
        assert os.pread(fd, 100, start) == CONTENT[start : start + 100]
    assert backend.asked == [(5 * CHUNK, CHUNK)]
    with pieces.hold(start, start + 100):
        assert backend.asked == [(5 * CHUNK, CHUNK)]
    with pieces.hold(SIZE - 1, SIZE + 100):
        assert os.pread(fd, 100, SIZE - 1) == CONTENT[-1:]
    with pieces.hold(SIZE + 5, SIZE + 6), pieces.hold(3, 3):
        assert len(backend.asked) == 2


def test_reading_on_fetches_ahead(backend: Backend, fd: int) -> None:
    pieces = Pieces(fd, SIZE, backend.fetch, Budget())
    for start in range(0, SIZE, 10_000):
        with pieces.hold(start, start + 10_000):
            assert os.pread(fd, 10_000, start) == CONTENT[start : start + 10_000]
    assert len(backend.asked) < 6
    assert backend.fetched == SIZE


@pytest.mark.parametrize("in_order", [True, False])
def test_what_is_not_held_stays_within_the_budget(fd: int, *, in_order: bool) -> None:
    room = 4 * CHUNK
    pieces = Pieces(fd, MANY, lambda _offset, size: b"x" * size, Budget(room))
    order = list(range(100))
    if not in_order:
        random.Random(1).shuffle(order)
    for chunk in order:
        with pieces.hold(chunk * CHUNK, chunk * CHUNK + 1):
            assert os.pread(fd, CHUNK, chunk * CHUNK) == b"x" * CHUNK
    assert allocated(fd) <= room


def test_what_is_held_is_not_punched_out(backend: Backend, fd: int) -> None:
    pieces = Pieces(fd, SIZE, backend.fetch, Budget(CHUNK))
    with pieces.hold(0, 5 * CHUNK):
        with pieces.hold(7 * CHUNK, 8 * CHUNK):
            assert os.pread(fd, 5 * CHUNK, 0) == CONTENT[: 5 * CHUNK]
        assert os.pread(fd, 5 * CHUNK, 0) == CONTENT[: 5 * CHUNK]
    assert allocated(fd) <= CHUNK


def test_what_is_kept_stays(backend: Backend, fd: int) -> None:
    budget = Budget(CHUNK, 6 * CHUNK)
    pieces = Pieces(fd, SIZE, backend.fetch, budget)
    pieces.keep(CHUNK, 3 * CHUNK)
    for chunk in range(5, 10):
        with pieces.hold(chunk * CHUNK, (chunk + 1) * CHUNK):
            pass
    assert os.pread(fd, 2 * CHUNK, CHUNK) == CONTENT[CHUNK : 3 * CHUNK]
    assert allocated(fd) <= 3 * CHUNK
    with pytest.raises(OSError, match="Cannot allocate"):
        pieces.keep(0, SIZE)
    pieces.keep(CHUNK, 3 * CHUNK)
    assert not pieces.is_complete
    pieces.release()
    assert budget.kept == 0


@pytest.mark.parametrize("first", [1, 4])
def test_what_ends_while_it_is_to_be_kept_is_not_waited_for(fd: int, first: int) -> None:
    left = CONTENT[: 2 * CHUNK + 10]
    backend, budget = Backend(), Budget()
    pieces = Pieces(fd, SIZE, backend.fetch, budget, shrinks=True)

    def shorten(_offset: int, _size: int) -> None:
        backend.hook = lambda _offset, _size: None
        backend.content = left
        pieces.renew(len(left))

    backend.hook = shorten
    pieces.keep(first * CHUNK, 7 * CHUNK)
    assert os.pread(fd, SIZE, first * CHUNK) == left[first * CHUNK :]
    assert not pieces.is_complete
    assert budget.kept == max(3 - first, 0)


def test_a_complete_file_is_all_there(backend: Backend, fd: int) -> None:
    pieces = Pieces(fd, SIZE, backend.fetch, Budget(CHUNK))
    pieces.complete()
    assert pieces.is_complete
    assert os.pread(fd, SIZE, 0) == CONTENT


def test_a_failure_is_told_and_the_next_one_tries_again(backend: Backend, fd: int) -> None:
    pieces = Pieces(fd, SIZE, backend.fetch, Budget())

    def fail(_offset: int, _size: int) -> None:
        raise ConnectionResetError(104, "gone")

    backend.hook = fail
    with pytest.raises(ConnectionResetError), pieces.hold(0, 10):
        raise AssertionError("nothing is there")
    backend.hook = lambda _offset, _size: None
    with pieces.hold(0, 10):
        assert os.pread(fd, 10, 0) == CONTENT[:10]
    assert not pieces.pins


def test_a_file_that_ends_too_early_is_an_error(fd: int) -> None:
    backend = Backend(CONTENT[: SIZE // 2])
    pieces = Pieces(fd, SIZE, backend.fetch, Budget())
    with pytest.raises(OSError, match="Input/output error"), pieces.hold(0, SIZE):
        raise AssertionError("half of it is missing")


def test_short_answers_are_asked_on(fd: int) -> None:
    pieces = Pieces(fd, SIZE, lambda offset, size: CONTENT[offset : offset + min(size, 100_000)], Budget())
    with pieces.hold(0, SIZE):
        assert os.pread(fd, SIZE, 0) == CONTENT


def test_two_who_want_the_same_fetch_it_once(backend: Backend, fd: int) -> None:
    pieces = Pieces(fd, SIZE, backend.fetch, Budget())
    entered, go_on = threading.Event(), threading.Event()

    def block(_offset: int, _size: int) -> None:
        entered.set()
        go_on.wait(50)

    backend.hook = block
    found: list[bytes] = []

    def read() -> None:
        with pieces.hold(0, 100):
            found.append(os.pread(fd, 100, 0))

    threads = [threading.Thread(target=read) for _ in range(3)]
    threads[0].start()
    assert entered.wait(50)
    for thread in threads[1:]:
        thread.start()
    # Somebody else's piece is fetched meanwhile.
    backend.hook = lambda _offset, _size: None
    with pieces.hold(9 * CHUNK, 9 * CHUNK + 1):
        assert os.pread(fd, 1, 9 * CHUNK) == CONTENT[9 * CHUNK : 9 * CHUNK + 1]
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert found == [CONTENT[:100]] * 3
    assert sum(offset == 0 for offset, _ in backend.asked) == 1


def test_who_gives_up_leaves_nothing_pinned(backend: Backend, fd: int) -> None:
    pieces = Pieces(fd, SIZE, backend.fetch, Budget())
    go_on = threading.Event()
    backend.hook = lambda _offset, _size: [go_on.wait(50)].clear()
    started: list[threading.Thread] = []

    def give_up(work: Callable[[], None]) -> None:
        started.append(threading.Thread(target=work))
        started[0].start()
        raise InterruptedError

    with pytest.raises(InterruptedError), pieces.hold(0, 100, give_up):
        raise AssertionError("nothing is there")
    assert pieces.pins
    go_on.set()
    started[0].join(10)
    assert not pieces.pins


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, SIZE + 100), st.integers(0, 3 * CHUNK), st.booleans()), max_size=30
    ),
    room=st.integers(0, 6),
)
def test_whatever_is_read_is_the_content(steps: list[tuple[int, int, bool]], room: int) -> None:
    fd = os.memfd_create("pieces")
    try:
        pieces = Pieces(fd, SIZE, Backend().fetch, Budget(room * CHUNK))
        for start, size, keeps in steps:
            if keeps:
                pieces.keep(start, start + size)
            with pieces.hold(start, start + size):
                assert os.pread(fd, size, start) == CONTENT[start : start + size]
            assert len(pieces._budget.cached) * CHUNK <= room * CHUNK
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [SIZE + CHUNK, SIZE, 3 * CHUNK + 5, 0])
def test_what_does_not_hold_any_more_is_fetched_again(backend: Backend, fd: int, size: int) -> None:
    """What is cached, what is kept, and what is being read just now."""
    pieces = Pieces(fd, SIZE, backend.fetch, Budget())
    pieces.keep(CHUNK, 2 * CHUNK)
    with pieces.hold(0, 1):
        pass
    with pieces.hold(2 * CHUNK, 3 * CHUNK):
        backend.content = random.Random(8).randbytes(size)
        pieces.renew(size)
    assert os.pread(fd, CHUNK, CHUNK) == backend.content[CHUNK : 2 * CHUNK]
    assert os.fstat(fd).st_size == size
    with pieces.hold(0, size):
        assert os.pread(fd, size + 1, 0) == backend.content


def test_what_is_being_fetched_when_it_does_not_hold_any_more(backend: Backend, fd: int) -> None:
    pieces = Pieces(fd, SIZE, backend.fetch, Budget())
    other = CONTENT[::-1]

    def change(_offset: int, _size: int) -> None:
        backend.hook = lambda _offset, _size: None
        pieces.renew(SIZE)

    backend.hook = change
    pieces.keep(0, 1)
    backend.content = other
    pieces.renew(SIZE)
    with pieces.hold(0, SIZE):
        assert os.pread(fd, SIZE, 0) == other


def test_a_size_that_nothing_can_have_costs_nothing(backend: Backend, fd: int) -> None:
    size = (1 << 63) - 1
    pieces = Pieces(fd, size, backend.fetch, Budget(), shrinks=True)
    with pytest.raises(OSError, match="Cannot allocate"):
        pieces.keep(0, size)
    with pytest.raises(OSError, match="too large"):
        pieces.complete()
    with pieces.hold(0, 10):
        assert os.pread(fd, 10, 0) == CONTENT[:10]


def test_a_file_that_has_become_shorter(backend: Backend, fd: int) -> None:
    """Where that is no error it ends there."""
    pieces = Pieces(fd, SIZE, backend.fetch, Budget(), shrinks=True)
    backend.content = CONTENT[: 2 * CHUNK + 7]
    with pieces.hold(CHUNK, SIZE):
        assert os.pread(fd, SIZE, 0)[CHUNK:] == backend.content[CHUNK:]
    assert pieces.size == os.fstat(fd).st_size == 2 * CHUNK + 7
    strict = Pieces(fd, SIZE, backend.fetch, Budget())
    with pytest.raises(OSError, match="too early"), strict.hold(0, SIZE):
        pass
