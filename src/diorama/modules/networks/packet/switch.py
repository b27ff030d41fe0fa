"""Switch: an Ethernet between views of one user, without anybody in the middle.

Each member listens on a socket of AF_UNIX (SOCK_SEQPACKET) in the directory of the switch, and connects to
all others that listen there. A frame for a known address goes to the member that was heard to have it;
others go to all. So there is no process whose death would end the switch: what a member that dies leaves
behind is a name that refuses connections, and the next one to see it removes it.

A member that comes connects to those that are there; those that came at the same moment see each other from
both sides, which does no harm, since a frame is sent on one connection only. Who was missed is found by the
look around that comes with a broadcast, once a second at most.

The first message on a connection is the name of who has connected.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import select
import socket
import stat
import tempfile
import time
from typing import Final

from diorama.errors import UsageError
from diorama.modules.networks.packet.wires import FRAME_MAX, Wire

__all__ = ["Switch", "leave", "switch_directory"]

_ROOM: Final = 4 << 20
_LOOK: Final = 1.0
_ADDRESSES_MAX: Final = 4096
_NAME_MAX: Final = 32
_TRIES: Final = 100


def switch_directory(name: str) -> str:
    """The directory of a switch, which only its user may enter; made if it is not there."""
    if not name or len(name) > _NAME_MAX or "/" in name or name.startswith("."):
        raise UsageError(f"cannot open the wire switch:{name}: a name has 1 to {_NAME_MAX} characters")
    above = os.path.join(tempfile.gettempdir(), f"diorama-switches-{os.geteuid()}")
    path = os.path.join(above, name)
    for _ in range(_TRIES):
        try:
            for part in (above, path):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700)
                about = os.lstat(part)
                if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
                    why = f"{part} is not a directory of yours alone"
                    raise UsageError(f"cannot open the wire switch:{name}: {why}")
        except FileNotFoundError:
            continue  # somebody has just removed it, being the last one there
        return path
    raise UsageError(f"cannot open the wire switch:{name}: {path} cannot be made")


def leave(name: str, pid: int) -> None:
    """Remove what a member leaves behind whose process has been killed."""
    directory = switch_directory(name)
    for member in os.listdir(directory):
        if member.startswith(f"{pid}-"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, member))
    _take_down(directory)


def _take_down(directory: str) -> None:
    """Who leaves last takes the directory with it."""
    with contextlib.suppress(OSError):
        os.rmdir(directory)
        os.rmdir(os.path.dirname(directory))


def _short(at: int, name: str) -> str:
    """A path that fits in an address of AF_UNIX, however long that of the directory is."""
    return f"/proc/self/fd/{at}/{name}"


class Switch(Wire):
    """A port of a switch."""

    def __init__(self, name: str) -> None:
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._watch = select.epoll()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._ports: dict[int, socket.socket] = {}
        self._members: dict[str, int] = {}
        self._nameless: set[int] = set()
        self._learned: dict[bytes, int] = {}
        self._looked = 0.0
        self._ready: list[int] = []
        self._directory, self._at = self._enter(name)
        self._listener.listen(256)
        self._watch.register(self._listener, select.EPOLLIN)
        self._look_around()

    def fileno(self) -> int:
        return self._watch.fileno()

    def _enter(self, name: str) -> tuple[str, int]:
        while True:
            directory = switch_directory(name)
            try:
                at = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                self._listener.bind(_short(at, self._name))
            except FileNotFoundError:
                continue  # the last member has left in between, and taken the directory with it
            return directory, at

    def _look_around(self) -> None:
        self._looked = time.monotonic()
        for name in os.listdir(self._directory):
            if name != self._name and name not in self._members:
                self._join(name)

    def _join(self, name: str) -> None:
        port = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            port.connect(_short(self._at, name))
            port.send(self._name.encode())
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._at)
        except OSError:
            pass
        else:
            self._members[name] = self._plug(port)
            return
        port.close()

    def _plug(self, port: socket.socket) -> int:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
        fd = port.fileno()
        self._ports[fd] = port
        self._watch.register(fd, select.EPOLLIN)
        return fd

    def _unplug(self, fd: int) -> None:
        port = self._ports.pop(fd, None)
        if port is None:
            return
        self._nameless.discard(fd)
        self._members = {name: at for name, at in self._members.items() if at != fd}
        self._learned = {address: at for address, at in self._learned.items() if at != fd}
        port.close()

    def receive(self) -> bytes | None:
        while True:
            if not self._ready:
                self._ready = [fd for fd, _ in self._watch.poll(0)]
            if not self._ready:
                return None
            fd = self._ready[-1]
            frame = self._take_from(fd)
            if frame is None:
                self._ready.pop()
            elif frame:
                return frame

    def _take_from(self, fd: int) -> bytes | None:
        """A frame of a port; nothing if it was something else; None if there is no more."""
        if fd == self._listener.fileno():
            return self._accept()
        port = self._ports.get(fd)
        if port is None:
            return None
        try:
            frame = port.recv(FRAME_MAX)
        except BlockingIOError:
            return None
        except OSError:
            frame = b""
        if not frame:
            self._unplug(fd)
            return None
        if fd in self._nameless:
            self._nameless.discard(fd)
            self._members.setdefault(frame.decode(errors="replace"), fd)
            return b""
        if len(self._learned) < _ADDRESSES_MAX:
            self._learned[frame[6:12]] = fd
        return frame

    def _accept(self) -> bytes | None:
        try:
            port, _ = self._listener.accept()
        except BlockingIOError:
            return None
        port.setblocking(False)  # noqa: FBT003
        self._nameless.add(self._plug(port))
        return b""

    def send(self, frame: bytes) -> None:
        target = frame[:6]
        known = self._learned.get(target)
        if known is not None:
            self._send_to(known, frame)
            return
        # Who has just come is to hear it too.
        while self._accept() is not None:
            pass
        if target[0] & 1 and time.monotonic() - self._looked > _LOOK:
            self._look_around()
        for fd in {*self._members.values(), *self._nameless}:
            self._send_to(fd, frame)

    def _send_to(self, fd: int, frame: bytes) -> None:
        try:
            self._ports[fd].send(frame, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE):
                self._unplug(fd)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._name, dir_fd=self._at)
        os.close(self._at)
        self._listener.close()
        for port in self._ports.values():
            port.close()
        self._ports.clear()
        self._watch.close()
        _take_down(self._directory)
