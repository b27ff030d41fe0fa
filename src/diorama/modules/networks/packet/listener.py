"""Listener: gives what lwIP has accepted to a program that listens."""

from __future__ import annotations

import errno
import socket
from typing import Final

from diorama.modules.networks.packet import lwip as facts
from diorama.modules.networks.packet.connections import Connection

__all__ = ["Listener"]

_RETRY: Final = 0.02
_WAITING_MAX: Final = 1024


class Listener:
    """What a listening socket adds: connections are given to the program's own, which has this name.

    A connection of ours to it is one that the program can accept; the name of our end tells which.
    """

    def __init__(self, connection: Connection, name: bytes) -> None:
        self.socket = connection
        self.stack = connection.stack
        self.name = name
        self._waiting: list[tuple[Connection, socket.socket]] = []

    def listen(self) -> None:
        """Wait for connections."""
        at = self.socket
        at.make()
        if at.local is None:
            at.bind("0.0.0.0" if at.family == socket.AF_INET else "::", 0, 0)
        lwip = at.lwip
        pcb = lwip.tcp_listen_with_backlog(at.pcb, 255)
        if not pcb:
            raise OSError(errno.EADDRINUSE, "listen")
        at.pcb = pcb
        lwip.tcp_arg(pcb, at.number)
        lwip.tcp_accept(pcb, self.stack.callbacks.accepted)

    def accepted(self, pcb: int) -> int:
        """A connection has been accepted by lwIP."""
        new = self.stack.new_connection(self.socket.family)
        new.options = dict(self.socket.options)
        new.adopt(pcb)
        try:
            ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            ours.bind(self.stack.name_of(new.number))
        except OSError:  # no descriptor is left
            new.abort()
            self.stack.forget(new)
            return facts.ABORTED
        if self._offer(new, ours):
            return facts.OK
        if new.pcb:
            self._waiting.append((new, ours))
            if len(self._waiting) == 1:
                self.stack.loop.after(_RETRY, self._offer_again)
            if len(self._waiting) <= _WAITING_MAX:
                return facts.OK
            self._waiting.pop()
            ours.close()
            new.abort()
        self.stack.forget(new)
        return facts.ABORTED

    def _offer(self, new: Connection, ours: socket.socket) -> bool:
        try:
            ours.connect(self.name)
        except BlockingIOError:
            return False  # its backlog is full
        except OSError:
            new.abort()
            ours.close()
            self.stack.loop.after(0, self.socket.close)
            return False
        new.attach(ours, 0)
        return True

    def _offer_again(self) -> None:
        while self._waiting:
            new, ours = self._waiting[0]
            if not new.pcb:
                ours.close()
                self.stack.forget(new)
            elif not self._offer(new, ours) and new.pcb:
                self.stack.loop.after(_RETRY, self._offer_again)
                return
            self._waiting.pop(0)

    def close(self) -> None:
        """The program listens no more: nobody will have those that wait."""
        for new, ours in self._waiting:
            new.abort()
            ours.close()
            self.stack.forget(new)
        self._waiting.clear()
