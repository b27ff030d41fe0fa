"""Rules: which connections a policy allows, and what becomes of the others.

A rule is an action and a pattern:

    [in:|out:][tcp:|udp:|icmp:]HOST[:PORTS]

`HOST` is `*`, an address, a subnet (`10.0.0.0/8`, `[fe80::/10]`), a name, or a pattern of names
(`*.debian.org`); `PORTS` is a port, a range (`8000-8100`) or `*`.  Without a direction it is about what goes
out: whom a program connects or sends to. `in` is about who connects to a program: the host is the peer and
the port ours.  The first rule that matches counts; what none matches is decided by the default, which is a
pattern of `*` alone, wherever it stands.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from diorama.errors import UsageError

__all__ = [
    "ACTIONS",
    "ALL",
    "ALLOW",
    "ASK",
    "DENY",
    "IN",
    "OUT",
    "REDIRECT",
    "Flow",
    "Policy",
    "Rule",
    "Target",
    "parse_rule",
]

ALLOW, DENY, ASK, REDIRECT = ACTIONS = ("allow", "deny", "ask", "redirect")
IN, OUT = "in", "out"
ALL: Final = "*"
_PROTOCOLS: Final = ("tcp", "udp", "icmp")
_ERRORS: Final = {
    "denied": errno.EACCES,
    "refused": errno.ECONNREFUSED,
    "unreachable": errno.ENETUNREACH,
    "not-permitted": errno.EPERM,
    "timed-out": errno.ETIMEDOUT,
}
_NAME: Final = re.compile(r"[A-Za-z0-9_*?.-]+")
_PORT_MAX: Final = 65535

Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection is sent in place of where it was going; without a port: to the same."""

    host: Address
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """What is judged: a connection or a message.

    `address` is the other side's; of one that goes out `port` is the other side's, else ours.  `names` are
    those that DNS has told of the address.
    """

    direction: str
    protocol: str
    address: Address
    port: int
    names: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """An action, for what a pattern matches; `error` is what a denied program gets."""

    action: str
    text: str
    direction: str | None
    protocol: str | None
    subnet: Subnet | None
    name: str | None
    ports: tuple[int, int]
    error: int = errno.EACCES
    target: Target | None = None

    @property
    def is_default(self) -> bool:
        """Whether it is what counts when no other does."""
        return self.text == ALL

    @property
    def any_host(self) -> bool:
        """Whether it does not matter who it is."""
        return self.subnet is None and self.name is None

    def matches_port(self, direction: str, protocol: str, port: int) -> bool:
        """Whether it is about such connections, of whatever host."""
        about = self.direction in (None, direction) and self.protocol in (None, protocol)
        return about and (self.ports[0] <= port <= self.ports[1] or (protocol == "icmp" and self.all_ports))

    @property
    def all_ports(self) -> bool:
        """Whether the port does not matter."""
        return self.ports == (0, _PORT_MAX)

    def matches(self, flow: Flow) -> bool:
        """Whether it is about this one."""
        if not self.matches_port(flow.direction, flow.protocol, flow.port):
            return False
        if self.name is not None:
            return any(self.matches_name(name) for name in flow.names)
        return self.subnet is None or flow.address in self.subnet

    def matches_name(self, name: str) -> bool:
        """Whether a name is one of those it is about."""
        return self.name is not None and fnmatchcase(name.rstrip(".").lower(), self.name)


class Policy:
    """Rules in their order, and the default."""

    def __init__(self, rules: list[Rule]) -> None:
        defaults = [rule for rule in rules if rule.is_default]
        self.rules = [rule for rule in rules if not rule.is_default]
        self.default = defaults[-1] if defaults else parse_rule(DENY, ALL)

    @property
    def has_names(self) -> bool:
        """Whether it matters what addresses are called."""
        return any(rule.name is not None for rule in self.rules)

    def find(self, flow: Flow) -> Rule:
        """The rule that counts."""
        return next((rule for rule in self.rules if rule.matches(flow)), self.default)

    def find_port(self, protocol: str, port: int) -> Rule:
        """The rule that lets a program wait for connections to a port of its own, or does not.

        It may, if there is anybody who might connect.
        """
        for rule in self.rules:
            if rule.matches_port(IN, protocol, port) and (rule.action != DENY or rule.any_host):
                return rule
        return self.default

    def find_name(self, name: str) -> Rule:
        """The rule that lets a program ask what addresses a name has, or does not."""
        for rule in self.rules:
            if rule.matches_name(name) and rule.direction != IN and (rule.action != DENY or rule.all_ports):
                return rule
        return self.default


def parse_rule(action: str, text: str, *, error: str = "", target: str = "") -> Rule:
    """A rule by its parts; `UsageError` says what is wrong with it."""
    if action not in ACTIONS:
        raise UsageError(f"{action!r} is not what a rule can do; it can {', '.join(ACTIONS)}")
    if error and (action != DENY or error not in _ERRORS):
        raise UsageError(f"{error!r} is not how a rule can deny; it can be {', '.join(_ERRORS)}")
    if bool(target) != (action == REDIRECT):
        raise UsageError(f"{text!r}: a redirect, and only that, has a target")
    direction, rest = _prefix(text, (IN, OUT))
    protocol, rest = _prefix(rest, _PROTOCOLS)
    host, port = _split(rest)
    if action == REDIRECT and (direction == IN or text == ALL):
        raise UsageError(f"{text!r}: only what goes out can be redirected: `out:*` is all of that")
    subnet, name = _parse_host(host)
    return Rule(
        action,
        text,
        direction if text == ALL else direction or OUT,
        protocol,
        subnet,
        name,
        _parse_ports(port),
        _ERRORS[error or "denied"],
        _parse_target(target) if target else None,
    )


def _prefix(text: str, words: Collection[str]) -> tuple[str | None, str]:
    first, found, rest = text.partition(":")
    return (first, rest) if found and first in words else (None, text)


def _split(text: str) -> tuple[str, str]:
    """Host and port; an IPv6 address with a port has brackets."""
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            raise UsageError(f"{text!r} is not [ADDRESS]:PORT")
        return host, port[1:]
    if text.count(":") > 1:
        return text, ""
    host, _, port = text.partition(":")
    return host or ALL, port


def _parse_host(text: str) -> tuple[Subnet | None, str | None]:
    if text == ALL:
        return None, None
    try:
        return ip_network(text, strict=False), None
    except ValueError:
        pass
    if not _NAME.fullmatch(text) or re.fullmatch(r"[\d.]+", text):
        raise UsageError(f"{text!r} is neither an address, a subnet nor a name")
    return None, text.rstrip(".").lower()


def _parse_ports(text: str) -> tuple[int, int]:
    if text in ("", ALL):
        return 0, _PORT_MAX
    first, is_range, last = text.partition("-")
    try:
        ports = int(first), int(last if is_range else first)
    except ValueError:
        ports = (1, 0)
    if not 0 <= ports[0] <= ports[1] <= _PORT_MAX:
        raise UsageError(f"{text!r} is neither a port nor a range of ports")
    return ports


def _parse_target(text: str) -> Target:
    host, port = _split(text)
    try:
        address = ip_address("127.0.0.1" if host in ("", ALL) else host)
    except ValueError:
        raise UsageError(f"{text!r}: what is redirected needs an address to go to") from None
    first, last = _parse_ports(port)
    if port and first != last:
        raise UsageError(f"{text!r}: what is redirected needs one port to go to")
    return Target(address, first if port else None)
