"""Client: a disk that a server has, by the NBD protocol (github.com/NetworkBlockDevice/nbd, doc/proto.md).

Requests are sent by whoever makes them, answers are read by one thread and handed out by their cookies; so a
program that is killed waits no longer, and nobody waits for another's request.  A connection that was lost is
EIO for all that is asked from then on: what was written and not flushed may be lost with its server, and
nobody is to go on as if it were not.

Threads: `_sending` is held while a request is sent, and guards what is left of one, `_lock` what waits.
"""

from __future__ import annotations

import errno
import math
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from diorama.errors import warn_once
from diorama.interfaces.asking import asker
from diorama.interfaces.device import BlockDevice, refuse
from diorama.modules.devices.nbd.greeting import Export, ProtocolError, greet, receive

__all__ = ["NbdDisk"]

_REQUEST: Final = struct.Struct(">IHHQQI")
_REPLY: Final = struct.Struct(">IIQ")
_REQUEST_MAGIC: Final = 0x25609513
_REPLY_MAGIC: Final = 0x67446698
_READ, _WRITE, _DISCONNECT, _FLUSH, _TRIM, _WRITE_ZEROES = 0, 1, 2, 3, 4, 6
_READ_ONLY, _SEND_FLUSH, _SEND_TRIM, _SEND_ZEROES = 1 << 1, 1 << 2, 1 << 5, 1 << 6
_MOST: Final = 1 << 20
_MOST_AT_ONCE: Final = 1 << 30
_TICK: Final = 0.1
_PATIENCE: Final = 60.0
"""For a server that is asked by nobody who can be killed: for the first answer, and at the end."""
_TELLS: Final = 3.0
_KNOWN: Final = (errno.EPERM, errno.EIO, errno.ENOMEM, errno.EINVAL, errno.ENOSPC, errno.EOPNOTSUPP)


class _Waiting:
    """Somebody who waits for an answer, with so many bytes."""

    __slots__ = ("data", "done", "error", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.data = b""
        self.error = 0
        self.done = threading.Event()


class NbdDisk(BlockDevice):
    """The disk at the other end of a connected socket; `on_close` is called when that is closed.

    `ProtocolError`, `OSError` if nothing can be made of it.
    """

    title = "nbd"
    major = 43
    model = "NBD"

    def __init__(
        self, connection: socket.socket, export: str, what: str, on_close: Callable[[], None] = lambda: None
    ) -> None:
        found: Export = greet(connection, export)
        self.size = found.size - found.size % 512
        self.read_only = bool(found.flags & _READ_ONLY)
        self._flags = found.flags
        self._what = what
        self._on_close = on_close
        self._connection = connection
        self._sending = threading.Lock()
        self._rest = memoryview(b"")
        self._patience = time.monotonic() + _PATIENCE
        self._is_ending = False
        self._lock = threading.Lock()
        self._waiting: dict[int, _Waiting] = {}
        self._cookie = 0
        self._is_lost = False
        self._is_closed = False
        if not self.size:
            raise ProtocolError("it is empty")
        connection.settimeout(None)
        self._thread = threading.Thread(target=self._receive, name="nbd", daemon=True)
        self._thread.start()

    # -- what a disk does ---------------------------------------------------------------------

    def read(self, offset: int, size: int) -> bytes:
        pieces: list[bytes] = []
        while size > 0:
            piece = self._ask(_READ, offset, min(size, _MOST), answer=min(size, _MOST))
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return b"".join(pieces)

    def write(self, offset: int, data: bytes) -> None:
        for at in range(0, len(data), _MOST):
            piece = data[at : at + _MOST]
            self._ask(_WRITE, offset + at, len(piece), data=piece)

    def zero(self, offset: int, size: int) -> None:
        if not self._flags & _SEND_ZEROES:
            super().zero(offset, size)
            return
        while size > 0:
            part = min(size, _MOST_AT_ONCE)
            self._ask(_WRITE_ZEROES, offset, part)
            offset, size = offset + part, size - part

    def discard(self, offset: int, size: int) -> None:
        if not self._flags & _SEND_TRIM:
            raise refuse(errno.EOPNOTSUPP)
        while size > 0:
            part = min(size, _MOST_AT_ONCE)
            self._ask(_TRIM, offset, part)
            offset, size = offset + part, size - part

    def sync(self) -> None:
        if self._flags & _SEND_FLUSH and not self.read_only:
            self._ask(_FLUSH, 0, 0)

    def close(self) -> None:
        """Flush, say goodbye, and wait for the server if it is ours; not for ever, if it does not answer."""
        if self._is_closed:
            return
        self._is_ending, self._patience = True, time.monotonic() + _PATIENCE
        try:
            self.sync()
            self._is_closed = True
            self._send(_REQUEST.pack(_REQUEST_MAGIC, 0, _DISCONNECT, 0, 0, 0))
        except OSError as error:
            warn_once(self._what, f"what was written last may be lost: {error.strerror}")
        self._is_closed = True
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection.close()
        self._on_close()

    # -- asking -------------------------------------------------------------------------------

    def _ask(self, kind: int, offset: int, size: int, *, data: bytes = b"", answer: int = 0) -> bytes:
        waiting = _Waiting(answer)
        with self._lock:
            if self._is_lost or self._is_closed:
                raise refuse(errno.EIO)
            self._cookie += 1
            cookie = self._cookie
            self._waiting[cookie] = waiting
        who = asker()
        if who is not None:
            who.step_aside()
        if not self._send(_REQUEST.pack(_REQUEST_MAGIC, 0, kind, cookie, offset, size) + data):
            with self._lock:
                self._waiting.pop(cookie, None)
            raise refuse(errno.EINTR)
        while not waiting.done.wait(_TICK):
            self._check_patience()
        if waiting.error:
            raise refuse(waiting.error if waiting.error in _KNOWN else errno.EIO)
        return waiting.data

    def _check_patience(self) -> None:
        """Nobody waits for what he who asks will not hear any more."""
        who = asker()
        if who is not None and who.is_killed():
            raise refuse(errno.EINTR)
        left = self._patience - time.monotonic()
        if left < 0:
            raise refuse(errno.ETIMEDOUT)
        if left < _PATIENCE - _TELLS:
            warn_once(self._what, f"the server does not answer; given up after {_PATIENCE:.0f} s, or by ^C")

    def _send(self, request: bytes) -> bool:
        """Send all of a request: a part of one would be taken for another.

        What somebody who is killed has sent in part is sent to its end by who comes next.  False if he has
        sent nothing.
        """
        is_begun = False
        try:
            while not self._sending.acquire(timeout=_TICK):
                self._check_patience()
            try:
                while self._rest:
                    self._send_some()
                self._rest, is_begun = memoryview(request), True
                while self._rest:
                    self._send_some()
            finally:
                if is_begun and len(self._rest) == len(request):
                    self._rest, is_begun = memoryview(b""), False
                self._sending.release()
        except InterruptedError:
            return is_begun
        return True

    def _send_some(self) -> None:
        poll = select.poll()
        poll.register(self._connection, select.POLLOUT)
        if not poll.poll(1000 * _TICK):
            self._check_patience()
            return
        try:
            self._rest = self._rest[self._put(self._rest) :]
        except OSError as error:
            self._lost(error.strerror or "broken")
            raise refuse(errno.EIO) from None

    def _put(self, data: memoryview) -> int:
        try:
            return self._connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0

    def _receive(self) -> None:
        """Hand out answers, until there are no more."""
        try:
            while True:
                magic, error, cookie = _REPLY.unpack(receive(self._connection, _REPLY.size))
                with self._lock:
                    waiting = self._waiting.pop(cookie, None) if magic == _REPLY_MAGIC else None
                if waiting is None:
                    raise ProtocolError("the server has answered what nobody asked")
                if not self._is_ending:
                    self._patience = math.inf
                try:
                    waiting.error = error
                    if not error and waiting.size:
                        waiting.data = receive(self._connection, waiting.size)
                except BaseException:
                    waiting.error = errno.EIO
                    raise
                finally:
                    waiting.done.set()
        except (OSError, ProtocolError) as error:
            self._lost(str(error))

    def _lost(self, why: str) -> None:
        with self._lock:
            was_lost, self._is_lost = self._is_lost, True
            waiting, self._waiting = list(self._waiting.values()), {}
        for one in waiting:
            one.error = errno.EIO
            one.done.set()
        if not (was_lost or self._is_closed):
            warn_once(self._what, f"the connection is lost: {why}")
