"""Datagrams: UDP that passes through the keeper.

In place of a socket at T, one at T's relayed address hears what is sent there from C. It is handed over
when it arrives, by the socket at C's relayed address, which says that it comes from C (IP_PKTINFO): then
the receiver sees who has sent it, port and all, and no socket of ours is where one of a program's could be.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from diorama.modules.networks.lan.loop import READ, Loop
from diorama.modules.networks.lan.pipe import Pipes
from diorama.modules.networks.lan.relay import Real, relayed

__all__ = ["Datagrams"]

_IP_PKTINFO: Final = 8
_LARGEST: Final = 1 << 16
_IDLE: Final = 120.0
_LONGEST_QUEUE: Final = 1.0
"""Seconds of what waits for a narrow way; what comes then is lost, as in a router."""
_AT_ONCE: Final = 64


class Datagrams:
    """The sockets at relayed addresses.  On the loop's thread."""

    def __init__(self, loop: Loop, pipes: Pipes, tap: Callable[[Real, Real, bytes], None]) -> None:
        self._loop, self._pipes, self._tap = loop, pipes, tap
        self._sockets: dict[Real, socket.socket] = {}
        self._used: dict[Real, float] = {}
        self._is_sweeping = False

    def ask(self, source: Real, target: Real) -> Real:
        """Where to send in place of the target; it hears for two minutes after it was last used."""
        self._at(source)
        self._at(target)
        return relayed(target[0]), target[1]

    def close(self) -> None:
        """Hear nothing any more."""
        for real in [*self._sockets]:
            self._forget(real)

    def _at(self, real: Real) -> socket.socket:
        """The socket that stands in for one at an address."""
        self._used[real] = time.monotonic()
        made = self._sockets.get(real)
        if made is None:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                made.settimeout(0)
                made.bind((relayed(real[0]), real[1]))
            except BaseException:
                made.close()
                raise
            self._sockets[real] = made
            self._loop.watch(made.fileno(), READ, lambda events: self._hear(made, real))
            if not self._is_sweeping:
                self._is_sweeping = True
                self._loop.after(_IDLE, self._sweep)
        return made

    def _sweep(self) -> None:
        now = time.monotonic()
        for real in [real for real, used in self._used.items() if now - used > _IDLE]:
            self._forget(real)
        self._is_sweeping = bool(self._sockets)
        if self._is_sweeping:
            self._loop.after(_IDLE, self._sweep)

    def _forget(self, real: Real) -> None:
        made = self._sockets.pop(real)
        del self._used[real]
        self._loop.ignore(made.fileno())
        made.close()

    def _hear(self, made: socket.socket, target: Real) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, source = made.recvfrom(_LARGEST)
            except OSError:
                return
            self._used[target] = time.monotonic()
            self._carry(data, source, target)

    def _carry(self, data: bytes, source: Real, target: Real) -> None:
        one, other = (socket.inet_aton(real[0]) for real in (source, target))
        if one[:2] != other[:2]:
            return
        pipe = self._pipes.between(one[2], other[2])
        if pipe.waits > _LONGEST_QUEUE:
            return
        self._tap(source, target, data)
        self._loop.at(pipe.arrival(len(data)), lambda: self._hand_over(data, source, target))

    def _hand_over(self, data: bytes, source: Real, target: Real) -> None:
        told = struct.pack("=I4s4s", 0, socket.inet_aton(source[0]), bytes(4))
        with suppress(OSError):
            self._at(source).sendmsg([data], [(socket.SOL_IP, _IP_PKTINFO, told)], 0, target)
