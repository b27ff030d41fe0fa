"""Readiness: lets the kernel tell by poll(2) what a file system says of a file that is read directly.

What the program holds of it is one end of a pair of sockets that keep the bounds of messages.  It can be read
while an empty message lies in it, which is the end of the file for who reads it past us, and written unless
it is full.  From our end a message is put there, and taken out of what has filled it.  The opposite takes the
program's own end: its descriptor is at hand when it has just read or written, and else is looked for.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final

from diorama.engine.ending import Identity, holders
from diorama.engine.taking import taken

__all__ = ["Readiness", "make_pair"]

_READABLE: Final = select.POLLIN | select.POLLRDNORM | select.POLLHUP | select.POLLERR
_WRITABLE: Final = select.POLLOUT | select.POLLWRNORM | select.POLLERR
_FILLING: Final = bytes(2048)
_ROOM: Final = 1
"""The least that a socket may be given, which is less than a few messages of those need (socket(7))."""


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Our end, and that of the program, which never waits: who reads or writes past us gets an error."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
    for one in (ours, theirs):
        os.set_blocking(one.fileno(), False)
    return ours, theirs


class Readiness:
    """What is told of one file.  Any thread.

    What was asked for is applied in the order of asking, by the `mark` that was taken before.
    """

    def __init__(self, ours: socket.socket, identity: Identity) -> None:
        self._ours = ours
        self._identity = identity
        self._lock = threading.Lock()
        self._asked = 0
        self._applied = 0
        self._is_readable = False
        self._is_writable = True

    def always(self) -> None:
        """It is always ready, as most files are."""
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_WR)

    def mark(self) -> int:
        """To be taken before asking."""
        with self._lock:
            self._asked += 1
            return self._asked

    def apply(self, events: int, mark: int, theirs: Callable[[], AbstractContextManager[int]] | None) -> None:
        """Let it be ready for these events; `theirs` gives a descriptor of the program's end."""
        with self._lock:
            if mark < self._applied:
                return
            self._applied = mark
            self._let(theirs, readable=bool(events & _READABLE), writable=bool(events & _WRITABLE))

    def _let(
        self, theirs: Callable[[], AbstractContextManager[int]] | None, *, readable: bool, writable: bool
    ) -> None:
        with contextlib.suppress(OSError):
            if readable and not self._is_readable:
                self._ours.send(b"")
            if writable and not self._is_writable:
                _drain(self._ours)
        for one in self._ends(theirs, needed=readable < self._is_readable or writable < self._is_writable):
            if readable < self._is_readable:
                _drain(one)
            if writable < self._is_writable:
                _fill(one)
            break
        self._is_readable, self._is_writable = readable, writable

    def _ends(
        self, theirs: Callable[[], AbstractContextManager[int]] | None, *, needed: bool
    ) -> Iterator[socket.socket]:
        """The program's end, from wherever it can be had."""
        if not needed:
            return
        ways = [theirs] if theirs is not None else []
        if not ways:
            for pid, fds in holders(self._identity).items():
                ways.append(_way(pid, min(fds)))
        for way in ways:
            with contextlib.suppress(OSError), way() as fd:
                one = socket.socket(fileno=os.dup(fd))
                try:
                    yield one
                finally:
                    one.close()


def _way(pid: int, fd: int) -> Callable[[], AbstractContextManager[int]]:
    return lambda: taken(pid, pid, fd)


def _drain(one: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            one.recv(1, socket.MSG_DONTWAIT)
            if not _is_ready(one, select.POLLIN):
                return


def _fill(one: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while _is_ready(one, select.POLLOUT):
            one.send(_FILLING, socket.MSG_DONTWAIT)


def _is_ready(one: socket.socket, event: int) -> bool:
    poll = select.poll()
    poll.register(one, event)
    return any(found & event for _, found in poll.poll(0))
