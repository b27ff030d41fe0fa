"""Polling: for what the open files of one mount are ready, by POLL, and by the notifications that follow.

Who polls is not seen.  So the server is asked when a file is opened, and each time that its answer may be
another: after a read or write, and when it has notified; and each time it is asked to notify once more.
"""

from __future__ import annotations

import itertools
import select
import threading
from typing import TYPE_CHECKING, Final

from diorama.fuse.flags import POLL_SCHEDULE_NOTIFY
from diorama.fuse.handles import PollIn, PollOut

if TYPE_CHECKING:
    from collections.abc import Callable

    from diorama.fuse.connection import Reply

__all__ = ["Polling"]

_EVENTS: Final = (
    select.POLLIN
    | select.POLLPRI
    | select.POLLOUT
    | select.POLLERR
    | select.POLLHUP
    | select.POLLRDNORM
    | select.POLLRDBAND
    | select.POLLWRNORM
    | select.POLLWRBAND
)


class Polling:
    """The files that a server may notify of.  Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._changed: dict[int, Callable[[], None]] = {}

    def ask(
        self, ask: Callable[..., Reply], inode: int, handle: int, number: int, changed: Callable[[], None]
    ) -> int:
        """For what an open file is ready, that is known to the server by this number from now on; ENOSYS."""
        with self._lock:
            self._changed[number] = changed
        try:
            (found,) = ask("POLL", inode, PollIn(handle, number, POLL_SCHEDULE_NOTIFY, _EVENTS)).records
        except OSError:
            self.drop(number)
            raise
        assert isinstance(found, PollOut)
        return found.revents

    def number(self) -> int:
        """A number for one more."""
        return next(self._numbers)

    def drop(self, number: int) -> None:
        """Nobody has it open any more."""
        with self._lock:
            self._changed.pop(number, None)

    def notified(self, number: int) -> list[Callable[[], None]]:
        """Whom to tell that it may be ready."""
        with self._lock:
            found = self._changed.get(number)
            return [] if found is None else [found]

    def all(self) -> list[Callable[[], None]]:
        """Whom to tell that the server is gone."""
        with self._lock:
            return list(self._changed.values())
