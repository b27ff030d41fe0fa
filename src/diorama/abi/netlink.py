"""Netlink: what its messages are made of, netlink(7): headers, attributes, acknowledgements.

All of it is in the byte order of the machine, aligned to 4 bytes, and alike for 32-bit and 64-bit programs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from diorama.abi.socket import AF_NETLINK

__all__ = [
    "Message",
    "NetlinkAddress",
    "acknowledge",
    "attribute",
    "find_attributes",
    "nest",
    "split_messages",
    "text_attribute",
    "walk_attributes",
]

NETLINK_ROUTE = 0
NETLINK_SOCK_DIAG = 4
NETLINK_AUDIT = 9
MAX_LINKS = 32

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSG_OVERRUN = 4
NLMSG_MIN_TYPE = 16

NLM_F_REQUEST = 0x1
NLM_F_MULTI = 0x2
NLM_F_ACK = 0x4
NLM_F_ECHO = 0x8
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP_FILTERED = 0x20
NLM_F_ROOT = 0x100
NLM_F_MATCH = 0x200
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200

NLMSGERR_ATTR_MSG = 1

NLA_TYPE_MASK = 0x3FFF

NETLINK_ADD_MEMBERSHIP = 1
NETLINK_DROP_MEMBERSHIP = 2
NETLINK_PKTINFO = 3
NETLINK_BROADCAST_ERROR = 4
NETLINK_NO_ENOBUFS = 5
NETLINK_LISTEN_ALL_NSID = 8
NETLINK_LIST_MEMBERSHIPS = 9
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ADDRESS = struct.Struct("=HHII")


def _padding(size: int) -> bytes:
    return bytes(-size % 4)


class NetlinkAddress(NamedTuple):
    """A `struct sockaddr_nl`: a port (0 is the kernel), and a mask of the first 32 groups."""

    port: int = 0
    groups: int = 0

    def pack(self) -> bytes:
        """The bytes in memory."""
        return _ADDRESS.pack(AF_NETLINK, 0, self.port, self.groups)

    @classmethod
    def unpack(cls, data: bytes) -> NetlinkAddress:
        """The address of these bytes, without the family; ValueError if they are too few."""
        if len(data) < _ADDRESS.size - 2:
            raise ValueError("short sockaddr_nl")
        _, port, groups = struct.unpack_from("=HII", data)
        return cls(port, groups)


class Message(NamedTuple):
    """A `struct nlmsghdr`, and what follows it."""

    type: int
    flags: int
    sequence: int
    port: int
    body: bytes

    def pack(self) -> bytes:
        """The bytes of the message, padded for the next one."""
        size = _HEADER.size + len(self.body)
        head = _HEADER.pack(size, self.type, self.flags, self.sequence, self.port)
        return head + self.body + _padding(size)


def split_messages(datagram: bytes) -> Iterator[Message]:
    """The messages of a datagram; what does not look like one, and all behind it, is left out."""
    at = 0
    while at + _HEADER.size <= len(datagram):
        size, kind, flags, sequence, port = _HEADER.unpack_from(datagram, at)
        if size < _HEADER.size or at + size > len(datagram):
            return
        yield Message(kind, flags, sequence, port, datagram[at + _HEADER.size : at + size])
        at += size + -size % 4


def acknowledge(request: Message, port: int, code: int, *, capped: bool, told: str = "") -> Message:
    """What answers a request that failed with `code`, or (0) did not: NLMSG_ERROR.

    `capped` leaves out what the request had behind its header, `told` is the text of an extended
    acknowledgement, if those are wanted.
    """
    whole = bool(code) and not capped
    flags = 0 if whole else NLM_F_CAPPED
    copy = request.pack() if whole else request.pack()[: _HEADER.size]
    body = struct.pack("=i", -code) + copy
    if told:
        flags |= NLM_F_ACK_TLVS
        body += text_attribute(NLMSGERR_ATTR_MSG, told)
    return Message(NLMSG_ERROR, flags, request.sequence, port, body)


def attribute(kind: int, value: bytes) -> bytes:
    """A `struct nlattr` with its value, padded."""
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + _padding(size)


def text_attribute(kind: int, value: str) -> bytes:
    """An attribute that is a text."""
    return attribute(kind, value.encode() + b"\0")


def nest(kind: int, values: Iterable[bytes]) -> bytes:
    """An attribute that has attributes."""
    return attribute(kind, b"".join(values))


def walk_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Types and values of attributes; ValueError if something else is left at the end."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size or at + size > len(data):
            raise ValueError("malformed attributes")
        yield kind & NLA_TYPE_MASK, data[at + _ATTRIBUTE.size : at + size]
        at += size + -size % 4
    if at < len(data):
        raise ValueError("malformed attributes")


def find_attributes(data: bytes) -> dict[int, bytes]:
    """The attributes by type: of several of one type the last, as the kernel takes them; ValueError."""
    return dict(walk_attributes(data))
