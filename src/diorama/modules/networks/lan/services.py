"""Services: what the keeper of a LAN does for its hosts while they talk to each other and to others."""

from __future__ import annotations

import errno
from collections.abc import Callable

from diorama.errors import UsageError
from diorama.modules.networks.lan.addresses import parse_real
from diorama.modules.networks.lan.conditions import Conditions, conditions_between, name_of
from diorama.modules.networks.lan.datagrams import Datagrams
from diorama.modules.networks.lan.loop import Loop
from diorama.modules.networks.lan.pipe import Pipes
from diorama.modules.networks.lan.relay import Connection, Doors, Real, relayed
from diorama.modules.networks.lan.wire import State

__all__ = ["Services"]


class Services:
    """Those of one LAN.  On the loop's thread."""

    def __init__(self, loop: Loop, state: Callable[[], State]) -> None:
        self._loop, self._state = loop, state
        self._pipes = Pipes(self._conditions)
        self._doors = Doors()
        self._connections: set[Connection] = set()
        self._datagrams = Datagrams(loop, self._pipes, self._passed)

    def follow(self) -> None:
        """The state has changed."""
        self._pipes.refresh()
        for connection in self._connections:
            connection.refresh()

    def relay(self, source: Real, target: Real, protocol: str) -> Real:
        """Where to connect or send to in place of a target; `UsageError`."""
        ends = parse_real(*source), parse_real(*target)
        number = self._state().number
        if any(end is None or end.number != number or not end.port for end in ends):
            raise UsageError(f"{source} and {target} are not of this LAN", errno.EINVAL)
        try:
            return self._datagrams.ask(source, target) if protocol == "udp" else self._connect(source, target)
        except OSError as error:
            raise UsageError(f"no relay to {target}: {error}", error.errno or errno.EIO) from None

    def _connect(self, source: Real, target: Real) -> Real:
        one, other = (int(real[0].split(".")[2]) for real in (source, target))
        door = relayed(target[0]), target[1]
        self._connections.add(
            Connection(
                self._loop,
                self._doors,
                source,
                target,
                (self._pipes.between(one, other), self._pipes.between(other, one)),
                self._connections.discard,
                door=door,
            )
        )
        return door

    def _passed(self, source: Real, target: Real, data: bytes) -> None:
        """A datagram has set out."""

    def _conditions(self, one: int, other: int) -> Conditions:
        state = self._state()
        return conditions_between(state, name_of(state, one), name_of(state, other))
