"""Asked: a request to the kernel, as those see it who answer, and how they refuse it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from diorama.abi.netlink import NLM_F_DUMP, Message, find_attributes
from diorama.abi.socket import AF_INET, AF_INET6
from diorama.interfaces.network import Link, Story

__all__ = ["Answer", "Asked", "Dump", "Kind", "Settings", "Told", "family_of", "refuse_with"]

Answer = tuple[int, bytes]
"""The type of a message and what follows its header."""

_SIZE_OF_FAMILY: Final = {AF_INET: 4, AF_INET6: 16}


class Told(OSError):
    """A refusal with a text, which programs get that have asked for extended acknowledgements."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, os.strerror(code))
        self.text = text


def refuse_with(code: int, text: str) -> Told:
    """The error that gives the program this errno, and a text."""
    return Told(code, text)


@dataclass(slots=True)
class Settings:
    """What a socket has been set to with setsockopt(2), and its port."""

    port: int = 0
    capped: bool = False
    extended: bool = False
    strict: bool = False
    uid: int = 0


@dataclass(frozen=True, slots=True)
class Dump:
    """All answers to a request for all; `is_filtered` if only those that it named are among them.

    `error` is why there are none.
    """

    answers: Iterable[Answer]
    is_filtered: bool = False
    error: OSError | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, with the story that it is about."""

    story: Story
    message: Message
    settings: Settings

    @property
    def family(self) -> int:
        """The address family that it begins with."""
        return self.message.body[0]

    @property
    def wants_all(self) -> bool:
        """Whether it asks for a dump."""
        return bool(self.message.flags & NLM_F_DUMP)

    def has(self, flag: int) -> bool:
        """Whether it has one of the flags NLM_F_*."""
        return bool(self.message.flags & flag)

    def attributes(self, width: int) -> dict[int, bytes]:
        """The attributes behind a head of this size: EINVAL for what is no attribute."""
        try:
            return find_attributes(self.message.body[width + -width % 4 :])
        except ValueError:
            raise refuse_with(errno.EINVAL, "malformed attributes") from None

    def check(self, width: int, values: Iterable[int], known: Iterable[int], what: str) -> dict[int, bytes]:
        """The attributes of a request for all.

        With NETLINK_GET_STRICT_CHK those must be known ones, and the values of its head zero: EINVAL.
        """
        attributes = self.attributes(width) if len(self.message.body) >= width else {}
        if not self.settings.strict:
            return attributes
        if len(self.message.body) < width:
            raise refuse_with(errno.EINVAL, f"Invalid header for {what} dump request")
        if any(values):
            raise refuse_with(errno.EINVAL, f"Invalid values in header for {what} dump request")
        if attributes.keys() - set(known):
            raise refuse_with(errno.EINVAL, f"Unsupported attribute in {what} dump request")
        return attributes

    def link(self, index: int) -> Link:
        """The link with this index: ENODEV."""
        for one in self.story.links():
            if one.index == index:
                return one
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))


def family_of(address: IPv4Address | IPv6Address) -> int:
    """The address family of an address."""
    return AF_INET if address.version == 4 else AF_INET6


def address_of(family: int, value: bytes) -> IPv4Address | IPv6Address:
    """The address that an attribute has: EINVAL for a size that its family has not."""
    if len(value) != _SIZE_OF_FAMILY.get(family):
        raise refuse_with(errno.EINVAL, "Invalid address length")
    return ip_address(value)


def number_of(value: bytes | None, other: int = 0) -> int:
    """The number that an attribute has, or (None) has not."""
    return other if value is None else int.from_bytes(value[:4], "little")


@dataclass(frozen=True, slots=True)
class Kind:
    """Who answers requests about links, addresses, ...: None is EOPNOTSUPP."""

    dump: Callable[[Asked], Dump] | None = None
    get: Callable[[Asked], Answer] | None = None
    add: Callable[[Asked], None] | None = None
    remove: Callable[[Asked], None] | None = None
