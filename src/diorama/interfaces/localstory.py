"""Local story: links, addresses and routes that are kept here and can be set, as `ip` sets them."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_interface
from typing import Final

from diorama.abi.netdevice import (
    ARPHRD_LOOPBACK,
    IFF_BROADCAST,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_MULTICAST,
    IFF_RUNNING,
    IFF_UP,
)
from diorama.interfaces.network import Interface, Link, Route, Story, refuse
from diorama.interfaces.routing import is_secondary
from diorama.interfaces.story import Neighbour

__all__ = ["ETHERNET", "LOOPBACK", "LocalStory", "loopback"]

LOOPBACK: Final = IFF_LOOPBACK
"""The flags of a loopback that is down."""
ETHERNET: Final = IFF_BROADCAST | IFF_MULTICAST
"""The flags of an Ethernet that is down."""
_GOES_UP: Final = IFF_UP | IFF_RUNNING | IFF_LOWER_UP


def _nothing() -> None:
    return


def loopback(*, up: bool = True) -> Link:
    """The link `lo`, with 127.0.0.1 and ::1 if it is up."""
    link = Link(1, "lo", LOOPBACK, ARPHRD_LOOPBACK, 65536)
    if up:
        link.flags |= _GOES_UP
        link.addresses = [ip_interface("127.0.0.1/8"), ip_interface("::1/128")]
    return link


class LocalStory(Story):
    """A story that may be changed: by whoever has it and by its programs.

    What is handed out are copies. `on_change` is called after each change, on the thread that made it and
    without any lock; a stack whose packets must follow overrides the methods and calls them first.
    """

    def __init__(self, links: Sequence[Link] = (), routes: Sequence[Route] = ()) -> None:
        self._lock = threading.RLock()
        self._links = {link.index: _copy(link) for link in links or [loopback()]}
        self._routes = list(routes)
        self._neighbours: dict[tuple[int, str], Neighbour] = {}
        self.on_change: Callable[[], None] = _nothing

    # -- telling ------------------------------------------------------------------------------

    def links(self) -> Sequence[Link]:
        with self._lock:
            return [_copy(link) for _, link in sorted(self._links.items())]

    def routes(self) -> Sequence[Route]:
        with self._lock:
            return list(self._routes)

    def neighbours(self) -> Sequence[Neighbour]:
        with self._lock:
            return list(self._neighbours.values())

    # -- changing -----------------------------------------------------------------------------

    def add_address(self, index: int, address: Interface) -> None:
        with self._lock:
            link = self._link(index)
            if any(one.ip == address.ip and one.network == address.network for one in link.addresses):
                raise refuse(errno.EEXIST)
            link.addresses.append(address)
        self.on_change()

    def remove_address(self, index: int, address: Interface) -> None:
        with self._lock:
            link = self._link(index)
            if address not in link.addresses:
                raise refuse(errno.EADDRNOTAVAIL)
            gone = [address] if is_secondary(link, address) else _with_secondaries(link, address)
            link.addresses = [one for one in link.addresses if one not in gone]
            if address.version == 4 and not any(one.version == 4 for one in link.addresses):
                self._routes = [one for one in self._routes if (one.link, one.subnet.version) != (index, 4)]
        self.on_change()

    def set_link(
        self,
        index: int,
        *,
        flags: int | None = None,
        mtu: int | None = None,
        queue: int | None = None,
        name: str | None = None,
        address: bytes | None = None,
    ) -> None:
        with self._lock:
            link = self._link(index)
            if name is not None:
                self._rename(link, name)
            if flags is not None:
                self._set_flags(link, flags)
            link.mtu = link.mtu if mtu is None else mtu
            link.queue = link.queue if queue is None else queue
            link.address = link.address if address is None else address
        self.on_change()

    def add_link(self, kind: str, name: str, data: Mapping[str, str]) -> None:
        raise refuse(errno.EOPNOTSUPP)

    def remove_link(self, index: int) -> None:
        with self._lock:
            if not self._link(index).driver:
                raise refuse(errno.EOPNOTSUPP)
            del self._links[index]
            self._routes = [route for route in self._routes if route.link != index]
        self.on_change()

    def add_route(self, route: Route) -> None:
        with self._lock:
            if not self._link(route.link).flags & IFF_UP:
                raise refuse(errno.ENETDOWN)
            if any((one.subnet, one.metric) == (route.subnet, route.metric) for one in self._routes):
                raise refuse(errno.EEXIST)
            self._routes.append(route)
        self.on_change()

    def remove_route(self, route: Route) -> None:
        with self._lock:
            if route not in self._routes:
                raise refuse(errno.ESRCH)
            self._routes.remove(route)
        self.on_change()

    def put_link(self, link: Link) -> None:
        """Have a link, in place of the one with its index if there is one."""
        with self._lock:
            self._links[link.index] = _copy(link)
        self.on_change()

    def set_neighbour(self, neighbour: Neighbour) -> None:
        """Know a neighbour, in place of what was known of it; one without a state is forgotten."""
        with self._lock:
            key = (neighbour.link, neighbour.address)
            self._neighbours.pop(key, None)
            if neighbour.state:
                self._neighbours[key] = neighbour
        self.on_change()

    # -- inside, with the lock ----------------------------------------------------------------

    def _link(self, index: int) -> Link:
        found = self._links.get(index)
        if found is None:
            raise refuse(errno.ENODEV)
        return found

    def _rename(self, link: Link, name: str) -> None:
        if any(one.name == name for one in self._links.values() if one is not link):
            raise refuse(errno.EEXIST)
        link.name = name

    def _set_flags(self, link: Link, flags: int) -> None:
        was_up = bool(link.flags & IFF_UP)
        is_up = bool(flags & IFF_UP)
        link.flags = flags | _GOES_UP if is_up else flags & ~_GOES_UP
        if is_up and not was_up and link.flags & IFF_LOOPBACK:
            own = [ip_interface("127.0.0.1/8"), ip_interface("::1/128")]
            link.addresses += [one for one in own if one not in link.addresses]
        if was_up and not is_up:
            link.addresses = [one for one in link.addresses if one.version == 4]
            self._routes = [route for route in self._routes if route.link != link.index]


def _with_secondaries(link: Link, address: Interface) -> list[Interface]:
    """An address, and of IPv4 the others of its subnet: they go with the first, as by default in Linux."""
    others = [one for one in link.addresses if one.network == address.network and one.version == 4]
    return [address, *others]


def _copy(link: Link) -> Link:
    return replace(link, addresses=list(link.addresses))
