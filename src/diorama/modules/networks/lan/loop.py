"""Loop: one thread that waits for descriptors and for times.

What a keeper does is small and never waits, but for a hundred things at once: that needs no more than
epoll(7) and a heap, and a keeper that starts sooner without asyncio is one that the first member waits for
less.
"""

from __future__ import annotations

import heapq
import os
import select
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

__all__ = ["READ", "URGENT", "WRITE", "Loop", "Timer"]

READ: Final = select.EPOLLIN
URGENT: Final = select.EPOLLPRI
WRITE: Final = select.EPOLLOUT


@dataclass(order=True, slots=True)
class Timer:
    """Something to be called at a time of time.monotonic(); the earlier made first."""

    when: float
    order: int
    call: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        """It is not to be called."""
        self.call = None


class Loop:
    """The descriptors and times waited for.  One thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._calls: dict[int, Callable[[int], None]] = {}
        self._events: dict[int, int] = {}
        self._timers: list[Timer] = []
        self._order = count()
        self.is_running = False
        self._calls_soon: deque[Callable[[], None]] = deque()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.watch(self._bell, READ, self._ring)

    def watch(self, fd: int, events: int, call: Callable[[int], None]) -> None:
        """Call with the events (and errors) of a descriptor, from now on; with other ones than until now."""
        if fd not in self._events:
            self._epoll.register(fd, events)
        elif self._events[fd] != events:
            self._epoll.modify(fd, events)
        self._events[fd], self._calls[fd] = events, call

    def ignore(self, fd: int) -> None:
        """Do not call any more; to be said before it is closed."""
        if self._events.pop(fd, None) is not None:
            self._epoll.unregister(fd)
            del self._calls[fd]

    def at(self, when: float, call: Callable[[], None]) -> Timer:
        """Call at a time."""
        timer = Timer(when, next(self._order), call)
        heapq.heappush(self._timers, timer)
        return timer

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call later."""
        return self.at(time.monotonic() + seconds, call)

    def soon(self, call: Callable[[], None]) -> None:
        """Call on the loop's thread, as soon as possible; from any thread."""
        self._calls_soon.append(call)
        try:
            os.eventfd_write(self._bell, 1)
        except OSError:
            pass  # it is closed: nothing is called any more

    def _ring(self, events: int) -> None:
        os.eventfd_read(self._bell)
        while self._calls_soon:
            _carefully(self._calls_soon.popleft())

    def run(self) -> None:
        """Until `stop`. What fails is told, and fails alone."""
        self.is_running = True
        while self.is_running:
            for fd, events in self._epoll.poll(self._timeout()):
                call = self._calls.get(fd)
                if call is not None:
                    _carefully(lambda call=call, events=events: call(events))  # type: ignore[misc]
            self._tick()

    def stop(self) -> None:
        """Let `run` return."""
        self.is_running = False

    def close(self) -> None:
        """Wait for nothing any more."""
        self._epoll.close()
        os.close(self._bell)

    def _timeout(self) -> float | None:
        while self._timers and self._timers[0].call is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0].when - time.monotonic()) if self._timers else None

    def _tick(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].when <= now:
            call = heapq.heappop(self._timers).call
            if call is not None:
                _carefully(call)


def _carefully(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception:
        traceback.print_exc(file=sys.stderr)
