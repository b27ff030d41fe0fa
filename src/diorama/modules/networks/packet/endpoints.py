"""Endpoints: sockets of a packet stack, in the view.

What a program has is a socket of AF_UNIX with a name by chance, which is not connected at first: it can
listen, be connected to our end when there is a connection, or send to the names of peers. `connections` and
`datagrams` tell what the other end does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import threading
from typing import TYPE_CHECKING, Final

from diorama.abi.socket import AF_UNSPEC, Inet6Address, InetAddress, SocketAddress, UnixAddress, parse_address
from diorama.engine.rawsocket import connect_raw
from diorama.interfaces.asking import asker
from diorama.interfaces.network import Endpoint, Held, Sent, refuse
from diorama.modules.networks.packet.handle import Handle, make_name
from diorama.modules.networks.packet.names import name_of, parse_name
from diorama.modules.networks.packet.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["DatagramEndpoint", "PacketEndpoint", "StreamEndpoint"]

Named = tuple[str, int, int]

_ROOM: Final = 212992
_FILLER: Final = bytes(48 << 10)
_SLICE: Final = 100
_REACHED_MAX: Final = 64


class PacketEndpoint(Held):
    """What both sorts share."""

    def __init__(self, handle: Handle, number: int, family: int, type: int, protocol: int) -> None:
        super().__init__(family, type, protocol)
        self._handle = handle
        self.number = number
        self.settings = Settings(family, type, protocol)
        self._lock = threading.Lock()
        self.own_name = b""

    def open(self) -> socket.socket:
        kind = socket.SOCK_STREAM if self.type == socket.SOCK_STREAM else socket.SOCK_DGRAM
        made = socket.socket(socket.AF_UNIX, kind)
        try:
            self.own_name = make_name()
            made.bind(self.own_name)
            _make_room(made)
            arguments = self.number, self.family, self.type, self.protocol, self.own_name
            self._handle.ask("open", *arguments, os.fstat(made.fileno()).st_ino)
        except BaseException:
            made.close()
            raise
        return made

    def _named(self, address: SocketAddress) -> Named:
        """An address that the program has given; EAFNOSUPPORT, EINVAL."""
        if isinstance(address, InetAddress) and self.family == socket.AF_INET:
            return address.host, address.port, 0
        if isinstance(address, Inet6Address) and self.family == socket.AF_INET6:
            return address.host, address.port, address.scope_id
        same = address.pack()[:2] == self.family.to_bytes(2, "little")
        raise refuse(errno.EINVAL if same else errno.EAFNOSUPPORT)

    def _told(self, named: Named | None) -> SocketAddress:
        host, port, scope = named or ("0.0.0.0" if self.family == socket.AF_INET else "::", 0, 0)
        if self.family == socket.AF_INET:
            return InetAddress(host, port)
        return Inet6Address(host, port, 0, scope if host.startswith("fe80") else 0)

    def bind(self, at: socket.socket, address: SocketAddress) -> None:
        self._handle.ask("bind", self.number, *self._named(address))

    def name(self, at: socket.socket) -> SocketAddress:
        return self._told(self._handle.ask("name", self.number))

    def peer(self, at: socket.socket) -> SocketAddress:
        named = self._handle.ask("peer", self.number)
        if named is None:
            raise refuse(errno.ENOTCONN)
        return self._told(named)

    def get_option(self, at: socket.socket, level: int, option: int, size: int) -> bytes | None:
        if (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR):
            # The kernel's own error of this socket stands for ours, and is used up.
            at.getsockopt(level, option)
            return int(self._handle.ask("error", self.number)).to_bytes(4, "little")
        told = super().get_option(at, level, option, size)
        return told if told is not None else self.settings.get(level, option)

    def set_option(self, at: socket.socket, level: int, option: int, value: bytes) -> bool:
        is_all, matters = self.settings.set(level, option, value)
        if matters:
            self._handle.ask("set_option", self.number, level, option, value)
        return is_all


class StreamEndpoint(PacketEndpoint):
    """A TCP socket."""

    def __init__(self, handle: Handle, number: int, family: int, protocol: int) -> None:
        super().__init__(handle, number, family, socket.SOCK_STREAM, protocol or socket.IPPROTO_TCP)
        self._waited: socket.socket | None = None
        self._is_attached = False

    def connect(self, at: socket.socket, address: SocketAddress) -> bytes | None:
        named = self._named(address)
        with self._lock:
            waited = self._waited
        if os.get_blocking(at.fileno()):
            self._connect_waiting(at, named, waited)
            return None
        if waited is not None:
            raise refuse(errno.EALREADY)
        self._connect_later(at, named)
        raise refuse(errno.EINPROGRESS)

    def _connect_later(self, at: socket.socket, named: Named) -> None:
        """A socket that is not writable until the connection stands."""
        if self._is_attached:
            self._refuse_again()
        with _joined(at) as ours:
            fillers = _fill(at)
            self._handle.ask("connect", self.number, *named, fillers, descriptors=(ours.fileno(),))
            self._is_attached = True

    def _refuse_again(self) -> None:
        state = self._handle.ask("state", self.number)
        if state:
            raise refuse(errno.EALREADY if state == "connecting" else errno.EISCONN)
        # Its end is used up: the program has been told that its connection failed, and needs a new socket.
        raise refuse(self._handle.ask("error", self.number) or errno.ECONNABORTED)

    def _connect_waiting(self, at: socket.socket, named: Named, waited: socket.socket | None) -> None:
        if self._is_attached:
            if self._handle.ask("state", self.number) != "connecting":
                self._refuse_again()
            self._await_writable(at)
            return
        if waited is None:
            waited, theirs = socket.socketpair()
            with theirs:
                try:
                    self._handle.ask("connect", self.number, *named, 0, descriptors=(theirs.fileno(),))
                except BaseException:
                    waited.close()
                    raise
            with self._lock:
                self._waited = waited
        code = self._await_told(at, waited)
        with self._lock:
            self._waited = None
        waited.close()
        if code:
            self._handle.ask("error", self.number)
            raise refuse(code)
        self._attach(at)

    def _attach(self, at: socket.socket) -> None:
        with _joined(at) as ours:
            at.send(_FILLER[:1])
            self._handle.ask("attach", self.number, 1, descriptors=(ours.fileno(),))
            self._is_attached = True

    def _await_told(self, at: socket.socket, waited: socket.socket) -> int:
        for _ in _patience(waited, select.POLLIN):
            told = waited.recv(1)
            return told[0] if told else errno.ENETDOWN
        # A signal: the connection is still being made, as Linux has it.
        with self._lock:
            self._waited = None
        with _joined(at) as ours:
            self._handle.ask("attach", self.number, _fill(at), descriptors=(ours.fileno(),))
            self._is_attached = True
        waited.close()
        raise refuse(errno.EINTR)

    def _await_writable(self, at: socket.socket) -> None:
        for _ in _patience(at, select.POLLOUT):
            code = self._handle.ask("error", self.number)
            if code:
                raise refuse(code)
            return
        raise refuse(errno.EINTR)

    def get_option(self, at: socket.socket, level: int, option: int, size: int) -> bytes | None:
        if (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO):
            info: bytes = self._handle.ask("tcp_info", self.number)
            return info
        return super().get_option(at, level, option, size)

    def listen(self, at: socket.socket, backlog: int) -> None:
        if self._is_attached:
            raise refuse(errno.EINVAL)
        at.listen(backlog)
        self._handle.ask("listen", self.number, self.own_name)
        self._handle.listening(self.number, self.own_name)

    def accepted(self, new: socket.socket) -> Endpoint | None:
        name = new.getpeername()
        found = parse_name(self._handle.key, name if isinstance(name, bytes) else b"")
        if self._handle.is_down:
            raise refuse(errno.ECONNABORTED)
        if found is None:
            return None
        try:
            family = self._handle.ask("accepted", found[0], os.fstat(new.fileno()).st_ino)
        except OSError:
            return None
        _make_room(new)
        # The byte that stays in the queue of our end, which the program's end has not yet been given.
        with contextlib.suppress(OSError):
            new.send(_FILLER[:1], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        endpoint = StreamEndpoint(self._handle, found[0], family, self.protocol)
        endpoint.settings = self.settings.copy()
        endpoint._is_attached = True
        return endpoint

    def received(self, at: socket.socket, address: bytes) -> SocketAddress | None:
        # The kernel tells no address of who is connected.
        return parse_address(b"\0\0")

    def sending(self, at: socket.socket, address: SocketAddress) -> Sent:
        return Sent(None)


class DatagramEndpoint(PacketEndpoint):
    """A socket for UDP, pings, or raw packets."""

    pair_type = socket.SOCK_DGRAM
    guarded = True  # a program that is confined reaches no name of ours

    def __init__(self, handle: Handle, number: int, family: int, type: int, protocol: int) -> None:
        super().__init__(handle, number, family, type, protocol)
        self._reached: dict[Named, bytes] = {}

    def connect(self, at: socket.socket, address: SocketAddress) -> bytes | None:
        if address.pack()[:2] == AF_UNSPEC.to_bytes(2, "little"):
            self._handle.ask("disconnect", self.number)
            connect_raw(at.fileno(), address.pack())
            return None
        named = self._named(address)
        self._handle.ask("connect_datagrams", self.number, *named)
        # Nobody has to wait for that, so it need not be the program's own call.
        connect_raw(at.fileno(), self._name_of(named))
        return None

    def sending(self, at: socket.socket, address: SocketAddress) -> Sent:
        named = self._named(address)
        with self._lock:
            name = self._reached.get(named)
            if name is None:
                oldest = next(iter(self._reached)) if len(self._reached) >= _REACHED_MAX else None
                self._handle.ask("reach", self.number, *named, oldest)
                if oldest is not None:
                    del self._reached[oldest]
                name = self._reached[named] = self._name_of(named)
        return Sent(name)

    def _name_of(self, named: Named) -> bytes:
        return UnixAddress(name_of(self._handle.key, self.number, named)).pack()

    def received(self, at: socket.socket, address: bytes) -> SocketAddress | None:
        sender = parse_address(address)
        found = parse_name(self._handle.key, sender.path) if isinstance(sender, UnixAddress) else None
        if found is None or found[0] != self.number or found[1] is None:
            return None
        return self._told(found[1])

    def listen(self, at: socket.socket, backlog: int) -> None:
        raise refuse(errno.EOPNOTSUPP)


def _make_room(at: socket.socket) -> None:
    at.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
    at.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)


def _fill(at: socket.socket) -> int:
    """Fill the buffer of a socket until it is not writable: the number of bytes."""
    size = 0
    while True:
        try:
            size += at.send(_FILLER, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return size


@contextlib.contextmanager
def _joined(at: socket.socket) -> Generator[socket.socket]:
    """Connect a program's socket to one of ours, which nobody else can get between."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(b"")
        listener.listen(8)
        at.connect(listener.getsockname())
        while True:
            ours, _ = listener.accept()
            if _caller(ours) == os.getpid():
                break
            ours.close()
    with ours:
        yield ours


def _patience(at: socket.socket, events: int) -> Iterator[None]:
    """Wait until something can be done with a socket; nothing if a signal comes first."""
    who = asker()
    if who is not None:
        who.step_aside()
    poll = select.poll()
    poll.register(at, events)
    while not poll.poll(_SLICE):
        if who is not None and who.is_interrupted():
            return
    yield


def _caller(at: socket.socket) -> int:
    """The process at the other end."""
    return int.from_bytes(at.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")
