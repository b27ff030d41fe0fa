"""Peer: a connection to somebody, as the keeper of a LAN has it."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from diorama.modules.networks.lan import wire
from diorama.modules.networks.lan.loop import READ, WRITE, Loop

__all__ = ["Peer"]

_MOST: Final = 10_000
"""Messages that wait for somebody who does not read; more end the connection."""


class Peer:
    """Somebody who has connected.  On the loop's thread.

    `heard` is called with each message and its descriptors, which are ours, and `gone` once at the end.
    """

    def __init__(
        self,
        loop: Loop,
        at: socket.socket,
        heard: Callable[[Peer, wire.Message, list[int]], None],
        gone: Callable[[Peer], None],
    ) -> None:
        at.settimeout(0)
        self._loop, self._socket = loop, at
        self._heard, self._gone = heard, gone
        self._queue: deque[wire.Message] = deque()
        self._is_open = True
        self.host = 0
        """Which host it is, if it has become one."""
        self.seen = -1
        """The version of the state that its sockets are as wanted by."""
        self.settled = -1
        """The same, of what waits for all others."""
        self.is_watching = False
        """Whether it is there only to know, and to give orders."""
        loop.watch(at.fileno(), READ, self._ready)

    def send(self, message: wire.Message, descriptors: Sequence[int] = ()) -> None:
        """Tell it; as soon as it can be told. Descriptors only to who is told nothing else yet."""
        if not self._is_open:
            return
        if self._queue:
            self._later(message)
            return
        try:
            wire.send(self._socket, message, descriptors)
        except BlockingIOError:
            self._later(message)
        except OSError:
            self.close()

    def close(self) -> None:
        """End the connection."""
        if self._is_open:
            self._is_open = False
            self._loop.ignore(self._socket.fileno())
            self._socket.close()
            self._gone(self)

    def _later(self, message: wire.Message) -> None:
        if isinstance(message, wire.Changed):
            # Only the last state counts: who sleeps for long has one waiting for it, not all.
            self._queue = deque(one for one in self._queue if not isinstance(one, wire.Changed))
        self._queue.append(message)
        if len(self._queue) > _MOST:
            self.close()
            return
        self._loop.watch(self._socket.fileno(), READ | WRITE, self._ready)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if self._is_open and events & ~WRITE:
            self._read()

    def _flush(self) -> None:
        try:
            while self._queue:
                wire.send(self._socket, self._queue[0])
                self._queue.popleft()
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._loop.watch(self._socket.fileno(), READ, self._ready)

    def _read(self) -> None:
        try:
            message, descriptors = wire.receive(self._socket)
        except BlockingIOError:
            return
        except (EOFError, OSError):
            self.close()
            return
        except ValueError as error:
            self.send(wire.Refused(f"the keeper does not understand: {error}"))
            self.close()
            return
        try:
            self._heard(self, message, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
