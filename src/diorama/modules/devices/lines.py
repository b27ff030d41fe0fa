"""Lines: terminals and serial lines with somebody at the other end, outside of the view.

`terminal:PATH` and `serial:PATH` listen on a socket at PATH, for one at a time:
`socat STDIO,raw,echo=0 UNIX-CONNECT:PATH`.  What programs write while nobody is there is gone.  On a serial
line DSR and CD tell whether somebody is; `serial:loop` is one whose other end is plugged into itself.
"""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import stat
import threading
from contextlib import suppress
from typing import Final

from diorama.errors import UsageError
from diorama.interfaces.terminal import CD, CTS, DSR, DTR, RTS, SerialLine, Terminal
from diorama.modules.devices.options import make_device_mount
from diorama.modules.opening import host_name, usage_errors
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["Loop", "open_serial", "open_terminal"]

_ROOM: Final = 1 << 16
_TICK: Final = 100
_THERE: Final = DSR | CD | CTS


def open_terminal(rest: str, options: Options) -> Mount:
    """A mount of `terminal:PATH`."""
    what = f"terminal:{rest}"
    size = _size(what, options.take("size"))
    with usage_errors(what):
        device = _SocketTerminal(_listener(what, rest))
        device.rows, device.columns = size
        return make_device_mount(what, device, options)


def open_serial(rest: str, options: Options) -> Mount:
    """A mount of `serial:PATH` or `serial:loop`."""
    what = f"serial:{rest}"
    if rest == "loop":
        return make_device_mount(what, Loop(), options)
    with usage_errors(what):
        return make_device_mount(what, _SocketLine(_listener(what, rest)), options)


def _size(what: str, text: str | None) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text or "24x80")
    if match is None:
        raise UsageError(f"cannot mount {what}: a size is ROWSxCOLUMNS, not {text!r}")
    return int(match[1]), int(match[2])


class Loop(SerialLine):
    """A serial line that is plugged into itself: what is written is read, RTS is CTS, DTR is DSR and CD."""

    def received(self, data: bytes) -> None:
        self.send(data)

    def lines_set(self, lines: int) -> None:
        self.set_lines((CTS if lines & RTS else 0) | (DSR | CD if lines & DTR else 0))


class _Listening(Terminal):
    """Somebody may connect and sit at the other end."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._path: str = listener.getsockname()
        self._peer: socket.socket | None = None
        self._is_done = threading.Event()
        self._waiting: threading.Thread | None = None

    def start(self) -> None:
        super().start()
        self._waiting = threading.Thread(target=self._accept, name="line", daemon=True)
        self._waiting.start()

    def received(self, data: bytes) -> None:
        peer = self._peer
        if peer is not None:
            with suppress(OSError):
                peer.sendall(data)

    def there(self, *, is_there: bool) -> None:
        """Somebody has come, or gone."""

    def close(self) -> None:
        self._is_done.set()
        self._is_over = True  # who types what nobody reads stops
        if self._waiting is not None:
            self._waiting.join()
        super().close()
        self._listener.close()
        with suppress(OSError):
            if stat.S_ISSOCK(os.lstat(self._path).st_mode):
                os.unlink(self._path)

    def _accept(self) -> None:
        while not self._is_done.is_set():
            if _is_ready(self._listener):
                peer, _ = self._listener.accept()
                with peer:
                    self._peer = peer
                    self.there(is_there=True)
                    self._serve(peer)
                    self._peer = None
                    with suppress(OSError):
                        peer.shutdown(socket.SHUT_RDWR)  # whoever writes what he does not read stops
                    self.there(is_there=False)

    def _serve(self, peer: socket.socket) -> None:
        with suppress(OSError):
            while not self._is_done.is_set():
                if _is_ready(peer):
                    data = peer.recv(_ROOM)
                    if not data:
                        return
                    self.send(data)


class _SocketTerminal(_Listening):
    """A terminal with a socket."""


class _SocketLine(_Listening, SerialLine):
    """A serial line with a socket."""

    lines = DTR | RTS

    def there(self, *, is_there: bool) -> None:
        self.set_lines(_THERE if is_there else 0)


def _is_ready(one: socket.socket) -> bool:
    poll = select.poll()
    poll.register(one, select.POLLIN)
    return bool(poll.poll(_TICK))


def _listener(what: str, path: str) -> socket.socket:
    if not path:
        raise UsageError(f"cannot mount {what}: write {what}PATH, for a socket at PATH")
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _bind(found, host_name(path))
        found.listen(1)
    except BaseException:
        found.close()
        raise
    return found


def _bind(listener: socket.socket, path: str) -> None:
    """Take the place of a socket at which nobody listens any more, as one that was killed leaves it."""
    try:
        listener.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise
        with socket.socket(socket.AF_UNIX) as asking:
            if asking.connect_ex(path) != errno.ECONNREFUSED:
                raise
        os.unlink(path)
        listener.bind(path)
