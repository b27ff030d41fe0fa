"""Relay: a TCP connection that passes through the keeper, because it takes time, or is written down.

A program that connects from C to T is given R in place of T, at an address of T's host that nothing else
has. It must not be connected before that is true at T, and must not notice that it is R who answers. So the
listener at R hears nothing, as its queue is full; meanwhile a socket at C, beside the program's, connects
to T; and when the answer would have come, a socket at R connects to C, where the program's own connection
is being made. Two that connect to each other are connected (RFC 9293, 3.5, simultaneous open): the
program's call ends then, and not before, whether it waits or polls. If T refuses, R does not listen any
more, and the program's attempt is ended (`refusing`).
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from diorama.modules.networks.lan.addresses import parse_real
from diorama.modules.networks.lan.loop import READ, URGENT, WRITE, Loop
from diorama.modules.networks.lan.pipe import Pipe
from diorama.modules.networks.lan.refusing import Refusal
from diorama.modules.networks.lan.silence import hear, ignore
from diorama.modules.networks.lan.stream import Side, Stream, Tap

__all__ = ["Connection", "Doors", "Real", "Way", "beside", "socket_at"]

Real = tuple[str, int]

_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.5
_PATIENCE: Final = 10.0
"""Seconds for a program to connect after it has been told where to."""
_LINGER: Final = struct.pack("ii", 0, 0)
_RESET: Final = struct.pack("ii", 1, 0)


class Door:
    """A listener that hears nothing, for as long as somebody may connect there.

    It has a queue of one, for a connection of ours that it does not accept: others are dropped (listen(2)).
    """

    def __init__(self, real: Real) -> None:
        self.real = real
        self.users = 0
        self.socket = socket_at(real)
        try:
            self.socket.listen(0)
            self._first = socket.create_connection(real, _PATIENCE)
        except BaseException:
            self.socket.close()
            raise

    def close(self) -> None:
        """Who still tries there is refused."""
        self.socket.close()
        self._first.close()


class Doors:
    """Those that there are."""

    def __init__(self) -> None:
        self._doors: dict[Real, Door] = {}

    def open(self, real: Real) -> Door:
        """Have one more use of a door."""
        door = self._doors.get(real)
        if door is None:
            door = self._doors[real] = Door(real)
        door.users += 1
        return door

    def leave(self, door: Door) -> None:
        """One less; who still tries there is refused when nobody is left."""
        door.users -= 1
        if not door.users:
            del self._doors[door.real]
            door.close()


def socket_at(real: Real) -> socket.socket:
    """A socket of TCP that does not wait, at an address that others share."""
    made = socket.socket()
    try:
        made.settimeout(0)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(real)
    except BaseException:
        made.close()
        raise
    return made


@dataclass(slots=True)
class Way:
    """Where a connection leads: to the first of some addresses that hears it, if any; by what sockets."""

    targets: list[Real]
    forth: Pipe
    back: Pipe
    make: Callable[[], socket.socket]
    tap: Tap | None = None


def beside(source: Real) -> Callable[[], socket.socket]:
    """Makes sockets at a program's own address, if it lets us, or at another port of it."""

    def make() -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            try:
                made.bind(source)
            except OSError:
                made.bind((source[0], 0))
        except BaseException:
            made.close()
            raise
        return made

    return make


def _prepare(at: socket.socket) -> None:
    """A side of a connection that is to be: what does not end as it should, by our death too, is a reset."""
    at.settimeout(0)
    at.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    at.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


class Connection:
    """One connection, from a program that is at `source` and will be connected at the door `real`.

    Or from one that is connected already, to `client`.  On the loop's thread; `gone` is called at the end.
    """

    def __init__(
        self,
        loop: Loop,
        way: Way,
        gone: Callable[[Connection], None],
        *,
        doors: Doors | None = None,
        real: Real = ("", 0),
        source: Real = ("", 0),
        client: socket.socket | None = None,
    ) -> None:
        self.loop = loop
        self.tap = way.tap
        self._way, self._forth, self._back, self._gone = way, way.forth, way.back, gone
        self._source, self._real, self._doors = source, real, doors
        self._door = None if doors is None else doors.open(real)
        self._sides: list[Side] = []
        self._client = client
        self._server: socket.socket | None = None
        self._is_open = True
        self._is_cut = self._was_cut = self._forth.conditions.is_cut
        self._target: Real = ("", 0)
        self._pause = _FIRST_PAUSE
        self._until = time.monotonic() + _PATIENCE
        self._has_begun = False
        self.code = 0
        """The errno with which it could not be made."""
        if client is not None:
            _prepare(client)
        if self.tap is not None:
            self.tap.asked()
        self.later(self._forth.delay(), self._connect_server)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call after a while, if the connection is still there."""
        self.loop.after(seconds, lambda: call() if self._is_open else None)

    # -- being made ---------------------------------------------------------------------------

    def _connect_server(self) -> None:
        if not self._way.targets:
            self._server_is_connected(errno.ECONNREFUSED)
            return
        try:
            made = self._way.make()
        except OSError as error:
            self.abort(error.errno or errno.EIO)
            return
        _prepare(made)
        self._server, self._target = made, self._way.targets.pop(0)
        self._filter()
        self._try(made, self._target, self._server_is_connected)

    def _try(self, made: socket.socket, target: Real, then: Callable[[int], None]) -> None:
        """Connect, and go on with the errno."""
        code = made.connect_ex(target)
        if code == errno.EINPROGRESS:
            self.loop.watch(made.fileno(), WRITE, lambda events: self._tried(made, then))
        else:
            then(code)

    def _tried(self, made: socket.socket, then: Callable[[int], None]) -> None:
        self.loop.ignore(made.fileno())
        then(made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _server_is_connected(self, code: int) -> None:
        if code == errno.ECONNREFUSED and self._way.targets:
            assert self._server is not None
            self._server.close()
            self._server = None
            self._connect_server()
            return
        if self.tap is not None:
            (self.tap.refused if code else self.tap.answered)()
        then = self._begin if self._client is not None else self._connect_client
        self.later(self._back.delay(), partial(self.abort, code) if code else then)

    def _connect_client(self) -> None:
        try:
            made = socket_at(self._real)
        except OSError:
            self.abort()
            return
        _prepare(made)
        self._client = made
        self._filter()
        self._try(made, self._source, self._client_is_connected)

    def _client_is_connected(self, code: int) -> None:
        """It is; or has not begun to, and refuses; or was, and is gone already."""
        if not code:
            self._begin()
            return
        assert self._client is not None
        self._client.close()
        self._client = None
        if code != errno.ECONNREFUSED or time.monotonic() > self._until or self._server_is_gone():
            self.abort()
            return
        self.later(self._pause, self._connect_client)
        self._pause = min(_LONGEST_PAUSE, 2 * self._pause)

    def _server_is_gone(self) -> bool:
        assert self._server is not None
        try:
            self._server.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return False

    def _begin(self) -> None:
        assert self._client is not None
        assert self._server is not None
        self._leave_door()
        self._has_begun = True
        if self.tap is not None:
            self.tap.begun()
        client, server = Side(self._client), Side(self._server)
        client.reads = server.writes = Stream(self, client, server, self._forth, forth=True)
        server.reads = client.writes = Stream(self, server, client, self._back, forth=False)
        self._sides = [client, server]
        self.look()

    # -- passing on ---------------------------------------------------------------------------

    def look(self) -> None:
        """Hand over what has arrived, and wait for what can be waited for."""
        for side in self._sides:
            if side.writes is not None and self._is_open:
                side.writes.write()
        self._watch()

    def _watch(self) -> None:
        for side in self._sides:
            if not self._is_open or side.reads is None or side.writes is None:
                return
            wanted = (READ | URGENT if side.reads.wants_to_read else 0) | (
                WRITE if side.writes.wants_to_write else 0
            )
            if wanted:
                self.loop.watch(side.socket.fileno(), wanted, partial(self._ready, side))
            else:
                # What was hung up is ready for ever, also as long as there is no room for what it has sent.
                self.loop.ignore(side.socket.fileno())

    def _ready(self, side: Side, events: int) -> None:
        stream = side.stream()
        if events & URGENT:
            stream.urgent()
        if events & ~WRITE and stream.wants_to_read:
            stream.read()
        self.look()

    def ended(self) -> None:
        """One direction is at its end."""
        if all(side.stream().has_ended for side in self._sides):
            for side in self._sides:
                side.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            self._close()

    def refresh(self) -> None:
        """What is between the hosts has changed."""
        self._is_cut = self._forth.conditions.is_cut
        self._was_cut = self._was_cut or self._is_cut
        self._filter()

    def _filter(self) -> None:
        """Neither side hears the other while the hosts do not, as it would be without us."""
        if not self._was_cut:
            return
        for made, (address, port) in ((self._client, self._source), (self._server, self._target)):
            place = parse_real(address, port)
            if made is not None and place is not None:
                (ignore if self._is_cut else hear)(made, place.number, [place.host])

    def abort(self, code: int = 0) -> None:
        """End it for both sides: who is connected is reset, since that is not an end as it should be.

        `code` is the errno with which it could not be made.
        """
        self.code = code
        self._close()

    @property
    def ends(self) -> tuple[Real, Real]:
        """From where the program connects, and to what door."""
        return self._source, self._real

    def refuse(self) -> Refusal | None:
        """Let the program know that it could not be made, if that is so."""
        if self._has_begun or not self._real[1]:
            return None
        return Refusal(self.loop, *self.ends, self._until, socket_at)

    def _leave_door(self) -> None:
        if self._door is not None:
            if self._doors is not None:
                self._doors.leave(self._door)
            self._door = None

    def _close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        for side in self._sides:
            side.stream().stop()
        for made in (self._client, self._server):
            if made is not None:
                self.loop.ignore(made.fileno())
                made.close()
        self._leave_door()
        self._gone(self)
