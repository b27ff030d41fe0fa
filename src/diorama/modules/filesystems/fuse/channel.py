"""Channel: carries the messages of one connection over a socket.

The socket keeps the bounds of messages (SOCK_SEQPACKET), so what a server reads from it is what it would
read from /dev/fuse, and each of its writes is one message here.  Who waits for an answer reads it himself,
since waking another thread for that costs as much as the server does: one at a time reads, for the others
too, who wait on locks of their own, and when he has his answer one of them goes on.  While nobody asks, a
thread of the channel watches.

What a server tells by itself counts from the moment at which it has sent it.  So whoever uses what was told
before looks first whether there is something to read (`check`), and nothing that was told is said to hold
from before a notification is taken from the socket until all is done that follows from it.

When the server is gone, or has sent what no server may send, everybody who waits gets ECONNABORTED and
everybody who asks later ENOTCONN, as from the kernel.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final

from diorama.errors import warn_once
from diorama.fuse.assembly import Assembly
from diorama.fuse.connection import Connection, Notification, ProtocolError, Reply
from diorama.fuse.flags import Init
from diorama.fuse.operations import OPERATIONS
from diorama.fuse.wire import Wire
from diorama.interfaces.asking import Asker, asker
from diorama.modules.filesystems.fuse.forgetting import Forgetting
from diorama.modules.filesystems.fuse.leaving import Leaving
from diorama.modules.filesystems.fuse.waiting import Nobody, Waiting, caller, make_pair, wait_for_room

if TYPE_CHECKING:
    from diorama.engine._told import Left
    from diorama.engine.ending import Identity
    from diorama.engine.told import Told

__all__ = ["Channel", "make_pair"]

_MAX_MESSAGE: Final = 1 << 20
_TICK: Final = 0.05
_HEAD: Final = 16
_UNIQUE: Final = 8
"""The header of an answer ends with the number of its request, which is 0 in a notification."""


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class Channel:
    """The channel to one server, from `start` to `close`.  Any thread.

    `on_notification` and `on_ready` are called on the thread that reads, `on_lost` once when the server is
    gone.  `title` names the server in messages.  `theirs` is the identity of the server's end, if programs
    have it.  `told` has what the server has said, as long as that holds.  `waiting` are the requests without
    an answer, but for those that C waits for, which is a moment.

    Who reads is known to `told`, by which C asks too; `_lock` guards the rest, never for long.
    """

    def __init__(
        self,
        sock: socket.socket,
        wants: Init,
        title: str,
        on_notification: Callable[[Notification], None],
        told: Told,
        theirs: Identity | None = None,
    ) -> None:
        self.connection = Connection(wants=wants)
        self._socket = sock
        self._title = title
        self._on_notification = on_notification
        self._lock = threading.Lock()
        self.waiting: dict[int, Waiting] = {}
        self._unsent: deque[bytes] = deque()
        self._is_lost = self._is_closed = self._is_noticing = False
        self.on_lost: Callable[[], None] = lambda: None
        self.on_ready: Callable[[], None] = lambda: None
        self._theirs = theirs
        self._over = threading.Event()
        self._ready = threading.Event()
        self._told = told
        told.on_abandoned = lambda unique: self.tell(self.connection.abandoned(unique))
        self._left = Leaving(told, self.connection)
        self._forgetting = Forgetting(self.connection, told, self.tell)
        self._left_one: Left | None = None
        self._buffer = memoryview(bytearray(_MAX_MESSAGE))
        self._assembly = Assembly(self.connection)
        self._askers = self._seen = 0
        self._was_asked = False
        self._watcher = threading.Thread(target=self._watch, name="fuse", daemon=True)

    def start(self) -> None:
        """Begin the conversation; requests wait until the server has answered."""
        seconds, microseconds = divmod(round(_TICK * 10**6), 10**6)
        self._socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", seconds, microseconds)
        )
        self._send(self.connection.start())
        self._watcher.start()

    def ask(
        self,
        name: str,
        node: int,
        *records: Wire,
        names: tuple[bytes, ...] = (),
        data: bytes = b"",
        room: int = 0,
        late: Callable[[Reply], None] | None = None,
    ) -> Reply:
        """Make a request and wait for the answer; an error of the server is an `OSError`.

        ENOSYS without asking for what the server has said not to know.  `late` is called if the server does
        it when whoever asks has gone, and must not wait.
        """
        self._await_start()
        connection = self.connection
        if not connection.knows(name):
            raise _error(errno.ENOSYS)
        waiting = Waiting(late)
        with self._lock:
            if self._is_lost:
                raise self._left.gone()
            if (opened := self._left.given(name, node, records)) is not None:
                return opened
            unique, message = self._left.adopt(name, node, records, names), None
            if not unique:
                unique, message = connection.request(
                    name, node, *records, names=names, data=data, room=room, caller=caller()
                )
                self._left.check(node, unique)
            self.waiting[unique] = waiting
        if message is not None and self._exchange(message, unique, waiting):
            message = None
        if not waiting.is_told:
            with self._asking():
                if message is not None:
                    self._send(message, unique)
                self._wait(unique, waiting)
        return self._answer(name, waiting)

    def _exchange(self, message: bytes, unique: int, waiting: Waiting) -> bool:
        """Send a request and take its answer, where nobody else reads and nothing else comes before it.

        Whether it is sent.
        """
        if self._unsent:
            return False
        who = asker()
        if who is not None:
            who.step_aside()
        answer = self._told.exchange(message)
        if answer:
            with self._lock:
                self.waiting.pop(unique, None)
            try:
                reply = self.connection.receive(answer)
            except ProtocolError as error:
                self._drop(error)
                reply = None
            waiting.tell(reply if isinstance(reply, Reply) else None)
            self._forgetting.settle()
        return answer is not None

    @contextlib.contextmanager
    def _asking(self) -> Generator[None, None, None]:
        with self._lock:
            self._askers += 1
            self._told.disturb()
        try:
            yield
        finally:
            with self._lock:
                self._askers -= 1
                self._was_asked = True

    def _answer(self, name: str, waiting: Waiting) -> Reply:
        reply = waiting.reply
        if reply is None:
            raise _error(errno.ECONNABORTED)
        if reply.error == errno.ENOSYS and reply.operation.optional:
            self.connection.refused(name)
            self._left.tell_lists()
        if reply.error:
            raise _error(reply.error)
        return reply

    def post(self, name: str, node: int, *records: Wire) -> None:
        """Make a request for whose answer nobody waits."""
        if self._is_lost or not self.connection.knows(name):
            return
        if unique := self._told.post(OPERATIONS[name].number, node):
            self.tell(self.connection.numbered(name, unique, node, *records, caller=caller()))
            return
        unique, message = self.connection.request(name, node, *records, caller=caller())
        with self._lock:
            self.waiting[unique] = Nobody()
        self.tell(message)

    def forget(self, node: int, references: int) -> None:
        """Give back so many references to a node, as soon as nothing is asked about it."""
        self._forgetting.add(node, references)

    def _await_start(self) -> None:
        who = asker()
        while not self._ready.wait(_TICK):
            if who is not None and who.is_interrupted():
                raise _error(errno.EINTR)

    def _wait(self, unique: int, waiting: Waiting) -> None:
        """Wait for an answer; the server is told if whoever asks has a signal, and left alone if he is gone.

        As fuse(4): whether a signal interrupts a request is for the server to say.  EINTR if nobody waits.
        """
        who, until = asker(), time.monotonic() + self.connection.request_timeout
        if who is not None:
            who.step_aside()
        while not self._get(waiting):
            self._give_up(until)
            if who is None or not who.is_interrupted():
                continue
            self.tell(self.connection.interrupt(unique))
            if who.is_killed():
                with self._lock:
                    if unique not in self.waiting:
                        continue  # it is answered just now
                    self.waiting[unique] = Nobody(waiting.late)
                raise _error(errno.EINTR)

    def _give_up(self, until: float) -> None:
        """Drop a server that has not answered in the time that it has set itself (FUSE_REQUEST_TIMEOUT)."""
        if time.monotonic() > until:
            self._drop(ProtocolError(f"no answer in {self.connection.request_timeout} seconds"))

    def check(self) -> Asker | None:
        """Hear what the server has said, before using what it said earlier; ENOTCONN if it is gone.

        Once in a call: what was said since it began holds for it.  Whose call that is.
        """
        if self._is_lost:
            raise self._left.gone()
        who = asker()
        if who is None or who.heard is not self:
            if who is not None:
                who.heard = self
            self._hear()
        return who

    def _hear(self) -> None:
        try:
            is_gone = not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            if self._is_noticing:
                self._told.read(wait=True)
                self._leave()
            return
        except OSError:
            is_gone = True  # somebody has seen it just now
        if is_gone:
            raise self._left.gone()
        if self._told.read(wait=False):
            try:
                while self._read(socket.MSG_DONTWAIT):
                    continue
            finally:
                self._leave()

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
        is_over = self._over.is_set()
        self._lose()
        if is_closed:
            return
        if self._theirs is None or is_over:
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
        who, until = asker(), time.monotonic() + self.connection.request_timeout
        try:
            while not self._is_lost:
                with self._lock:
                    if self._flush() and self._put(message):
                        return
                with contextlib.suppress(ValueError):  # closed just now
                    wait_for_room(self._socket, _TICK)
                self._give_up(until)
                if who is not None and who.is_interrupted():
                    raise _error(errno.EINTR)
        except OSError:
            with self._lock:
                self.waiting.pop(unique, None)
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

    # -- reading ------------------------------------------------------------------------------

    def _get(self, waiting: Waiting) -> bool:
        """Wait for an answer, for a moment; whether it has come."""
        until = time.monotonic() + _TICK
        while not waiting.is_told and time.monotonic() < until:
            if not self._told.read(wait=False):
                waiting.wait(_TICK)
                continue
            try:
                while not waiting.is_told and time.monotonic() < until and self._read():
                    continue
            finally:
                self._leave()
        return waiting.is_told

    def _leave(self) -> None:
        """Read no longer: one of those who wait may."""
        self._told.unread()
        with self._lock:
            for one in self.waiting.values():
                if not isinstance(one, Nobody):
                    one.wake()
                    return

    def _read(self, how: int = 0) -> bool:
        """Read one message, which may take a moment, and hand it on; False if there is none.

        By who has begun to read.
        """
        if self._is_lost:
            return False  # unmounted: what it still says concerns nobody
        try:
            head = self._socket.recv(_HEAD, how | socket.MSG_PEEK)
            if head[-_UNIQUE:] == bytes(_UNIQUE):
                self._notice(begins=True)
            size = self._socket.recv_into(self._buffer) if head else 0
            if not size:
                self._end()
                return False
            # What wakes us at the end is no message.
            message = None if self._is_closed else self._whole(bytes(self._buffer[:size]))
            if message is not None:
                self._take(message)
        except BlockingIOError:
            return False
        except OSError:
            self._end()
        except ProtocolError as error:
            self._drop(error)
        finally:
            if self._is_noticing:
                self._notice(begins=False)
        return not self._is_lost

    def _whole(self, part: bytes) -> bytes | None:
        """A message that is whole now; None if more is to come, or nobody waits for it."""
        with self._lock:
            left = self._left.expect(part)
            if left is not None and self._left.opened(left, part):
                return None
            self._left_one = left or self._left_one
        return self._assembly.add(part)

    def _notice(self, *, begins: bool) -> None:
        self._is_noticing = begins
        self._told.silence(holds=not begins)

    def _drop(self, error: ProtocolError) -> None:
        warn_once(f"file system {self._title}", f"the server is dropped: {error}")
        self._end()

    def _end(self) -> None:
        if not self._is_lost:
            self._lose()
            self._shut()

    def _watch(self) -> None:
        """Read what the server says while nobody asks."""
        wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(wake, select.POLLIN)
        while not self._is_lost:
            if not self._begins_to_watch(wake):
                time.sleep(_TICK)
                continue
            disturbed = wake in [fd for fd, _ in poll.poll()]
            self._told.watch(-1)
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(wake)
            if not (disturbed or self._askers) and self._told.read(wait=False):
                self._read(socket.MSG_DONTWAIT)
                self._leave()
        self._told.watch(-1)
        os.close(wake)
        self._told.read(wait=True)
        self._over.set()
        self._told.unread()

    def _begins_to_watch(self, wake: int) -> bool:
        """False while somebody asks, or has asked just now."""
        self._forgetting.settle()
        with self._lock:
            asked, self._was_asked = self._askers or self._was_asked, False
            before, self._seen = self._seen, self._told.asked
            is_busy = asked or self._seen != before
            if not is_busy and not self._is_lost:
                self._told.watch(wake)
            return not (is_busy or self._is_lost)

    def _take(self, message: bytes) -> None:
        left, self._left_one = self._left_one, None
        try:
            told = self.connection.receive(message)
        except ProtocolError:
            self._left.abort(left)
            raise
        if isinstance(told, Notification):
            self._on_notification(told)
        elif told is not None and told.operation.name == "INIT":
            if told.error:
                raise ProtocolError(f"INIT: {os.strerror(told.error)}")
            self._left.tell_lists()
            self._told.open(may_ask=True)
            self.on_ready()
            self._ready.set()
        elif told is not None:
            with self._lock:
                waiting = self.waiting.pop(told.unique, None) or Nobody()
            waiting.tell(told)
            for node in told.entered if isinstance(waiting, Nobody) else ():
                self._forgetting.add(node, 1)
            self._forgetting.settle()

    def _lose(self) -> None:
        with self._lock:
            self._is_lost = True
            self._told.on_abandoned = None
            self._told.open(may_ask=False)
            self._told.disturb()
            waiting = list(self.waiting.values())
            self.waiting.clear()
        self._ready.set()
        for one in waiting:
            one.tell(None)
        on_lost, self.on_lost = self.on_lost, lambda: None
        on_lost()

