"""Changes: what listeners of rtnetlink(7) are told when a story is not what it was.

Nobody is asked what he has changed: two looks at the story are compared, so that whatever way it was changed,
listeners are told what there is to see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from diorama.abi.netlink import Message
from diorama.abi.rtnetlink import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
    RTNLGRP_LINK,
    RTNLGRP_NEIGH,
)
from diorama.interfaces.netlink.addresses import describe_address
from diorama.interfaces.netlink.links import describe_link
from diorama.interfaces.netlink.neighbours import describe_neighbour
from diorama.interfaces.netlink.routes import describe_way
from diorama.interfaces.network import Interface, Link, Story
from diorama.interfaces.routing import Way, ways
from diorama.interfaces.story import Neighbour

__all__ = ["Look", "Notice", "compare"]

_ALL_FLAGS = 0xFFFFFFFF


class Notice(NamedTuple):
    """A message for all who have joined a group, RTNLGRP_*."""

    group: int
    message: bytes


class Look(NamedTuple):
    """What a story told at one moment."""

    links: Mapping[int, Link]
    addresses: Mapping[tuple[int, Interface], None]
    ways: Mapping[Way, None]
    neighbours: Mapping[tuple[int, str], Neighbour]

    @classmethod
    def at(cls, story: Story) -> Look:
        """What it tells now."""
        links = {link.index: link for link in story.links()}
        return cls(
            links,
            {(link.index, one): None for link in links.values() for one in link.addresses},
            dict.fromkeys([way for version in (4, 6) for way in ways(story, version)]),
            {(one.link, one.address): one for one in story.neighbours()},
        )


def _notice(group: int, kind: int, body: bytes) -> Notice:
    return Notice(group, Message(kind, 0, 0, 0, body).pack())


def compare(old: Look, new: Look) -> Iterator[Notice]:
    """What has changed from one look to the other: first what has gone, then links, and what they have."""
    for way in old.ways:
        if way not in new.ways:
            yield _notice(_route_group(way), RTM_DELROUTE, describe_way(way))
    for index, address in old.addresses:
        if (index, address) not in new.addresses:
            body = describe_address(old.links[index], address)
            yield _notice(_address_group(address), RTM_DELADDR, body)
    yield from _links(old, new)
    for index, address in new.addresses:
        if (index, address) not in old.addresses:
            body = describe_address(new.links[index], address)
            yield _notice(_address_group(address), RTM_NEWADDR, body)
    for way in new.ways:
        if way not in old.ways:
            yield _notice(_route_group(way), RTM_NEWROUTE, describe_way(way))
    yield from _neighbours(old, new)


def _links(old: Look, new: Look) -> Iterator[Notice]:
    for index, link in old.links.items():
        if index not in new.links:
            yield _notice(RTNLGRP_LINK, RTM_DELLINK, describe_link(link, change=_ALL_FLAGS))
    for index, link in new.links.items():
        before = old.links.get(index)
        if before is None or _shown(before) != _shown(link):
            change = _ALL_FLAGS if before is None else before.flags ^ link.flags
            yield _notice(RTNLGRP_LINK, RTM_NEWLINK, describe_link(link, change=change))


def _shown(link: Link) -> tuple[object, ...]:
    return link.name, link.flags, link.mtu, link.address, link.queue


def _neighbours(old: Look, new: Look) -> Iterator[Notice]:
    for key, one in old.neighbours.items():
        if key not in new.neighbours:
            yield _notice(RTNLGRP_NEIGH, RTM_DELNEIGH, describe_neighbour(one))
    for key, one in new.neighbours.items():
        if old.neighbours.get(key) != one:
            yield _notice(RTNLGRP_NEIGH, RTM_NEWNEIGH, describe_neighbour(one))


def _route_group(way: Way) -> int:
    return RTNLGRP_IPV4_ROUTE if way.subnet.version == 4 else RTNLGRP_IPV6_ROUTE


def _address_group(address: Interface) -> int:
    return RTNLGRP_IPV4_IFADDR if address.version == 4 else RTNLGRP_IPV6_IFADDR
