"""Stream: one direction of a connection that takes its time.

A queue of what arrives later. What is under way is limited, and the rest waits where it comes from; an end
of file is an end of file, a reset a reset, urgent data urgent at its place.
"""

from __future__ import annotations

import fcntl
import socket
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from diorama.modules.networks.lan.loop import Timer
from diorama.modules.networks.lan.pipe import Pipe

if TYPE_CHECKING:
    from diorama.modules.networks.lan.relay import Connection

__all__ = ["Side", "Stream", "Tap"]

_SIOCATMARK: Final = 0x8905


class Tap(Protocol):
    """Who is told what passes; `forth` is from who has connected."""

    def asked(self) -> None:
        """Somebody connects."""

    def answered(self) -> None:
        """Somebody else accepts."""

    def refused(self) -> None:
        """Nobody accepts."""

    def begun(self) -> None:
        """They are connected."""

    def data(self, forth: bool, data: bytes) -> None:
        """Bytes set out."""

    def arrived(self, forth: bool, size: int) -> None:
        """Bytes, or an end of file, have arrived."""

    def end(self, forth: bool, *, is_reset: bool) -> None:
        """One side has ended its direction, or all."""


class Stream:
    """One direction: what was read from one socket is written to another when it arrives."""

    def __init__(
        self, connection: Connection, source: Side, target: Side, pipe: Pipe, *, forth: bool
    ) -> None:
        self._connection, self._source, self._target, self._pipe = connection, source, target, pipe
        self._forth = forth
        self._under_way: deque[tuple[float, bytes, int]] = deque()
        self._size = 0
        self._timer: Timer | None = None
        self._has_urgent = False
        self.has_read_end = False
        self.has_ended = False

    @property
    def wants_to_read(self) -> bool:
        """Whether there is room for more."""
        return not self.has_read_end and self._size < self._pipe.room

    @property
    def wants_to_write(self) -> bool:
        """Whether something has arrived that could not be written."""
        return bool(self._under_way) and self._under_way[0][0] <= time.monotonic()

    def urgent(self) -> None:
        """There is urgent data somewhere in what can be read."""
        self._has_urgent = True

    def read(self) -> None:
        """Take what is there."""
        try:
            if self._has_urgent and self._is_at_mark():
                self._has_urgent = False
                self._depart(self._source.socket.recv(1, socket.MSG_OOB), socket.MSG_OOB)
                return
            data = self._source.socket.recv(self._pipe.piece)
        except BlockingIOError:
            return
        except OSError:
            self.reset()
            return
        if not data:
            self.has_read_end = True
            self._tell_end(is_reset=False)
        self._depart(data, 0)

    def reset(self) -> None:
        """Its source is gone: so will be the target, when it can know."""
        if not self.has_read_end:
            self._tell_end(is_reset=True)
        self.has_read_end = True
        self._connection.later(self._pipe.delay(), self._connection.abort)

    def write(self) -> None:
        """Hand over what has arrived."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._under_way and self._under_way[0][0] <= time.monotonic():
            when, data, flags = self._under_way.popleft()
            if not data:
                self._end()
                return
            try:
                sent = self._target.socket.send(data, flags | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._under_way.clear()
                self._target.stream().reset()
                return
            self._size -= sent
            if sent and self._connection.tap is not None:
                self._connection.tap.arrived(self._forth, sent)
            if sent < len(data):
                self._under_way.appendleft((when, data[sent:], flags))
                return
        if self._under_way:
            self._timer = self._connection.loop.at(self._under_way[0][0], self._connection.look)

    def stop(self) -> None:
        """Nothing passes any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _depart(self, data: bytes, flags: int) -> None:
        when = self._pipe.arrival(len(data))
        if self._under_way:
            when = max(when, self._under_way[-1][0])
        if data and self._connection.tap is not None:
            self._connection.tap.data(self._forth, data)
        self._size += len(data)
        self._under_way.append((when, data, flags))

    def _tell_end(self, *, is_reset: bool) -> None:
        if self._connection.tap is not None:
            self._connection.tap.end(self._forth, is_reset=is_reset)

    def _is_at_mark(self) -> bool:
        packed = fcntl.ioctl(self._source.socket, _SIOCATMARK, bytes(4))
        return packed != bytes(4)

    def _end(self) -> None:
        self.has_ended = True
        if self._connection.tap is not None:
            self._connection.tap.arrived(self._forth, 1)
        with suppress(OSError):
            self._target.socket.shutdown(socket.SHUT_WR)
        self._connection.ended()


class Side:
    """One of the two sockets of a connection, and what is read and written there."""

    def __init__(self, made: socket.socket) -> None:
        self.socket = made
        self.reads: Stream | None = None
        self.writes: Stream | None = None

    def stream(self) -> Stream:
        """What is read here."""
        assert self.reads is not None
        return self.reads
