"""Gateway: the way out of a LAN, for whom rules allow it, and the ways in that are published.

Who connects to an address outside is given one of the gateway's that stands for it, where a relay (`relay`)
connects on, from the machine's own address. Datagrams are the same, with a socket to the outside for each
two that talk. Who comes in through a published port is seen as the gateway by the host that it leads to.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from diorama.errors import UsageError
from diorama.interfaces.rules import ALLOW, DENY, OUT, Flow, Policy, Rule, parse_rule
from diorama.modules.networks.lan.addresses import FIRST_MORE, GATEWAY, Place
from diorama.modules.networks.lan.loop import READ, Loop
from diorama.modules.networks.lan.relay import Real

__all__ = ["Gateway", "parse_rules"]

_IDLE: Final = 120.0
_LARGEST: Final = 1 << 16
_MOST_NAMES: Final = 100_000


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

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._policy = parse_rules([])
        self._rules: list[str] = []
        self._names: dict[str, set[str]] = {}
        self._stands: dict[tuple[str, int, str], socket.socket] = {}
        self._outside: dict[tuple[Real, str, int], socket.socket] = {}
        self._used: dict[tuple[Real, str, int], float] = {}

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
            if protocol == "tcp":
                # Only taken here: a door of the relay's listens beside it.
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind(Place(number, GATEWAY, FIRST_MORE, 0).real())
            self._stands[key] = made
            if protocol == "udp":
                self._loop.watch(made.fileno(), READ, lambda _: self._go_out(made, address, port))
        real: Real = self._stands[key].getsockname()
        return real

    # -- datagrams ----------------------------------------------------------------------------

    def _go_out(self, stand: socket.socket, address: str, port: int) -> None:
        with suppress(OSError):
            while True:
                data, source = stand.recvfrom(_LARGEST)
                if self.allows(address, port, "udp"):
                    self._way(stand, source, address, port).send(data)

    def _way(self, stand: socket.socket, source: Real, address: str, port: int) -> socket.socket:
        """The socket by which one talks with one outside; as long as it does."""
        key = (source, address, port)
        made = self._outside.get(key)
        if made is None:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            made = socket.socket(family, socket.SOCK_DGRAM)
            made.settimeout(0)
            made.connect((address, port))
            self._outside[key] = made
            way = made
            self._loop.watch(made.fileno(), READ, lambda _: _hand_on(way, stand, source))
            self._loop.after(_IDLE, lambda: self._forget(key))
        self._used[key] = time.monotonic()
        return made

    def _forget(self, key: tuple[Real, str, int]) -> None:
        """Forget who has not sent anything for a while."""
        left = self._used[key] + _IDLE - time.monotonic()
        if left > 0:
            self._loop.after(left, lambda: self._forget(key))
            return
        del self._used[key]
        made = self._outside.pop(key)
        self._loop.ignore(made.fileno())
        made.close()


def _hand_on(way: socket.socket, stand: socket.socket, source: Real) -> None:
    with suppress(OSError):
        while True:
            stand.sendto(way.recv(_LARGEST), source)
