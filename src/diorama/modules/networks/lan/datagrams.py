"""Datagrams: UDP that passes through the keeper.

In place of a socket at T, one at T's relayed address hears what is sent there from C. It is handed over
when it arrives, by the socket at C's relayed address, which stands for the same place: so who is connected
to its peer's relayed address (`wiring`) hears it as well as who is connected to nobody, and no socket of
ours is where one of a program's could be. Who is connected to C itself, for a moment, gets it from there
(IP_PKTINFO). What nobody hears is refused, as by the host (`unheard`).
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from diorama.modules.networks.lan.addresses import parse_real, relayed
from diorama.modules.networks.lan.hearing import datagram_peers, is_heard
from diorama.modules.networks.lan.loop import READ, Loop
from diorama.modules.networks.lan.pipe import Pipe, Pipes
from diorama.modules.networks.lan.relay import Real
from diorama.modules.networks.lan.unheard import bind, errors_of, hear, prepare, refuse

__all__ = ["LONGEST_QUEUE", "Datagrams"]

_IP_PKTINFO: Final = 8
_IDLE: Final = 120.0
LONGEST_QUEUE: Final = 1.0
"""Seconds of what waits for a narrow way; what comes then is lost, as in a router."""
_AT_ONCE: Final = 64
_TRIES: Final = 3
_TOLD: Final = 512
"""Of what nobody has heard the kernel tells so much at least."""
_AGAIN: Final = 0.001


class Datagrams:
    """The sockets at relayed addresses.  On the loop's thread."""

    def __init__(self, loop: Loop, pipes: Pipes, tap: Callable[[Real, Real, bytes], None]) -> None:
        self._loop, self._pipes, self._tap = loop, pipes, tap
        self._sockets: dict[Real, socket.socket] = {}
        self._used: dict[Real, float] = {}
        self._last: dict[Real, tuple[Real, bytes]] = {}
        """What was handed over last, by where it came from."""
        self._is_sweeping = False

    def ask(self, source: Real, target: Real) -> Real:
        """Where to send in place of the target.

        It hears for two minutes after it was last used, and as long as somebody is connected to it.
        """
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
                prepare(made, hears_errors=True)
                bind(made, (relayed(real[0]), real[1]))
            except BaseException:
                made.close()
                raise
            self._sockets[real] = made
            self._loop.watch(made.fileno(), READ, partial(self._hear, made, real))
            if not self._is_sweeping:
                self._is_sweeping = True
                self._loop.after(_IDLE, self._sweep)
        return made

    def _sweep(self) -> None:
        with suppress(OSError):  # no descriptor is left for the question, which is asked again
            now, peers = time.monotonic(), datagram_peers()
            for real in [real for real, used in self._used.items() if now - used > _IDLE]:
                if (relayed(real[0]), real[1]) not in peers:
                    self._forget(real)
        self._is_sweeping = bool(self._sockets)
        if self._is_sweeping:
            self._loop.after(_IDLE, self._sweep)

    def _forget(self, real: Real) -> None:
        made = self._sockets.pop(real)
        del self._used[real]
        self._last.pop(real, None)
        self._loop.ignore(made.fileno())
        made.close()

    # -- what passes --------------------------------------------------------------------------

    def _hear(self, made: socket.socket, target: Real, events: int) -> None:
        if events & select.EPOLLERR:
            self._look_for_errors(made, target)
        for _ in range(_AT_ONCE):
            try:
                data, source, is_marked = hear(made)
            except OSError:
                return
            if is_marked:
                self._loop.after(_AGAIN, partial(self.refuse, source, made, data))
                continue
            self._used[target] = time.monotonic()
            self._carry(data, source, target)

    def _between(self, source: Real, target: Real) -> Pipe | None:
        one, other = parse_real(*source), parse_real(*target)
        if one is None or other is None or one.number != other.number:
            return None
        return self._pipes.between(one.host, other.host)

    def _carry(self, data: bytes, source: Real, target: Real) -> None:
        pipe = self._between(source, target)
        if pipe is None or pipe.waits > LONGEST_QUEUE:
            return
        self._tap(source, target, data)
        self._loop.at(pipe.arrival(len(data)), partial(self._hand_over, data, source, target))

    def _hand_over(self, data: bytes, source: Real, target: Real) -> None:
        self._last[source] = target, data
        self._send(data, source, target)

    def _send(self, data: bytes, source: Real, target: Real, *, is_plain: bool = False) -> None:
        """Send from the address that stands for a source, or from itself."""
        told = struct.pack("=I4s4s", 0, socket.inet_aton(source[0]), bytes(4))
        control = [(socket.SOL_IP, _IP_PKTINFO, told)] if is_plain else []
        for _ in range(_TRIES):
            try:
                self._at(source).sendmsg([data], control, 0, target)
            except ConnectionRefusedError:  # what was sent before, which is told once
                self._look_for_errors(self._at(source), source)
            except OSError:
                return  # no room: it is lost
            else:
                return

    # -- what nobody hears --------------------------------------------------------------------

    def _look_for_errors(self, made: socket.socket, source: Real) -> None:
        for target, data in errors_of(made):
            self._not_heard(data, source, target)

    def _not_heard(self, start: bytes, source: Real, target: Real) -> None:
        """Nobody has heard a datagram which begins so: nobody is there, or is connected to the source."""
        if is_heard(target, socket.IPPROTO_UDP, source):
            to, data = self._last.get(source, (target, b""))
            if to != target or not data.startswith(start):
                data = start
            if len(data) > len(start) or len(start) < _TOLD:
                self._send(data, source, target, is_plain=True)
            return
        back = self._between(target, source)
        if back is not None and not back.conditions.is_cut:
            stand = self._at(target)
            self._loop.at(back.arrival(len(start)), partial(self.refuse, source, stand, start))

    def refuse(self, source: Real, stand: socket.socket, data: bytes) -> None:
        """Let a program know that nobody has heard what it has sent to a socket of ours."""
        if stand.fileno() >= 0:
            refuse(source, stand, self._at(source), data)
