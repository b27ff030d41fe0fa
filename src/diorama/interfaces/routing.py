"""Routing: the whole table of routes that follows from what a story tells, and which way it gives a packet.

A story has links with addresses, and routes. From each address that a link which is up has, Linux derives
more: one to the address itself and one to its broadcast address, in the table `local`, and one to its subnet,
in `main`. Whoever tells of routes, by netlink or in /proc/net, tells of all of them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network, ip_address

from diorama.abi.netdevice import IFF_LOOPBACK, IFF_MULTICAST, IFF_UP
from diorama.abi.rtnetlink import (
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_UNICAST,
    RTPROT_BOOT,
    RTPROT_KERNEL,
)
from diorama.interfaces.network import Interface, Link, Route, Story, Subnet, refuse

__all__ = [
    "GIVEN_METRIC_OF_IPV6",
    "Address",
    "Way",
    "broadcast",
    "find_way",
    "in_order",
    "is_secondary",
    "reach",
    "scope",
    "source_for",
    "ways",
]

Address = IPv4Address | IPv6Address

_METRIC_OF_IPV6 = 256
GIVEN_METRIC_OF_IPV6 = 1024
"""Of a route that somebody has given without one; that of an own subnet is less."""
_EVERYBODY = IPv4Address("255.255.255.255")
_ALL_MULTICAST = IPv6Network("ff00::/8")
_HAS_BROADCAST = 30
"""The longest prefix of a subnet that has a broadcast address (RFC 3021)."""


@dataclass(frozen=True, slots=True)
class Way:
    """A row of a table; the numbers are RT_TABLE_*, RTN_*, RTPROT_* and RT_SCOPE_* of rtnetlink(7)."""

    subnet: Subnet
    link: int
    table: int = RT_TABLE_MAIN
    type: int = RTN_UNICAST
    protocol: int = RTPROT_KERNEL
    scope: int = RT_SCOPE_UNIVERSE
    gateway: Address | None = None
    source: Address | None = None
    metric: int = 0


def scope(address: Address) -> int:
    """How far an address is valid."""
    if address.is_loopback:
        return RT_SCOPE_HOST
    return RT_SCOPE_LINK if address.version == 6 and address.is_link_local else RT_SCOPE_UNIVERSE


def broadcast(address: Interface) -> IPv4Address | None:
    """The broadcast address of an IPv4 subnet: the last one of it; the loopback has none."""
    if isinstance(address, IPv4Interface) and not address.ip.is_loopback:
        return address.network.broadcast_address if address.network.prefixlen <= _HAS_BROADCAST else None
    return None


def is_secondary(link: Link, address: Interface) -> bool:
    """Whether a link has another IPv4 address of the same subnet before this one."""
    if address.version == 6:
        return False
    first = next(one for one in link.addresses if one.network == address.network)
    return first.ip != address.ip


def in_order(link: Link, version: int) -> list[Interface]:
    """The addresses of a link as Linux lists them.

    Secondary ones come last; of IPv6 those of a wider scope are first, and of one scope the newest.
    """
    found = [one for one in link.addresses if one.version == version]
    if version == 4:
        return sorted(found, key=lambda one: is_secondary(link, one))
    newest_first = found[::-1]
    return sorted(newest_first, key=lambda one: scope(one.ip))


def ways(story: Story, version: int) -> list[Way]:
    """All routes of IPv4 or IPv6: those of the table `main`, then `local`, each in the kernel's order."""
    found = [way for link in story.links() if link.flags & IFF_UP for way in _derived(link, version)]
    found += [_told(route) for route in story.routes() if route.subnet.version == version]
    return sorted(dict.fromkeys(found), key=_order_of_ipv4 if version == 4 else _order_of_ipv6)


def _told(route: Route) -> Way:
    gateway = None if route.gateway is None else ip_address(route.gateway)
    near = gateway is None and route.subnet.version == 4
    how_far = RT_SCOPE_LINK if near else RT_SCOPE_UNIVERSE
    metric = route.metric or (0 if route.subnet.version == 4 else GIVEN_METRIC_OF_IPV6)
    return Way(route.subnet, route.link, protocol=RTPROT_BOOT, scope=how_far, gateway=gateway, metric=metric)


def _derived(link: Link, version: int) -> Iterator[Way]:
    addresses = [one for one in link.addresses if one.version == version]
    for address in addresses:
        if isinstance(address, IPv4Interface):
            yield from _of_ipv4(link, address)
        else:
            alone = IPv6Network(address.ip)
            yield Way(alone, link.index, RT_TABLE_LOCAL, RTN_LOCAL)
            if address.network != alone:
                yield Way(address.network, link.index, metric=_METRIC_OF_IPV6)
    if version == 6 and addresses and link.flags & IFF_MULTICAST:
        yield Way(_ALL_MULTICAST, link.index, RT_TABLE_LOCAL, RTN_MULTICAST, metric=_METRIC_OF_IPV6)


def _of_ipv4(link: Link, address: IPv4Interface) -> Iterator[Way]:
    subnet = address.network
    source = next(one.ip for one in link.addresses if one.network == subnet)
    alone = IPv4Network(address.ip)
    local = Way(
        alone, link.index, RT_TABLE_LOCAL, RTN_LOCAL, RTPROT_KERNEL, RT_SCOPE_HOST, source=source
    )
    yield local
    if subnet == alone:
        return
    if link.flags & IFF_LOOPBACK:
        yield replace(local, subnet=subnet)
    else:
        yield Way(subnet, link.index, scope=RT_SCOPE_LINK, source=source)
    if subnet.prefixlen <= _HAS_BROADCAST:
        last = IPv4Network(subnet.broadcast_address)
        yield replace(local, subnet=last, type=RTN_BROADCAST, scope=RT_SCOPE_LINK)


def _order_of_ipv4(way: Way) -> tuple[int, int, int, int]:
    return way.table, int(way.subnet.network_address), -way.subnet.prefixlen, way.metric


def _order_of_ipv6(way: Way) -> tuple[int, int, int, int]:
    """A subnet comes after all that are in it."""
    return way.table, int(way.subnet.broadcast_address), -way.subnet.prefixlen, way.metric


# -- which way --------------------------------------------------------------------------------------------


def reach(story: Story, to: Address, link: int = 0) -> Way | None:
    """The way to an address: of the longest prefix, and of those the one with the smallest metric.

    Only through `link`, if one is given.
    """
    found = [one for one in ways(story, to.version) if to in one.subnet and link in (0, one.link)]
    return min(
        found, key=lambda one: (one.table != RT_TABLE_LOCAL, -one.subnet.prefixlen, one.metric), default=None
    )


def find_way(story: Story, to: Address, link: int = 0) -> Way:
    """The way that a packet takes, with the address that it comes from: ENETUNREACH.

    What is for the machine itself goes through the loopback.
    """
    found = reach(story, to, link)
    if found is None and link and any(one.index == link for one in story.links()):
        found = Way(IPv4Network("0.0.0.0/0") if to.version == 4 else IPv6Network("::/0"), link)
    if found is None:
        raise refuse(errno.ENETUNREACH)
    if found.type == RTN_LOCAL:
        home = next((one.index for one in story.links() if one.flags & IFF_LOOPBACK), found.link)
        return replace(found, link=home, source=to)
    if to.version == 4 and (to.is_multicast or to == _EVERYBODY):
        found = replace(found, type=RTN_MULTICAST if to.is_multicast else RTN_BROADCAST, gateway=None)
    return replace(found, source=found.source or source_for(story, found, to))


def source_for(story: Story, way: Way, to: Address) -> Address | None:
    """The address that packets on a way come from: one in the subnet of who is next, or the link's first."""
    near = way.gateway or to
    own = [one for link in story.links() if link.index == way.link for one in link.addresses]
    others = [one for link in story.links() if link.index != way.link for one in link.addresses]
    for one in own:
        if one.version == to.version and near in one.network:
            return one.ip
    wide = [one.ip for one in (*own, *others) if one.version == to.version and scope(one.ip) <= scope(to)]
    return wide[0] if wide else None
