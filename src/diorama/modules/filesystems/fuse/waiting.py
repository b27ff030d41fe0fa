"""Waiting: those who wait for answers of a server, each on a lock of his own."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from diorama.fuse.connection import Reply

__all__ = ["Nobody", "Waiting"]


class Waiting:
    """Somebody who waits for an answer, or for his turn to read: a lock that is held until one is there.

    `late` is to be called if it has been done when he waits no longer.
    """

    __slots__ = ("_there", "is_told", "late", "reply")

    def __init__(self, late: Callable[[], None] | None = None) -> None:
        self.late = late
        self.reply: Reply | None = None
        self.is_told = False
        self._there = threading.Lock()
        self._there.acquire()

    def wait(self, seconds: float) -> bool:
        """Whether something came within that time."""
        return self._there.acquire(timeout=seconds)

    def wake(self) -> None:
        """It may be his turn to read."""
        with contextlib.suppress(RuntimeError):  # it was woken already
            self._there.release()

    def tell(self, reply: Reply | None) -> None:
        """The answer, None if there will be none."""
        self.reply = reply
        self.is_told = True
        self.wake()


class Nobody(Waiting):
    """In the place of somebody who waits no longer."""

    def tell(self, reply: Reply | None) -> None:
        """Nobody is told; what must be undone is."""
        if self.late is not None and reply is not None and not reply.error:
            self.late()
