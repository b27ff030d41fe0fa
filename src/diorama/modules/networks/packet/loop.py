"""Loop: waits for descriptors and times, for the process of a stack.

What is called is called with lwIP's core locked, and many calls share one locking. Work that should be done
once for many of them (`later`) is done before the core is unlocked.
"""

from __future__ import annotations

import heapq
import itertools
import select
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

__all__ = ["Loop"]

_EVENTS: Final = 256
IN: Final = select.EPOLLIN
OUT: Final = select.EPOLLOUT
HANGUP: Final = select.EPOLLHUP
EDGE: Final = select.EPOLLET
READ_HANGUP: Final = select.EPOLLRDHUP


class Loop:
    """The loop; `core` is the lock."""

    def __init__(self, core: AbstractContextManager[None]) -> None:
        self._core = core
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._later: dict[object, Callable[[], None]] = {}
        self._is_batch = False
        self.is_running = True

    def watch(self, fd: int, events: int, call: Callable[[int], None]) -> None:
        """Call with the events of a descriptor, from now on."""
        self._epoll.register(fd, events)
        self._watched[fd] = call

    def change(self, fd: int, events: int) -> None:
        """Wait for other events of a descriptor."""
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """No more, before the descriptor is closed."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call once, after a time."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._count), call))

    def later(self, key: object, call: Callable[[], None]) -> None:
        """Call once at the end of what is being done, however often this is asked for with one key."""
        if self._is_batch:
            self._later[key] = call
        else:
            call()

    def run(self) -> None:
        """Until `is_running` is false."""
        while self.is_running:
            self._round()

    def _round(self) -> None:
        patience = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1
        happened = self._epoll.poll(patience, _EVENTS)
        with self._core:
            self._is_batch = True
            for fd, events in happened:
                call = self._watched.get(fd)
                if call is not None:
                    _do(call, events)
            while self._timers and self._timers[0][0] <= time.monotonic():
                _do(heapq.heappop(self._timers)[2])
            while self._later:
                _do(self._later.popitem()[1])
            self._is_batch = False


def _do(call: Callable[..., None], *arguments: int) -> None:
    """Call; what is wrong with it is said, and concerns nobody else."""
    try:
        call(*arguments)
    except Exception:
        traceback.print_exc()
