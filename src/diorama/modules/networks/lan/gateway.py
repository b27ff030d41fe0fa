"""Gateway: the way out of a LAN, for whom rules allow it, and the ways in that are published.

Who connects to an address outside is given one of the gateway's that stands for it, where a relay (`relay`)
connects on, from the machine's own address. Datagrams are the same, with a socket to the outside for each
two that talk; that nobody hears them there is told (`unheard`). Who comes in through a published port is seen
as the gateway by the host that it leads to.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Final, Protocol, TypeAlias

from diorama.errors import UsageError
from diorama.interfaces.rules import ALLOW, DENY, OUT, Flow, Policy, Rule, parse_rule
from diorama.modules.networks.lan.addresses import FIRST_MORE, GATEWAY, Place
from diorama.modules.networks.lan.loop import READ, Loop
from diorama.modules.networks.lan.relay import Real
from diorama.modules.networks.lan.unheard import bind, hear, prepare

__all__ = ["Gateway", "parse_rules"]

_IDLE: Final = 120.0
_LARGEST: Final = 1 << 16
_MOST_NAMES: Final = 100_000
_TRIES: Final = 3
_AGAIN: Final = 0.001


Refuse: TypeAlias = Callable[[Real, socket.socket, bytes], None]


class Carry(Protocol):
    """Calls when a datagram has arrived that a program sends outside, or (not `forth`) is sent from there.

    None for `data`: an answer that nobody hears there.
    """

    def __call__(
        self, data: bytes | None, source: Real, outside: Real, call: Callable[[], None], *, forth: bool
    ) -> None: ...


@dataclass(slots=True)
class _Talk:
    """What one program and one outside say to each other, by a socket of the machine's network."""

    way: socket.socket
    stand: socket.socket
    source: Real
    there: Real
    used: float = 0.0
    last: bytes = b""


def parse_rules(rules: list[str]) -> Policy:
    """`allow=PATTERN` and `deny=PATTERN` as a policy, which denies what it does not allow; `UsageError`."""
    found: list[Rule] = []
    for rule in rules:
        action, given, pattern = rule.partition("=")
        if not given or action not in (ALLOW, DENY):
            raise UsageError(f"{rule!r} is no rule of a gateway: write allow=PATTERN or deny=PATTERN")
        found.append(parse_rule(action, pattern))
    return Policy(found)


class Gateway:
    """The way out.  On the loop's thread."""

    def __init__(self, loop: Loop, carry: Carry, refuse: Refuse) -> None:
        self._loop, self._carry, self._refuse = loop, carry, refuse
        self._policy = parse_rules([])
        self._rules: list[str] = []
        self._names: dict[str, set[str]] = {}
        self._stands: dict[tuple[str, int, str], socket.socket] = {}
        self._outside: dict[tuple[Real, str, int], _Talk] = {}

    def follow(self, rules: list[str]) -> None:
        """Its rules are these."""
        if rules != self._rules:
            self._rules, self._policy = rules, parse_rules(rules)

    def may_ask(self, name: str) -> bool:
        """Whether there may be an address of that name that somebody may reach."""
        return self._policy.find_name(name).action == ALLOW

    def learn(self, name: str, addresses: list[str]) -> None:
        """DNS has told what a name's addresses are."""
        if len(self._names) > _MOST_NAMES:
            self._names.clear()
        for address in addresses:
            self._names.setdefault(address, set()).add(name)

    def allows(self, address: str, port: int, protocol: str) -> bool:
        """Whether somebody may go there."""
        names = self._names.get(address, set())
        flow = Flow(OUT, protocol, ip_address(address), port, names)
        return self._policy.find(flow).action == ALLOW

    def stand(self, number: int, address: str, port: int, protocol: str) -> Real:
        """The address of the gateway's that stands for one outside."""
        key = (address, port, protocol)
        if key not in self._stands:
            kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
            made = socket.socket(socket.AF_INET, kind)
            made.settimeout(0)
            place = Place(number, GATEWAY, FIRST_MORE, 0).real()
            if protocol == "tcp":
                # Only taken here: a door of the relay's listens beside it.
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                made.bind(place)
            else:
                prepare(made)
                bind(made, place)
            self._stands[key] = made
            if protocol == "udp":
                self._loop.watch(made.fileno(), READ, lambda _: self._hear(made, (address, port)))
        real: Real = self._stands[key].getsockname()
        return real

    # -- datagrams ----------------------------------------------------------------------------

    def _hear(self, stand: socket.socket, there: Real) -> None:
        with suppress(OSError):
            while True:
                data, source, is_marked = hear(stand)
                if is_marked:
                    self._loop.after(_AGAIN, partial(self._refuse, source, stand, data))
                elif self.allows(*there, "udp"):
                    talk = self._talk(stand, source, there)
                    self._carry(data, source, there, partial(self._go_out, talk, data), forth=True)

    def _go_out(self, talk: _Talk, data: bytes) -> None:
        talk.last = data
        for _ in range(_TRIES):
            try:
                talk.way.send(data)
            except ConnectionRefusedError:  # what was sent before, which is told once
                self._not_heard(talk)
            except OSError:
                return  # no way, or no room: it is lost
            else:
                return

    def _come_in(self, talk: _Talk, events: int) -> None:
        while True:
            try:
                data = talk.way.recv(_LARGEST)
            except ConnectionRefusedError:
                self._not_heard(talk)
                continue
            except OSError:
                return
            self._carry(data, talk.source, talk.there, partial(_hand_on, talk, data), forth=False)

    def _not_heard(self, talk: _Talk) -> None:
        """Nobody outside has heard what was sent last."""
        call = partial(self._refuse, talk.source, talk.stand, talk.last)
        self._carry(None, talk.source, talk.there, call, forth=False)

    def _talk(self, stand: socket.socket, source: Real, there: Real) -> _Talk:
        """The socket by which one talks with one outside; as long as it does."""
        key = (source, *there)
        talk = self._outside.get(key)
        if talk is None:
            made = socket.socket(socket.AF_INET6 if ":" in there[0] else socket.AF_INET, socket.SOCK_DGRAM)
            made.settimeout(0)
            made.connect(there)
            talk = self._outside[key] = _Talk(made, stand, source, there)
            self._loop.watch(made.fileno(), READ, partial(self._come_in, talk))
            self._loop.after(_IDLE, lambda: self._forget(key))
        talk.used = time.monotonic()
        return talk

    def _forget(self, key: tuple[Real, str, int]) -> None:
        """Forget who has not sent anything for a while."""
        left = self._outside[key].used + _IDLE - time.monotonic()
        if left > 0:
            self._loop.after(left, lambda: self._forget(key))
            return
        talk = self._outside.pop(key)
        self._loop.ignore(talk.way.fileno())
        talk.way.close()


def _hand_on(talk: _Talk, data: bytes) -> None:
    with suppress(OSError):
        talk.stand.sendto(data, talk.source)
