"""Channel: carries the messages of one connection over a socket.

The socket keeps the bounds of messages (SOCK_SEQPACKET), so what a server reads from it is what it would
read from /dev/fuse, and each of its writes is one message here.  Whoever asks waits on a lock of his own;
one thread reads the answers and hands them out.  When the server is gone, or has sent what no server may
send, everybody who waits gets ECONNABORTED and everybody who asks later ENOTCONN, as from the kernel.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from diorama.errors import warn_once
from diorama.fuse.assembly import Assembly
from diorama.fuse.connection import Caller, Connection, Notification, ProtocolError, Reply
from diorama.fuse.flags import Init
from diorama.fuse.wire import Wire
from diorama.interfaces.asking import asker

if TYPE_CHECKING:
    from diorama.engine.ending import Identity

__all__ = ["Channel", "make_pair"]

_MAX_MESSAGE: Final = 1 << 20
_TICK: Final = 0.05
_BUFFER: Final = 208 << 10
"""What every kernel lets everybody have (net.core.wmem_max); twice that holds 128 KiB and their header."""


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Our end and the server's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for one in (ours, theirs):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    return ours, theirs


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class _Waiting:
    """Somebody who waits for an answer: a lock that is held until it is there."""

    __slots__ = ("_there", "reply")

    def __init__(self) -> None:
        self.reply: Reply | None = None
        self._there = threading.Lock()
        self._there.acquire()

    def wait(self, seconds: float) -> bool:
        return self._there.acquire(timeout=seconds)

    def tell(self, reply: Reply | None) -> None:
        self.reply = reply
        self._there.release()


class _Nobody(_Waiting):
    """In the place of somebody who waits no longer."""

    def tell(self, reply: Reply | None) -> None:
        return


class Channel:
    """The channel to one server, from `start` to `close`.  Any thread.

    `on_notification` is called on the thread that reads; `title` names the server in messages.  `theirs` is
    the identity of the server's end, if programs have it.
    """

    def __init__(
        self,
        sock: socket.socket,
        wants: Init,
        title: str,
        on_notification: Callable[[Notification], None],
        theirs: Identity | None = None,
    ) -> None:
        self.connection = Connection(wants=wants)
        self._socket = sock
        self._title = title
        self._on_notification = on_notification
        self._lock = threading.Lock()
        self._waiting: dict[int, _Waiting] = {}
        self._unsent: deque[bytes] = deque()
        self._is_lost = False
        self._is_closed = False
        self._theirs = theirs
        self._over = threading.Event()
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, name="fuse", daemon=True)

    def start(self) -> None:
        """Begin the conversation; requests wait until the server has answered."""
        self._send(self.connection.start())
        self._reader.start()

    def ask(
        self,
        name: str,
        node: int,
        *records: Wire,
        names: tuple[bytes, ...] = (),
        data: bytes = b"",
        room: int = 0,
    ) -> Reply:
        """Make a request and wait for the answer; an error of the server is an `OSError`.

        ENOSYS without asking for what the server has said not to know.
        """
        self._await_start()
        connection = self.connection
        if not connection.knows(name):
            raise _error(errno.ENOSYS)
        waiting = _Waiting()
        with self._lock:
            if self._is_lost:
                raise _error(errno.ENOTCONN)
            unique, message = connection.request(
                name, node, *records, names=names, data=data, room=room, caller=_caller()
            )
            self._waiting[unique] = waiting
        self._send(message, unique)
        self._wait(unique, waiting)
        reply = waiting.reply
        if reply is None:
            raise _error(errno.ECONNABORTED)
        if reply.error == errno.ENOSYS and reply.operation.optional:
            connection.refused(name)
        if reply.error:
            raise _error(reply.error)
        return reply

    def post(self, name: str, node: int, *records: Wire) -> None:
        """Make a request for whose answer nobody waits."""
        if self._is_lost or not self.connection.knows(name):
            return
        unique, message = self.connection.request(name, node, *records, caller=_caller())
        with self._lock:
            self._waiting[unique] = _Nobody()
        self.tell(message)

    def _await_start(self) -> None:
        who = asker()
        while not self._ready.wait(_TICK):
            if who is not None and who.is_interrupted():
                raise _error(errno.EINTR)

    def _wait(self, unique: int, waiting: _Waiting) -> None:
        """Wait for an answer; the server is told if whoever asks has a signal, and left alone if he is gone.

        As fuse(4): whether a signal interrupts a request is for the server to say.  EINTR if nobody waits.
        """
        who = asker()
        while not waiting.wait(_TICK):
            if who is None or not who.is_interrupted():
                continue
            if who.is_killed():
                with self._lock:
                    if unique in self._waiting:
                        self._waiting[unique] = _Nobody()
                raise _error(errno.EINTR)
            self.tell(self.connection.interrupt(unique))

    def check(self) -> None:
        """ENOTCONN if the server is gone: what it once said is of no use then.

        The thread that reads may not have seen it yet.
        """
        is_gone = self._is_lost
        if not is_gone:
            try:
                is_gone = not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass
            except OSError:
                is_gone = True  # the thread that reads has seen it just now
        if is_gone:
            raise _error(errno.ENOTCONN)

    def tell(self, message: bytes | None) -> None:
        """Send what has no answer; it waits here while the server reads nothing."""
        if message is not None and not self._is_lost:
            with self._lock:
                self._unsent.append(message)
                self._flush()

    def close(self) -> None:
        """End the conversation: the server finds the device gone, some time soon if it is a program.

        Nothing is asked any more, so a server that does not answer keeps nobody waiting.
        """
        with self._lock:
            is_closed, self._is_closed = self._is_closed, True
        self._lose()
        if is_closed:
            return
        if self._theirs is None or self._over.is_set():
            self._shut()
            self._over.wait()
            self._close_socket()
            return
        from diorama.modules.filesystems.fuse.parting import Parting

        parting = Parting(self._socket, self._theirs, self._over, self._close_socket)
        threading.Thread(target=parting.run, name="fuse-end", daemon=True).start()

    def _shut(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _close_socket(self) -> None:
        with self._lock:  # nobody is sending
            self._socket.close()

    def _send(self, message: bytes, unique: int = 0) -> None:
        """Send a request; while the server reads nothing, who is interrupted takes it back: EINTR."""
        who = asker()
        try:
            while not self._is_lost:
                with self._lock:
                    if self._flush() and self._put(message):
                        return
                with contextlib.suppress(ValueError):  # closed just now
                    select.select([], [self._socket], [], _TICK)
                if who is not None and who.is_interrupted():
                    raise _error(errno.EINTR)
        except OSError:
            with self._lock:
                self._waiting.pop(unique, None)
            self.connection.withdraw(unique)
            raise

    def _flush(self) -> bool:
        """Send what waits; False if not all of it could be."""
        while self._unsent and self._put(self._unsent[0]):
            self._unsent.popleft()
        return not self._unsent

    def _put(self, message: bytes) -> bool:
        try:
            self._socket.send(message, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise
            # The thread that reads sees the end too, and tells everybody.
        return True

    def _read(self) -> None:
        buffer = bytearray(_MAX_MESSAGE)
        view = memoryview(buffer)
        assembly = Assembly(self.connection)
        while True:
            try:
                size = self._socket.recv_into(view)
            except OSError:
                size = 0
            if not size or self._is_lost:
                break  # unmounted: what it still says concerns nobody
            try:
                message = assembly.add(bytes(view[:size]))
                if message is not None:
                    self._take(message)
            except ProtocolError as error:
                warn_once(f"file system {self._title}", f"the server is dropped: {error}")
                break
        if not self._is_lost:
            self._lose()
            self._shut()
        self._over.set()

    def _take(self, message: bytes) -> None:
        told = self.connection.receive(message)
        if isinstance(told, Notification):
            self._on_notification(told)
        elif told is not None and told.operation.name == "INIT":
            if told.error:
                raise ProtocolError(f"INIT: {os.strerror(told.error)}")
            self._ready.set()
        elif told is not None:
            with self._lock:
                waiting = self._waiting.pop(told.unique, None)
            if waiting is not None:
                waiting.tell(told)

    def _lose(self) -> None:
        with self._lock:
            self._is_lost = True
            waiting = list(self._waiting.values())
            self._waiting.clear()
        self._ready.set()
        for one in waiting:
            one.tell(None)


def _caller() -> Caller:
    """Whose identity the server is told."""
    who = asker()
    if who is None:
        return Caller(os.getuid(), os.getgid(), os.getpid())
    return Caller(who.credentials.uid, who.credentials.gid, who.pid)
