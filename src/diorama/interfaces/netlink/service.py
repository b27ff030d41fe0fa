"""Service: the netlink sockets of one network, and the thread that answers them.

The thread lives as long as there are sockets. It reads requests, has them answered, and writes the answers;
an answer that a program does not take yet waits here. Memory is bounded: while more than `_MUCH` waits for a
socket, no more requests of it are read, so that its program waits when it goes on sending; and a change is
not told to a listener who has that much to read yet, as the kernel drops it for one whose buffer is full.

What a program has sent before it ended is still answered, because the kernel would have done it at once.

Locks: `_lock` guards what is known of the sockets. Nothing waits with it held, and no story is asked.
"""

from __future__ import annotations

import errno
import os
import select
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from diorama.abi.netlink import MAX_LINKS, NETLINK_ROUTE, NETLINK_SOCK_DIAG
from diorama.abi.socket import SOCK_DGRAM, SOCK_RAW
from diorama.interfaces.netlink.changes import Look, compare
from diorama.interfaces.netlink.diag import DiagResponder
from diorama.interfaces.netlink.endpoint import NetlinkEndpoint
from diorama.interfaces.netlink.responder import Responder, RouteResponder
from diorama.interfaces.network import Endpoint, Story, refuse
from diorama.interfaces.story import SocketState

__all__ = ["Netlink"]

_MUCH: Final = 4 << 20
_LARGEST: Final = 1 << 20
_FIRST_OTHER: Final = 2**32 - 4097
"""The port of the first socket that cannot have its process's id: the kernel counts down from -4097."""


_Socket: TypeAlias = socket.socket


@dataclass(slots=True)
class _Served:
    """A socket: our end of it, and the answers that wait."""

    endpoint: NetlinkEndpoint
    ours: socket.socket
    waiting: deque[bytes] = field(default_factory=deque[bytes])
    size: int = 0
    interest: int = selectors.EVENT_READ

    def put(self, datagram: bytes) -> None:
        self.waiting.append(datagram)
        self.size += len(datagram)

    def flush(self) -> None:
        """Write what can be written; what nobody will read any more is forgotten."""
        while self.waiting:
            try:
                self.ours.send(self.waiting[0], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                self.waiting.clear()
                self.size = 0
                return
            self.size -= len(self.waiting.popleft())


class Netlink:
    """The netlink of a network: it makes the sockets of AF_NETLINK, and tells listeners of changes."""

    def __init__(self, story: Story, sockets: Callable[[], Sequence[SocketState]] = tuple) -> None:
        self.story = story
        self._responders: dict[int, Responder] = {
            NETLINK_ROUTE: RouteResponder(story, self.changed),
            NETLINK_SOCK_DIAG: DiagResponder(sockets),
        }
        self._lock = threading.Lock()
        self._telling = threading.RLock()
        self._served: dict[NetlinkEndpoint, _Served] = {}
        self._look: Look | None = None
        self._wake = -1
        self._closed = False

    def make(self, type: int, protocol: int) -> Endpoint:
        """A new socket: ESOCKTNOSUPPORT, EPROTONOSUPPORT."""
        if type not in (SOCK_RAW, SOCK_DGRAM):
            raise refuse(errno.ESOCKTNOSUPPORT)
        if not 0 <= protocol < MAX_LINKS or protocol not in self._responders:
            raise refuse(errno.EPROTONOSUPPORT)
        return NetlinkEndpoint(self, type, protocol)

    def changed(self) -> None:
        """The story is not what it was: tell those who listen.

        The story is asked, so not by a thread that has to answer it.
        """
        with self._telling:
            old = self._look
            if old is None:
                return
            self._look = new = Look.at(self.story)
            notices = list(compare(old, new))
        with self._lock:
            for served in self._served.values():
                for group, message in notices:
                    if group in served.endpoint.groups and served.size < _MUCH:
                        served.put(message)
        self._rouse()

    def close(self) -> None:
        """End: programs read an end of file."""
        with self._lock:
            self._closed = True
        self._rouse()

    # -- for endpoints ------------------------------------------------------------------------

    def joined(self) -> None:
        """Somebody listens to other groups now."""
        with self._lock:
            listens = any(one.groups for one in self._served)
        with self._telling:
            self._look = (self._look or Look.at(self.story)) if listens else None

    def bind(self, endpoint: NetlinkEndpoint, port: int) -> None:
        """Give a socket a port; 0 is one of our choice: EINVAL if it has another, EADDRINUSE."""
        with self._lock:
            settings = endpoint.settings
            if settings.port:
                if port not in (0, settings.port):
                    raise refuse(errno.EINVAL)
                return
            taken = self._taken()
            if port and (endpoint.protocol, port) in taken:
                raise refuse(errno.EADDRINUSE)
            own, other = endpoint.owner, _FIRST_OTHER
            if not own or (endpoint.protocol, own) in taken:
                while (endpoint.protocol, other) in taken:
                    other -= 1
                own = other
            settings.port = port or own

    def _taken(self) -> set[tuple[int, int]]:
        """Protocols and ports of sockets that some program has open: who has closed one may use its port."""
        return {
            (one.protocol, one.settings.port)
            for one, served in self._served.items()
            if one.settings.port and not _is_closed(served.ours)
        }

    def serve(self, endpoint: NetlinkEndpoint, ours: _Socket) -> None:
        """Answer a new socket from now on."""
        ours.settimeout(0)
        with self._lock:
            if self._closed:
                raise refuse(errno.ENETDOWN)
            if self._wake < 0:
                self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                self._served[endpoint] = _Served(endpoint, ours)
                threading.Thread(target=self._run, name="netlink", daemon=True).start()
            else:
                self._served[endpoint] = _Served(endpoint, ours)
        self._rouse()

    # -- the thread ---------------------------------------------------------------------------

    def _rouse(self) -> None:
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        try:
            self._serve_all()
        except BaseException:
            with self._lock:  # nobody is to wait for an answer that will not come
                self._end()
            raise

    def _end(self) -> None:
        for served in self._served.values():
            served.ours.close()
        self._served.clear()
        if self._wake >= 0:
            os.close(self._wake)
        self._wake = -1

    def _serve_all(self) -> None:
        known: dict[NetlinkEndpoint, _Served] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            while self._renew(selector, known):
                for key, _ in selector.select():
                    if key.data is None:
                        os.eventfd_read(self._wake)
                    else:
                        self._attend(selector, known, key.data)

    def _renew(self, selector: selectors.BaseSelector, known: dict[NetlinkEndpoint, _Served]) -> bool:
        """Know all sockets, and what to wait for; False if the thread is not needed any more."""
        with self._lock:
            if self._closed or not self._served:
                self._end()
                return False
            for endpoint, served in self._served.items():
                if endpoint not in known:
                    known[endpoint] = served
                    selector.register(served.ours, served.interest, served)
                self._adjust(selector, served)
        return True

    def _adjust(self, selector: selectors.BaseSelector, served: _Served) -> None:
        served.flush()
        wanted = selectors.EVENT_READ if served.size < _MUCH else 0
        wanted |= selectors.EVENT_WRITE if served.waiting else 0
        if wanted != served.interest:
            served.interest = wanted
            selector.modify(served.ours, wanted, served)

    def _attend(
        self, selector: selectors.BaseSelector, known: dict[NetlinkEndpoint, _Served], served: _Served
    ) -> None:
        """Read a request and have it answered, unless answers have to be written first."""
        if served.size >= _MUCH:
            return
        try:
            datagram = served.ours.recv(_LARGEST)
        except (BlockingIOError, ConnectionResetError):
            return  # it has gone without having read all: what it asked before is still to be done
        if not datagram and _is_closed(served.ours):
            selector.unregister(served.ours)
            with self._lock:
                del self._served[served.endpoint], known[served.endpoint]
            served.ours.close()
            return
        self.bind(served.endpoint, 0)
        answers = self._responders[served.endpoint.protocol].answer(datagram, served.endpoint.settings)
        with self._lock:
            for answer in answers:
                served.put(answer)


def _is_closed(ours: socket.socket) -> bool:
    """Whether an empty message was the end of file, and not an empty message."""
    poll = select.poll()
    poll.register(ours, 0)
    return bool(poll.poll(0))
