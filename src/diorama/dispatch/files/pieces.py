"""Pieces: a memfd of which parts are missing until somebody needs them.

The memfd of a large file has its full size and no content.  Who is about to read a range has it made
*present* first, chunk by chunk, and holds it meanwhile.  Chunks that nobody holds are a cache: beyond a
budget for the whole view the least recently used ones are punched out again.  What is mapped is *kept*,
since a program reads it without a call; a file that is complete is kept as a whole and needs no care.

Read here is what a file system gives, never the zeros of a hole: a fetch that fails, or gives less than there
should be, is the error of the call that needed it.

Locks: one for all pieces of a budget, never held while something is fetched.  Two who miss the same chunk
wait for the one fetch of it.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from diorama.abi.arch import Abi
from diorama.abi.fcntl import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE
from diorama.abi.numbers import NUMBERS
from diorama.engine.ourcall import make_call

__all__ = ["Budget", "Pieces"]

CHUNK: Final = 256 << 10
_ROOM: Final = 32 << 20
_ROOM_KEPT: Final = 1 << 30
_MAX_AHEAD: Final = 8
_MAX_RUN: Final = 16
_FALLOCATE: Final = NUMBERS[Abi.native()[0].title]["fallocate"]

Fetch = Callable[[int, int], bytes]
"""A piece of the file, by offset and size; shorter only at its end."""

Waiter = Callable[[Callable[[], None]], None]
"""Does what may take long; `OSError` when it is given up."""


def _here(work: Callable[[], None]) -> None:
    work()


class Budget:
    """How much may be present of all files of a view: `room` bytes of cache, `room_kept` mapped ones."""

    def __init__(self, room: int = _ROOM, room_kept: int = _ROOM_KEPT) -> None:
        self.room = room
        self.room_kept = room_kept
        self.changed = threading.Condition()
        self.cached: OrderedDict[tuple[Pieces, int], None] = OrderedDict()
        self.kept = 0

    def trim(self) -> None:
        """Punch out what there is too much of; with the lock held."""
        if len(self.cached) * CHUNK <= self.room:
            return
        for pieces, chunk in list(self.cached):
            if not pieces.pins[chunk]:
                pieces.punch(chunk)
                if len(self.cached) * CHUNK <= self.room:
                    return


class Pieces:
    """The missing and the present parts of one memfd; `fd`, open for writing, is its.

    What `shrinks` has become shorter when a fetch gives nothing; else that is an error.
    """

    def __init__(
        self, fd: int, size: int, fetch: Fetch, budget: Budget, *, shrinks: bool = False
    ) -> None:
        os.ftruncate(fd, size)
        self.fd = fd
        self.size = size
        self.pins: Counter[int] = Counter()
        self.position = threading.Lock()
        """Held while an offset of an open file is read, used and set."""
        self._fetch = fetch
        self._budget = budget
        self._shrinks = shrinks
        self._stale: set[int] = set()
        self._renewals = 0
        self._kept: set[int] = set()
        self._fetching: set[int] = set()
        self._next = 0
        self._ahead = 0
        self._count = -(-size // CHUNK)

    @property
    def is_complete(self) -> bool:
        """Whether nothing can be missing any more."""
        return len(self._kept) >= self._count

    @property
    def has_kept(self) -> bool:
        """Whether some of it is mapped."""
        return bool(self._kept)

    @contextmanager
    def hold(self, start: int, end: int, wait: Waiter = _here) -> Generator[None, None, None]:
        """Have a range present as long as the context lasts; `OSError` if it cannot be fetched."""
        chunks = self._chunks(start, end)
        with self._budget.changed:
            for chunk in chunks:
                self.pins[chunk] += 1
            missing = not all(self._is_present(chunk) for chunk in chunks)
        try:
            if missing:
                self._await(chunks, wait)
            yield
        finally:
            self._unpin(chunks)

    def keep(self, start: int, end: int, wait: Waiter = _here) -> None:
        """Have a range present for good; ENOMEM when that is too much for the view."""
        chunks = self._chunks(start, end)
        if len(chunks) * CHUNK > self._budget.room_kept + CHUNK:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))  # a server may claim any size
        with self._budget.changed:
            new = [chunk for chunk in chunks if chunk not in self._kept]
            if (self._budget.kept + len(new)) * CHUNK > self._budget.room_kept:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        self._keep(chunks, wait)

    def complete(self, wait: Waiter = _here) -> None:
        """Have all of it for good; EFBIG if this machine's memory has no room for it."""
        if self.size > _available() // 2:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        self._keep(self._chunks(0, self.size), wait)

    def empty(self) -> None:
        """Let there be nothing in it, so that nothing is missing."""
        with self._budget.changed:
            os.ftruncate(self.fd, 0)
            self.size = 0
            self._count = 0

    def renew(self, size: int) -> None:
        """What is here does not hold any more: it is fetched again, and has another size; `OSError`."""
        with self._budget.changed:
            self._resize(size)
            for _, chunk in [key for key in self._budget.cached if key[0] is self]:
                if not self.pins[chunk]:
                    self.punch(chunk)
            stale = self._fetching | {chunk for chunk, count in self.pins.items() if count}
            self._stale = {chunk for chunk in stale if chunk < self._count}
            self._renewals += 1
            kept = sorted(self._kept)
        for chunk in kept:
            self._store(chunk * CHUNK, self._fetch(chunk * CHUNK, CHUNK))

    def _resize(self, size: int) -> None:
        """Set the size; with the lock held."""
        os.ftruncate(self.fd, size)
        self.size, self._count = size, -(-size // CHUNK)
        self._stale = {chunk for chunk in self._stale if chunk < self._count}
        gone = [chunk for chunk in self._kept if chunk >= self._count]
        self._kept.difference_update(gone)
        self._budget.kept -= len(gone)

    def _store(self, start: int, data: bytes) -> int:
        """Write what was fetched, as far as the file goes; how much."""
        with self._budget.changed:
            return _write(self.fd, data[: max(self.size - start, 0)], start)

    def release(self) -> None:
        """Its part of the budget is not ours to count any more: it is complete, or nobody has it."""
        with self._budget.changed:
            for key in [key for key in self._budget.cached if key[0] is self]:
                del self._budget.cached[key]
            self._budget.kept -= len(self._kept)

    def _keep(self, chunks: range, wait: Waiter) -> None:
        todo = list(reversed(chunks))
        while todo:
            chunk = todo[-1]
            with self.hold(chunk * CHUNK, (chunk + 1) * CHUNK, wait), self._budget.changed:
                if chunk in self._stale:
                    continue
                todo.pop()
                if chunk >= self._count:
                    continue  # it has become shorter meanwhile
                self._budget.cached.pop((self, chunk), None)
                self._budget.kept += chunk not in self._kept
                self._kept.add(chunk)

    def punch(self, chunk: int) -> None:
        """Forget a chunk that nobody holds; with the lock held."""
        flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
        make_call(_FALLOCATE, self.fd, flags, chunk * CHUNK, CHUNK)
        del self._budget.cached[self, chunk]

    def _chunks(self, start: int, end: int) -> range:
        end = min(end, self.size)
        return range(start // CHUNK, -(-end // CHUNK)) if start < end else range(0)

    def _is_present(self, chunk: int) -> bool:
        if chunk in self._stale:
            return False
        if chunk in self._kept:
            return True
        if (self, chunk) not in self._budget.cached:
            return False
        self._budget.cached.move_to_end((self, chunk))
        return True

    def _unpin(self, chunks: range) -> None:
        with self._budget.changed:
            self.pins.subtract(chunks)
            for chunk in chunks:
                if not self.pins[chunk]:
                    del self.pins[chunk]
            self._budget.trim()

    def _await(self, chunks: range, wait: Waiter) -> None:
        """Make chunks present, which stay pinned until that has ended, even if the one who waits gives up."""
        with self._budget.changed:
            self.pins.update(chunks)

        def work() -> None:
            try:
                self._make_present(chunks)
            finally:
                self._unpin(chunks)

        wait(work)

    def _make_present(self, chunks: range) -> None:
        self._note_order(chunks)
        for chunk in chunks:
            run = self._claim(chunk, chunks.stop)
            if run:
                self._fill(run)

    def _note_order(self, chunks: range) -> None:
        """Who reads on where the last one stopped will go on: fetch more each time."""
        in_order = self._next - 1 <= chunks.start <= self._next
        self._ahead = min(max(self._ahead * 2, 1), _MAX_AHEAD) if in_order else 0
        self._next = chunks.stop

    def _claim(self, chunk: int, stop: int) -> range:
        """The missing chunks from this one on that are for us to fetch now; none if it is present."""
        budget = self._budget
        with budget.changed:
            while chunk in self._fetching:
                budget.changed.wait()
            last = min(chunk + _MAX_RUN, self._count, stop + self._ahead)
            end = chunk
            while end < last and end not in self._fetching and not self._is_present(end):
                end += 1
            run = range(chunk, end)
            self._fetching.update(run)
            return run

    def _ended(self, start: int) -> int:
        """There is nothing from here on."""
        if not self._shrinks:
            raise OSError(errno.EIO, f"{os.strerror(errno.EIO)}: the file ends too early")
        with self._budget.changed:
            self._resize(min(start, self.size))
        return 0

    def _fill(self, run: range) -> None:
        start, end, renewals = run.start * CHUNK, min(run.stop * CHUNK, self.size), self._renewals
        try:
            while start < end:
                data = self._fetch(start, end - start)[: end - start]
                done = self._store(start, data) if data else self._ended(start)
                if not done:
                    break  # it was emptied meanwhile
                start += done
        except BaseException:
            with self._budget.changed:
                self._fetching.difference_update(run)
                self._budget.changed.notify_all()
            raise
        with self._budget.changed:
            self._fetching.difference_update(run)
            if renewals == self._renewals:
                self._stale.difference_update(run)
            for chunk in run:
                if chunk < self._count and chunk not in self._kept:
                    self._budget.cached[self, chunk] = None
            self._budget.changed.notify_all()
            self._budget.trim()


def _available() -> int:
    """How much memory there is for the taking (proc(5))."""
    with open("/proc/meminfo", "rb") as lines:
        found = next((line for line in lines if line.startswith(b"MemAvailable:")), b"MemAvailable: 0 kB")
    return int(found.split()[1]) << 10


def _write(fd: int, data: bytes, offset: int) -> int:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, memoryview(data)[done:], offset + done)
    return done
