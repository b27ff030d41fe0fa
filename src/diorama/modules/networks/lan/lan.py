"""Lan: a LAN of this user's, as who is no host of it sees and changes it.

    office = diorama.Lan("office")
    office.set("db", latency="100ms", loss="1%")
    office.partition(["db", "web"], ["cache"])
    office.heal()

What is changed is so for all hosts when a method returns.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import Final

from diorama.errors import UsageError
from diorama.modules.networks.lan import meeting, wire
from diorama.modules.networks.lan.wire import State

__all__ = ["Lan", "lans"]

_PATIENCE: Final = 30.0


class Lan:
    """A LAN, by its name; each method but `state` is a verb of `diorama net NAME`. `UsageError`."""

    def __init__(self, name: str) -> None:
        self.name = meeting.check_name(name)

    @property
    def state(self) -> State:
        """All that is known of it now: `hosts`, `impairments` and the rest."""
        return self._tell(None)

    def order(self, verb: str, *words: str) -> State:
        """Carry out `diorama net NAME VERB WORD...`: what it is then."""
        return self._tell(wire.Order(1, verb, list(words)))

    def set(
        self,
        *whom: str,
        latency: float | str | None = None,
        jitter: float | str | None = None,
        bandwidth: float | str | None = None,
        loss: float | str | None = None,
    ) -> State:
        """What passes between some hosts (`"db"`), or some two (`"db-web"`), or all, suffers.

        Numbers are seconds (there and back), seconds, bytes a second, a share of 1; or texts, as `"100ms"`,
        `"1Mbit"`, `"1%"`.
        """
        values = {"latency": latency, "jitter": jitter, "bandwidth": bandwidth, "loss": loss}
        return self.order("set", *whom, *(f"{k}={_text(v)}" for k, v in values.items() if v is not None))

    def cut(self, *whom: str) -> State:
        """Let hosts (`"db"`) hear nobody, or two (`"db-web"`) not each other."""
        return self.order("cut", *whom)

    def partition(self, *sides: Sequence[str]) -> State:
        """Let hosts on different sides not hear each other."""
        return self.order("partition", "/".join(",".join(side) for side in sides))

    def heal(self, *whom: str) -> State:
        """Undo `cut`, of some or of all; of all, `partition` too."""
        return self.order("heal", *whom)

    def pause(self, *whom: str) -> State:
        """Let hosts be silent until `resume`."""
        return self.order("pause", *whom)

    def resume(self, *whom: str) -> State:
        """Undo `pause`, of some or of all."""
        return self.order("resume", *whom)

    def down(self, *whom: str) -> State:
        """Let hosts be dead until `up`."""
        return self.order("down", *whom)

    def up(self, *whom: str) -> State:
        """Undo `down` and `pause`, of some or of all."""
        return self.order("up", *whom)

    def call(self, name: str, target: str) -> State:
        """Let DNS know a host, or an address, by one more name; by none more if `target` is empty."""
        return self.order("name", f"{name}={target}")

    def publish(self, *ports: str) -> State:
        """Let ports of the machine lead to hosts: `[ADDRESS:]PORT=HOST:PORT[/udp]`."""
        return self.order("publish", *ports)

    def unpublish(self, *ports: str) -> State:
        """Undo that, for some (`"8080"`, `"53/udp"`) or for all."""
        return self.order("unpublish", *ports)

    def gateway(self, *rules: str) -> State:
        """Let hosts reach what rules allow outside: `allow=PATTERN` and `deny=PATTERN`; none: nothing."""
        return self.order("gateway", *(rules or ("none",)))

    def pcap(self, path: str | os.PathLike[str] | None) -> State:
        """Write what passes from now on to a file; None ends that."""
        return self.order("pcap", "none" if path is None else os.path.abspath(path))

    def reset(self) -> State:
        """Undo all that was set, cut, parted, paused or down."""
        return self.order("reset")

    def _tell(self, order: wire.Order | None) -> State:
        at = meeting.connect(self.name, start=False)
        if at is None:
            raise UsageError(f"there is no LAN {self.name!r}; there are {_listed()}", errno.ENOENT)
        with at:
            at.settimeout(_PATIENCE)
            try:
                wire.send(at, wire.Watch(wire.VERSION))
                state = _next(at)
                if order is not None:
                    wire.send(at, order)
                    state = _next(at)
            except TimeoutError:
                raise UsageError(f"the keeper of lan:{self.name} does not answer", errno.ETIMEDOUT) from None
            except (EOFError, OSError, ValueError) as error:
                raise UsageError(
                    f"the keeper of lan:{self.name} has ended {error}".strip(), errno.EPIPE
                ) from None
        return state


def _next(at: socket.socket) -> State:
    """The state that the keeper answers with; others are told in between."""
    while True:
        message, descriptors = wire.receive(at)
        for descriptor in descriptors:
            os.close(descriptor)
        if isinstance(message, wire.Refused):
            raise UsageError(message.why, message.code)
        if isinstance(message, (wire.Welcome, wire.Done)):
            return message.state


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:f}"


def _listed() -> str:
    return ", ".join(meeting.names()) or "none"


def lans() -> list[State]:
    """The LANs of this user that there are."""
    found: list[State] = []
    for name in meeting.names():
        try:
            found.append(Lan(name).state)
        except UsageError as error:
            if error.code != errno.ENOENT:
                raise
    return found
