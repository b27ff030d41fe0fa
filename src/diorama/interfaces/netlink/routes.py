"""Routes: RTM_GETROUTE, of all and of the way to one address, RTM_NEWROUTE, RTM_DELROUTE."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address, ip_network

from diorama.abi.netlink import NLM_F_APPEND, NLM_F_EXCL, NLM_F_REPLACE, attribute
from diorama.abi.rtnetlink import (
    RT_SCOPE_UNIVERSE,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RT_TABLE_UNSPEC,
    RTA_CACHEINFO,
    RTA_DST,
    RTA_GATEWAY,
    RTA_METRICS,
    RTA_MULTIPATH,
    RTA_OIF,
    RTA_PREF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_SRC,
    RTA_TABLE,
    RTA_UID,
    RTCF_BROADCAST,
    RTCF_LOCAL,
    RTCF_MULTICAST,
    RTM_F_CLONED,
    RTM_F_LOOKUP_TABLE,
    RTM_NEWROUTE,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_UNICAST,
    RTN_UNSPEC,
    RTPROT_KERNEL,
    RTPROT_UNSPEC,
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
    refuse_with,
)
from diorama.interfaces.network import Route, Subnet, refuse
from diorama.interfaces.routing import GIVEN_METRIC_OF_IPV6, Address, Way, find_way, reach, ways

__all__ = ["ROUTES", "describe_way"]

_LONGEST = {AF_INET: 32, AF_INET6: 128}
_NAMES = {AF_INET: "ipv4", AF_INET6: "ipv6"}
_CACHED = {
    RTN_LOCAL: RTCF_LOCAL,
    RTN_BROADCAST: RTCF_BROADCAST | RTCF_LOCAL,
    RTN_MULTICAST: RTCF_MULTICAST | RTCF_LOCAL,
}
"""What the kernel says of the way to one IPv4 address, by the type of its route."""
_UNUSED = bytes(32)
"""A `struct rta_cacheinfo`."""


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def describe_way(way: Way) -> bytes:
    """What a message about a route has behind its header."""
    family = family_of(way.subnet.network_address)
    head = RouteHead(
        family, way.subnet.prefixlen, 0, 0, way.table, way.protocol, way.scope, way.type, 0
    ).encode()
    return head + b"".join(_properties(way, family))


def _properties(way: Way, family: int) -> Iterator[bytes]:
    yield _number(RTA_TABLE, way.table)
    if way.subnet.prefixlen:
        yield attribute(RTA_DST, way.subnet.network_address.packed)
    if way.source is not None:
        yield attribute(RTA_PREFSRC, way.source.packed)
    if way.metric or family == AF_INET6:
        yield _number(RTA_PRIORITY, way.metric)
    if way.gateway is not None:
        yield attribute(RTA_GATEWAY, way.gateway.packed)
    yield _number(RTA_OIF, way.link)
    if family == AF_INET6:
        yield attribute(RTA_CACHEINFO, _UNUSED)
        yield attribute(RTA_PREF, b"\0")


def _dump(asked: Asked) -> Dump:
    head = RouteHead.decode(asked.message.body)
    zero = (head.length, head.source_length, head.tos, head.scope)
    attributes = asked.check(RouteHead.width(), zero, (RTA_TABLE, RTA_OIF), "route")
    if head.flags & RTM_F_CLONED:
        return Dump(())
    versions = {AF_INET: (4,), AF_INET6: (6,), AF_UNSPEC: (4, 6)}.get(head.family, ())
    found = [way for version in versions for way in ways(asked.story, version)]
    if not asked.settings.strict:
        return Dump([(RTM_NEWROUTE, describe_way(way)) for way in found])
    table, link = number_of(attributes.get(RTA_TABLE), head.table), number_of(attributes.get(RTA_OIF))
    if table not in (RT_TABLE_UNSPEC, RT_TABLE_MAIN, RT_TABLE_LOCAL) and head.family != AF_UNSPEC:
        raise refuse_with(errno.ENOENT, f"{_NAMES[head.family]}: FIB table does not exist")
    kept = [
        way
        for way in found
        if table in (RT_TABLE_UNSPEC, way.table)
        and link in (0, way.link)
        and head.protocol in (RTPROT_UNSPEC, way.protocol)
        and head.type in (RTN_UNSPEC, way.type)
    ]
    return Dump([(RTM_NEWROUTE, describe_way(way)) for way in kept], is_filtered=True)


# -- the way to one address -------------------------------------------------------------------------------


def _get(asked: Asked) -> Answer:
    head, attributes = _attributes(asked)
    to = _address(head, attributes.get(RTA_DST), 0)
    link = number_of(attributes.get(RTA_OIF))
    if link:
        asked.link(link)
    way = find_way(asked.story, to, link)
    if head.family == AF_INET:
        return RTM_NEWROUTE, _way_of_ipv4(asked, head, way, to)
    return RTM_NEWROUTE, _way_of_ipv6(way, to)


def _way_of_ipv4(asked: Asked, head: RouteHead, way: Way, to: Address) -> bytes:
    table = way.table if head.flags & RTM_F_LOOKUP_TABLE and way.type == RTN_UNICAST else RT_TABLE_MAIN
    flags = RTM_F_CLONED | _CACHED.get(way.type, 0)
    parts = [RouteHead(AF_INET, 32, 0, head.tos, table, 0, RT_SCOPE_UNIVERSE, way.type, flags).encode()]
    parts += [_number(RTA_TABLE, table), attribute(RTA_DST, to.packed), _number(RTA_OIF, way.link)]
    if way.source is not None:
        parts.append(attribute(RTA_PREFSRC, way.source.packed))
    if way.gateway is not None:
        parts.append(attribute(RTA_GATEWAY, way.gateway.packed))
    parts += [_number(RTA_UID, asked.settings.uid), attribute(RTA_CACHEINFO, _UNUSED)]
    return b"".join(parts)


def _way_of_ipv6(way: Way, to: Address) -> bytes:
    parts = [RouteHead(AF_INET6, 128, 128, 0, way.table, way.protocol, way.scope, way.type, 0).encode()]
    parts += [_number(RTA_TABLE, way.table), attribute(RTA_DST, to.packed), attribute(RTA_SRC, bytes(16))]
    if way.source is not None:
        parts.append(attribute(RTA_PREFSRC, way.source.packed))
    parts.append(_number(RTA_PRIORITY, way.metric))
    if way.gateway is not None:
        parts.append(attribute(RTA_GATEWAY, way.gateway.packed))
    parts += [_number(RTA_OIF, way.link), attribute(RTA_CACHEINFO, _UNUSED), attribute(RTA_PREF, b"\0")]
    return b"".join(parts)


def _attributes(asked: Asked) -> tuple[RouteHead, dict[int, bytes]]:
    head = RouteHead.decode(asked.message.body)
    if head.family not in _LONGEST:
        raise refuse(errno.EOPNOTSUPP)
    if head.length > _LONGEST[head.family]:
        raise refuse_with(errno.EINVAL, "Invalid prefix length")
    return head, asked.attributes(RouteHead.width())


def _address(head: RouteHead, value: bytes | None, other: int) -> Address:
    if value is None:
        return ip_address(other.to_bytes(_LONGEST[head.family] // 8, "big"))
    return address_of(head.family, value)


# -- changing ---------------------------------------------------------------------------------------------


def _check(head: RouteHead, attributes: dict[int, bytes]) -> None:
    """Whether we know such routes: EOPNOTSUPP."""
    table = number_of(attributes.get(RTA_TABLE), head.table)
    if table not in (RT_TABLE_UNSPEC, RT_TABLE_MAIN):
        raise refuse_with(errno.EOPNOTSUPP, "Routes can only be changed in the main table here")
    if head.type not in (RTN_UNSPEC, RTN_UNICAST):
        raise refuse_with(errno.EOPNOTSUPP, "Only unicast routes can be had here")
    if head.tos or head.source_length or attributes.keys() & {RTA_MULTIPATH, RTA_METRICS}:
        raise refuse_with(errno.EOPNOTSUPP, "Such a route cannot be had here")


def _add(asked: Asked) -> None:
    head, attributes = _attributes(asked)
    _check(head, attributes)
    subnet = _subnet(head, attributes)
    gateway = attributes.get(RTA_GATEWAY)
    link = number_of(attributes.get(RTA_OIF))
    if link:
        asked.link(link)
    next_hop = None if gateway is None else address_of(head.family, gateway)
    if next_hop is not None:
        link = _link_to(asked, next_hop, link)
    elif not link:
        raise refuse_with(errno.ENODEV, "No device or gateway")
    given = GIVEN_METRIC_OF_IPV6 if head.family == AF_INET6 else 0
    metric = number_of(attributes.get(RTA_PRIORITY)) or given
    route = Route(subnet, link, None if next_hop is None else str(next_hop), metric)
    if asked.has(NLM_F_APPEND):
        raise refuse_with(errno.EOPNOTSUPP, "Routes cannot be appended to others here")
    if asked.has(NLM_F_REPLACE) and not asked.has(NLM_F_EXCL):
        _replace(asked, route)
    else:
        asked.story.add_route(route)


def _replace(asked: Asked, route: Route) -> None:
    same = [one for one in asked.story.routes() if (one.subnet, one.metric) == (route.subnet, route.metric)]
    if route in same:
        return
    for one in same[:1]:
        asked.story.remove_route(one)
    try:
        asked.story.add_route(route)
    except OSError:
        for one in same[:1]:
            asked.story.add_route(one)
        raise


def _subnet(head: RouteHead, attributes: dict[int, bytes]) -> Subnet:
    try:
        return ip_network((_address(head, attributes.get(RTA_DST), 0), head.length))
    except ValueError:
        raise refuse_with(errno.EINVAL, "Invalid prefix for given prefix length") from None


def _link_to(asked: Asked, gateway: Address, link: int) -> int:
    """The link that a gateway is reached through: ENETUNREACH, or as Linux has it for IPv6, EHOSTUNREACH."""
    way = reach(asked.story, gateway, link)
    is_near = way is not None and way.gateway is None and way.type in (RTN_UNICAST, RTN_LOCAL)
    if gateway.version == 6 and gateway.is_link_local and link:
        return link
    if way is None or not is_near:
        is_old = isinstance(gateway, IPv4Address)
        raise refuse_with(errno.ENETUNREACH if is_old else errno.EHOSTUNREACH, "Nexthop has invalid gateway")
    return way.link


def _remove(asked: Asked) -> None:
    head, attributes = _attributes(asked)
    _check(head, attributes)
    subnet = _subnet(head, attributes)
    metric, link = number_of(attributes.get(RTA_PRIORITY)), number_of(attributes.get(RTA_OIF))
    gateway = attributes.get(RTA_GATEWAY)
    next_hop = None if gateway is None else str(address_of(head.family, gateway))
    for one in asked.story.routes():
        is_meant = one.subnet == subnet and metric in (0, one.metric) and link in (0, one.link)
        if is_meant and next_hop in (None, one.gateway):
            asked.story.remove_route(one)
            return
    for way in ways(asked.story, subnet.version):
        if way.subnet == subnet and (way.table, way.protocol) == (RT_TABLE_MAIN, RTPROT_KERNEL):
            raise refuse_with(errno.EOPNOTSUPP, "The route of an address goes with the address here")
    raise refuse(errno.ESRCH)


ROUTES = Kind(_dump, _get, _add, _remove)
