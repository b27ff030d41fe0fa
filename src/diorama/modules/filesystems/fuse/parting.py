"""Parting: a server whose file system is unmounted reads ENODEV from its device, as from the kernel's.

What it has open is a socket, of which the kernel knows no such end.  So whoever waits in a read of it is
found and answered (`diorama.engine.ending`), and so is who comes to wait there later: meanwhile the socket
stays open, and silent.  When all are told it gets an error before they go on, since a server polls its device
to learn whether it is still mounted (POLLERR), and unmounts what else may be there if it seems so.  The
kernel gives a socket an error when the other end is closed with something unread; which we send there in the
server's name.

Who polls, or cannot be answered since another debugs it, gets that error at once.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from diorama.engine.ending import Identity, ending, holders, waiting
from diorama.engine.taking import taken

__all__ = ["Parting"]

_FIRST: Final = 0.002
_LAST: Final = 0.25
_LOOKS: Final = 5
"""How often somebody is seen to poll, or to be where he was in spite of us, before closing tells him."""
_MAX_MESSAGE: Final = 1 << 20


class Parting:
    """The end of a connection with a program, which has its end, `theirs`, as a descriptor.

    `is_left` tells that nobody reads ours any more: whoever does ends with the next message.
    """

    def __init__(
        self, ours: socket.socket, theirs: Identity, is_left: threading.Event, close: Callable[[], None]
    ) -> None:
        self._ours = ours
        self._close = close
        self._theirs = theirs
        self._is_left = is_left
        self._seen: Counter[int] = Counter()
        self._is_told = False

    def run(self) -> None:
        """Tell all, and close our end."""
        pause = _FIRST
        while not self._is_gone() and (held := holders(self._theirs)):
            if self._has_error(held) and self._tell(held):
                break
            time.sleep(pause)
            pause = min(2 * pause, _LAST)
        if not self._is_left.is_set():
            with contextlib.suppress(OSError):
                self._ours.shutdown(socket.SHUT_RDWR)
            self._is_left.wait()
        self._close()

    def _is_gone(self) -> bool:
        """Whether nobody has the other end any more."""
        poll = select.poll()
        poll.register(self._ours, 0)
        return bool(poll.poll(0))

    def _has_error(self, held: dict[int, set[int]]) -> bool:
        """See to it that closing ours is an error for theirs; what is said meanwhile concerns nobody."""
        for theirs in _take(held):
            theirs.send(b"x")
            self._is_left.wait()
            with contextlib.suppress(BlockingIOError):
                while self._ours.recv(_MAX_MESSAGE, socket.MSG_DONTWAIT):
                    continue
            theirs.send(b"x")
            return True
        return False

    def _tell(self, held: dict[int, set[int]]) -> bool:
        """One round: whether all have been told, or are to be told by closing."""
        found = list(waiting(held))
        self._seen.update(one.tid for one in found)
        is_late = any(self._seen[one.tid] > _LOOKS for one in found)
        reading = [one for one in found if one.fd is not None]
        if not reading:
            return self._is_told or is_late
        with ending(reading) as count:
            self._is_told |= bool(count)
            if count == len(reading) or is_late:
                self._close()
                return True
        return False


def _take(held: dict[int, set[int]]) -> Iterator[socket.socket]:
    """Descriptors of the other end, for a moment."""
    for pid, fds in held.items():
        with contextlib.suppress(OSError), taken(pid, pid, min(fds)) as fd:
            one = socket.socket(fileno=fd)
            try:
                yield one
            finally:
                one.detach()
