"""Routing messages: what rtnetlink(7) says of links, addresses, routes, neighbours and rules.

Each kind of message begins with a structure of its own, which attributes follow.
"""

from __future__ import annotations

from typing import Self

from diorama.abi.arch import Abi
from diorama.abi.record import Record, record

__all__ = ["AddressHead", "Head", "LinkHead", "NeighbourHead", "RouteHead"]

RTM_BASE = 16
RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_SETLINK = 19
RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22
RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26
RTM_NEWNEIGH = 28
RTM_DELNEIGH = 29
RTM_GETNEIGH = 30
RTM_NEWRULE = 32
RTM_DELRULE = 33
RTM_GETRULE = 34
RTM_MAX = 123

IFLA_ADDRESS = 1
IFLA_BROADCAST = 2
IFLA_IFNAME = 3
IFLA_MTU = 4
IFLA_QDISC = 6
IFLA_STATS = 7
IFLA_MASTER = 10
IFLA_TXQLEN = 13
IFLA_OPERSTATE = 16
IFLA_LINKMODE = 17
IFLA_LINKINFO = 18
IFLA_IFALIAS = 20
IFLA_STATS64 = 23
IFLA_GROUP = 27
IFLA_EXT_MASK = 29
IFLA_PROMISCUITY = 30
IFLA_NUM_TX_QUEUES = 31
IFLA_NUM_RX_QUEUES = 32
IFLA_CARRIER = 33
IFLA_MIN_MTU = 50
IFLA_MAX_MTU = 51
IFLA_ALT_IFNAME = 53

IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2

RTEXT_FILTER_SKIP_STATS = 1 << 3

IF_OPER_UNKNOWN = 0
IF_OPER_DOWN = 2
IF_OPER_LOWERLAYERDOWN = 3
IF_OPER_UP = 6

IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_LABEL = 3
IFA_BROADCAST = 4
IFA_CACHEINFO = 6
IFA_FLAGS = 8
IFA_PROTO = 11

IFA_F_SECONDARY = 0x01
IFA_F_PERMANENT = 0x80

IFAPROT_KERNEL_LO = 1

RTA_DST = 1
RTA_SRC = 2
RTA_OIF = 4
RTA_GATEWAY = 5
RTA_PRIORITY = 6
RTA_PREFSRC = 7
RTA_METRICS = 8
RTA_MULTIPATH = 9
RTA_CACHEINFO = 12
RTA_TABLE = 15
RTA_PREF = 20
RTA_UID = 25

RTN_UNSPEC = 0
RTN_UNICAST = 1
RTN_LOCAL = 2
RTN_BROADCAST = 3
RTN_MULTICAST = 5

RT_SCOPE_UNIVERSE = 0
RT_SCOPE_LINK = 253
RT_SCOPE_HOST = 254
RT_SCOPE_NOWHERE = 255

RT_TABLE_UNSPEC = 0
RT_TABLE_DEFAULT = 253
RT_TABLE_MAIN = 254
RT_TABLE_LOCAL = 255

RTPROT_UNSPEC = 0
RTPROT_KERNEL = 2
RTPROT_BOOT = 3

RTM_F_CLONED = 0x200
RTM_F_LOOKUP_TABLE = 0x1000
RTCF_BROADCAST = 0x10000000
RTCF_MULTICAST = 0x20000000
RTCF_LOCAL = 0x80000000

NDA_DST = 1
NDA_LLADDR = 2
NDA_CACHEINFO = 3
NDA_PROBES = 4
NDA_IFINDEX = 8
NDA_MASTER = 9
NUD_INCOMPLETE = 0x01
NUD_REACHABLE = 0x02
NUD_STALE = 0x04
NUD_FAILED = 0x20
NUD_NOARP = 0x40
NUD_PERMANENT = 0x80

FRA_PRIORITY = 6
FRA_SUPPRESS_PREFIXLEN = 14
FRA_TABLE = 15
FRA_PROTOCOL = 21
FR_ACT_TO_TBL = 1

RTNLGRP_LINK = 1
RTNLGRP_NEIGH = 3
RTNLGRP_IPV4_IFADDR = 5
RTNLGRP_IPV4_ROUTE = 7
RTNLGRP_IPV6_IFADDR = 9
RTNLGRP_IPV6_ROUTE = 11


_NATIVE = Abi.native()[0]


class Head(Record):
    """What a message of a kind begins with, which is alike on all ABIs."""

    __slots__ = ()

    def encode(self) -> bytes:
        """The bytes."""
        return self.pack(_NATIVE)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The head of a message; what the message lacks at its end is zero."""
        return cls.unpack(_NATIVE, data)

    @classmethod
    def width(cls) -> int:
        """The size, in bytes."""
        return cls.size(_NATIVE)


@record({"ifinfomsg": "u8 family, u8 _, u16 kind, s32 index, u32 flags, u32 change"})
class LinkHead(Head):
    """Of a link; `change` is the mask of the flags that are to change, or did."""

    family: int = 0
    kind: int = 0
    index: int = 0
    flags: int = 0
    change: int = 0


@record({"ifaddrmsg": "u8 family, u8 length, u8 flags, u8 scope, u32 index"})
class AddressHead(Head):
    """Of an address of a link."""

    family: int = 0
    length: int = 0
    flags: int = 0
    scope: int = 0
    index: int = 0


_ROUTE = "u8 family, u8 length, u8 source_length, u8 tos, u8 table, u8 protocol, u8 scope, u8 type, u32 flags"


@record({"rtmsg": _ROUTE, "fib_rule_hdr": _ROUTE})
class RouteHead(Head):
    """Of a route, or of a rule: `type` is the action of that, `protocol` and `scope` are reserved there."""

    family: int = 0
    length: int = 0
    source_length: int = 0
    tos: int = 0
    table: int = 0
    protocol: int = 0
    scope: int = 0
    type: int = 0
    flags: int = 0


@record({"ndmsg": "u8 family, u8[3] _, s32 index, u16 state, u8 flags, u8 type"})
class NeighbourHead(Head):
    """Of a neighbour."""

    family: int = 0
    index: int = 0
    state: int = 0
    flags: int = 0
    type: int = 0
