"""Refusing: a program that connects at a relay is told at once that nobody answers.

Its kernel asks a door (`relay`) that hears nothing, and would ask again after a second only, to be refused
then. What makes it listen sooner is a connection the other way: it answers that (RFC 9293, 3.5, simultaneous
open), but who has asked hears no answer that is not from the very next hop of a longest way (ip(7),
IP_MINTTL), and is gone. A second one is no part of what was begun: it is answered that (3.10.7.4, a SYN that
is no new one), which is refused as what nobody knows, and so ends the program's attempt. For the kernel that
is a reset; who tells the program of it knows better (`endpoint`).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Final

from diorama.modules.networks.lan.hearing import state_between
from diorama.modules.networks.lan.loop import Loop, Timer

__all__ = ["Refusal"]

Real = tuple[str, int]

_SYN_SENT: Final = 2
_SYN_RECV: Final = 3
_IP_MINTTL: Final = 21
_NOBODY: Final = 255
"""More than what comes from the loopback has, unless it is told to."""
_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.1


class Refusal:
    """Refuse a program's attempt from `source` at the door `real`; it may not have begun yet, until a time.

    `make`: sockets bound to the door's address. On the loop's thread.
    """

    def __init__(
        self, loop: Loop, source: Real, real: Real, until: float, make: Callable[[Real], socket.socket]
    ) -> None:
        self._loop, self._source, self._real, self._until, self._make = loop, source, real, until, make
        self._pause = _FIRST_PAUSE
        self._has_begun = False
        self._timer: Timer | None = None
        self._go_on()

    def cancel(self) -> None:
        """What comes from there now is another attempt."""
        if self._timer is not None:
            self._timer.cancel()

    def _go_on(self) -> None:
        self._timer = None
        state = state_between(self._source, self._real)
        if state == _SYN_SENT:
            self._ask(deaf=True)
            state = state_between(self._source, self._real)
        if state == _SYN_RECV:
            self._has_begun = True
            self._ask(deaf=False)
            state = state_between(self._source, self._real)
        if (self._has_begun and state not in (_SYN_SENT, _SYN_RECV)) or time.monotonic() > self._until:
            return
        self._timer = self._loop.after(self._pause, self._go_on)
        self._pause = min(_LONGEST_PAUSE, 2 * self._pause)

    def _ask(self, *, deaf: bool) -> None:
        try:
            with self._make(self._real) as made:
                if deaf:
                    made.setsockopt(socket.SOL_IP, _IP_MINTTL, _NOBODY)
                made.connect_ex(self._source)
        except OSError:
            return  # the kernel has no room: later
