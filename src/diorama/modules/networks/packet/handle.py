"""Handle: the view's side of the process of a stack.

If that process dies, whatever is asked is ENETDOWN; its connections are reset by the kernel, since it held
the other ends of them, and who waits for a connection to be accepted is woken.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final

from diorama.errors import UsageError, warn_once
from diorama.interfaces.network import refuse
from diorama.modules.networks.packet.names import KEY_SIZE
from diorama.modules.networks.packet.requests import receive_message, send_message

__all__ = ["Handle"]

_PATIENCE: Final = 60.0
_LINGER: Final = 10.0


class Handle:
    """A stack in a process of its own."""

    def __init__(self) -> None:
        """Start it; `UsageError` if it cannot be."""
        self.key = secrets.token_bytes(KEY_SIZE)
        self._lock = threading.Lock()
        self._listening: dict[int, bytes] = {}
        self._is_closing = False
        self.is_down = False
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        ours.settimeout(_PATIENCE)
        words = [sys.executable, "-P", "-m", "diorama.modules.networks.packet.process", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True
            )
        try:
            (code, value), _ = receive_message(ours)
        except (EOFError, OSError):
            self._process.kill()
            self._process.wait()
            raise UsageError("cannot start a packet stack: its process has ended") from None
        if code:
            self._process.wait()
            raise UsageError(str(value), code)
        self.pid: int = value
        self.ask("key", self.key)
        threading.Thread(target=self._watch, name="packet-stack", daemon=True).start()

    def ask(self, verb: str, *arguments: Any, descriptors: Sequence[int] = ()) -> Any:
        """Ask and wait for the answer, which is never long in coming; its errno as an OSError."""
        code, value = self.consult(verb, *arguments, descriptors=descriptors)
        if code:
            raise refuse(code)
        return value

    def consult(self, verb: str, *arguments: Any, descriptors: Sequence[int] = ()) -> tuple[int, Any]:
        """The same, with the errno and what there is to say about it."""
        with self._lock:
            if self.is_down:
                raise refuse(errno.ENETDOWN)
            try:
                send_message(self._socket, (verb, arguments), tuple(descriptors))
                (code, value), _ = receive_message(self._socket)
            except (EOFError, OSError):
                self.is_down = True
                # It may only have hung: then what it holds must go.
                self._process.kill()
                raise refuse(errno.ENETDOWN) from None
        return code, value

    def listening(self, number: int, name: bytes) -> None:
        """A program waits for connections on a socket of this name."""
        self._listening[number] = name

    def _watch(self) -> None:
        status = self._process.wait()
        self.is_down = True
        if self._is_closing:
            return
        warn_once("packet", f"the process of a stack has ended ({_told(status)}); its network is down")
        for name in list(self._listening.values()):
            self._wake(name)

    def _wake(self, name: bytes) -> None:
        caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with caller, contextlib.suppress(OSError):
            caller.connect(name)

    def close(self) -> None:
        """The view has ended: the process says what is still to be said, and ends."""
        self._is_closing = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(_LINGER)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.close()


def _told(status: int) -> str:
    return f"status {status}" if status >= 0 else f"signal {-status}"


def make_name() -> bytes:
    """A name for a socket of a program's."""
    return f"\0diorama/{os.getpid()}/{secrets.token_hex(8)}".encode()
