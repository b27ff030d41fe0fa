"""Neighbours and rules: RTM_GETNEIGH, and RTM_GETRULE, which always tells of the three tables there are."""

from __future__ import annotations

import errno
import struct
from ipaddress import ip_address

from diorama.abi.netlink import attribute
from diorama.abi.rtnetlink import (
    FR_ACT_TO_TBL,
    FRA_PRIORITY,
    FRA_PROTOCOL,
    FRA_SUPPRESS_PREFIXLEN,
    FRA_TABLE,
    NDA_CACHEINFO,
    NDA_DST,
    NDA_IFINDEX,
    NDA_LLADDR,
    NDA_MASTER,
    NDA_PROBES,
    RT_TABLE_DEFAULT,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTM_NEWNEIGH,
    RTM_NEWRULE,
    RTN_UNICAST,
    RTPROT_KERNEL,
    NeighbourHead,
    RouteHead,
)
from diorama.abi.socket import AF_INET, AF_INET6, AF_UNSPEC
from diorama.interfaces.netlink.asked import (
    Answer,
    Asked,
    Dump,
    Kind,
    address_of,
    family_of,
    number_of,
)
from diorama.interfaces.network import refuse
from diorama.interfaces.story import Neighbour

__all__ = ["NEIGHBOURS", "RULES", "describe_neighbour"]

_RULES = {
    AF_INET: ((0, RT_TABLE_LOCAL), (32766, RT_TABLE_MAIN), (32767, RT_TABLE_DEFAULT)),
    AF_INET6: ((0, RT_TABLE_LOCAL), (32766, RT_TABLE_MAIN)),
}


def describe_neighbour(one: Neighbour) -> bytes:
    """What a message about a neighbour has behind its header."""
    address = ip_address(one.address)
    parts = [NeighbourHead(family_of(address), one.link, one.state, 0, RTN_UNICAST).encode()]
    parts.append(attribute(NDA_DST, address.packed))
    if one.hardware:
        parts.append(attribute(NDA_LLADDR, one.hardware))
    parts += [attribute(NDA_PROBES, bytes(4)), attribute(NDA_CACHEINFO, bytes(16))]
    return b"".join(parts)


def _dump_neighbours(asked: Asked) -> Dump:
    head = NeighbourHead.decode(asked.message.body)
    values = (head.index, head.state, head.type)
    attributes = asked.check(NeighbourHead.width(), values, (NDA_IFINDEX, NDA_MASTER), "neighbor")
    link = number_of(attributes.get(NDA_IFINDEX))
    found = [
        (RTM_NEWNEIGH, describe_neighbour(one))
        for one in asked.story.neighbours()
        if head.family in (AF_UNSPEC, family_of(ip_address(one.address)))
        and link in (0, one.link)
        and NDA_MASTER not in attributes
    ]
    return Dump(found, bool(link or NDA_MASTER in attributes))


def _get_neighbour(asked: Asked) -> Answer:
    head = NeighbourHead.decode(asked.message.body)
    value = asked.attributes(NeighbourHead.width()).get(NDA_DST)
    if head.family not in _RULES:
        raise refuse(errno.EOPNOTSUPP)
    if value is None or not head.index:
        raise refuse(errno.EINVAL)
    wanted = str(address_of(head.family, value))
    for one in asked.story.neighbours():
        if one.link == head.index and str(ip_address(one.address)) == wanted:
            return RTM_NEWNEIGH, describe_neighbour(one)
    raise refuse(errno.ENOENT)


def _dump_rules(asked: Asked) -> Dump:
    families = _RULES if asked.family == AF_UNSPEC else {asked.family: _RULES.get(asked.family, ())}
    return Dump([
        (RTM_NEWRULE, _describe_rule(family, priority, table))
        for family in families
        for priority, table in _RULES.get(family, ())
    ])


def _describe_rule(family: int, priority: int, table: int) -> bytes:
    parts = [RouteHead(family, table=table, type=FR_ACT_TO_TBL).encode()]
    parts.append(attribute(FRA_TABLE, struct.pack("=I", table)))
    parts.append(attribute(FRA_SUPPRESS_PREFIXLEN, b"\xff" * 4))
    parts.append(attribute(FRA_PROTOCOL, bytes([RTPROT_KERNEL])))
    if priority:
        parts.append(attribute(FRA_PRIORITY, struct.pack("=I", priority)))
    return b"".join(parts)


NEIGHBOURS = Kind(_dump_neighbours, _get_neighbour)
RULES = Kind(_dump_rules)
