"""Waiting: those who ask a server and wait for answers, each on a lock of his own; the sockets between."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

from diorama.fuse.connection import Caller
from diorama.interfaces.asking import asker

if TYPE_CHECKING:
    from collections.abc import Callable

    from diorama.fuse.connection import Reply

__all__ = ["Nobody", "Repeating", "Waiting", "caller", "make_pair", "wait_for_room"]

_BUFFER: Final = 208 << 10
"""What every kernel lets everybody have (net.core.wmem_max); twice that holds 128 KiB and their header."""
_TICK: Final = 0.05


class Waiting:
    """Somebody who waits for an answer, or for his turn to read: a lock that is held until one is there.

    `late` is to be called with the answer if it has been done when he waits no longer.
    """

    __slots__ = ("_there", "is_told", "late", "reply")

    def __init__(self, late: Callable[[Reply], None] | None = None) -> None:
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
            self.late(reply)


class Repeating:
    """One call for which a server is asked again and again, perhaps without end."""

    def __init__(self) -> None:
        self._who = asker()
        self._next = time.monotonic() + _TICK

    def go_on(self) -> None:
        """EINTR, soon after whoever asks is killed."""
        if self._who is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _TICK
        if self._who.is_killed():
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Our end and the server's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for one in (ours, theirs):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    return ours, theirs


def caller() -> Caller:
    """Whose identity the server is told."""
    who = asker()
    if who is None:
        return Caller(os.getuid(), os.getgid(), os.getpid())
    return Caller(who.credentials.uid, who.credentials.gid, who.pid)


def wait_for_room(sock: socket.socket, seconds: float) -> None:
    """Until something can be sent; ValueError if it is closed."""
    poll = select.poll()  # not select(2), for which a number can be too large
    poll.register(sock, select.POLLOUT)
    poll.poll(seconds * 1000)
