"""Net devices: what ioctl(2) tells of a story's links, and does to them, netdevice(7).

Most of these calls take a `struct ifreq`: 16 bytes with a name, and what is asked for or given. The others:

* SIOCGIFCONF takes a `struct ifconf`, which points to a buffer for one `struct ifreq` for each IPv4 address;
* SIOCADDRT and SIOCDELRT take a `struct rtentry`, which points to the name of a link;
* SIOCSIFADDR and SIOCDIFADDR of a socket of AF_INET6 take a `struct in6_ifreq`.

`control` is the whole call, in the memory of a program; `transform` is what happens to a structure without
what it points to. It does not matter what kind of socket it is: glibc's `if_nametoindex` takes one
of AF_UNIX.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, ip_address
from typing import Final

from diorama.abi import ioctl
from diorama.abi.netdevice import IFF_LOOPBACK, IFF_VOLATILE, IFNAMSIZ
from diorama.abi.socket import AF_INET6, InetAddress, parse_address
from diorama.catalogue.model import Tracee
from diorama.interfaces.network import Link, Route, Story, Subnet, refuse
from diorama.interfaces.routing import broadcast, in_order, reach

__all__ = ["control", "transform"]

_IFREQ: Final = {8: 40, 4: 32}
"""The size of a `struct ifreq`, by that of a pointer; its union begins behind the name."""
_IFCONF: Final = {8: 16, 4: 8}
_RTENTRY: Final = {8: 120, 4: 84}
_RT_DEV: Final = {8: 88, 4: 68}
_IN6_IFREQ: Final = struct.Struct("=16sIi")
_IN6_RTMSG: Final = 80
_ARPREQ: Final = 68
_ROUTES: Final = frozenset({ioctl.SIOCADDRT, ioctl.SIOCDELRT})
_IPV6: Final = frozenset({ioctl.SIOCSIFADDR, ioctl.SIOCDIFADDR})
_ARP: Final = frozenset({ioctl.SIOCDARP, ioctl.SIOCGARP, ioctl.SIOCSARP})
_RTF_GATEWAY: Final = 0x2
_FLAGS: Final = 0xFFFF
"""The flags that a `struct ifreq` has room for."""
_UNSUPPORTED: Final = frozenset({
    ioctl.SIOCETHTOOL,
    ioctl.SIOCGMIIPHY,
    ioctl.SIOCGMIIREG,
    ioctl.SIOCSIFMETRIC,
    ioctl.SIOCSIFDSTADDR,
})
_OF_SOCKETS: Final = frozenset({ioctl.SIOCOUTQNSD, ioctl.SIOCGSKNS})
_OF_DEVICES: Final = frozenset(range(ioctl.SIOCADDRT, ioctl.SIOCPROTOPRIVATE)) - _OF_SOCKETS


def control(story: Story, family: int, command: int, argument: int, tracee: Tracee) -> int | None:
    """A call with an argument in the memory of a program, of a socket of this family.

    The result; None if the command is not about devices.
    """
    if command not in _OF_DEVICES:
        return None
    memory, word = tracee.memory, tracee.abi.word
    size = _size(command, family, word)
    given = memory.read(argument, size)
    if len(given) < size:
        raise refuse(errno.EFAULT)
    if command == ioctl.SIOCGIFCONF:
        room, buffer = struct.unpack("=ixxxxQ" if word == 8 else "=iI", given)
        told = _list_addresses(story, _IFREQ[word])
        if buffer:
            told = told[: max(room, 0) // _IFREQ[word] * _IFREQ[word]]
            if told:
                memory.write(buffer, told)
        memory.write(argument, struct.pack("=i", len(told)))
        return 0
    if command in _ROUTES and family != AF_INET6:
        at = _RT_DEV[word]
        name = int.from_bytes(given[at : at + word], "little")
        given += memory.read_string(name, IFNAMSIZ) if name else b""
    made = transform(story, family, command, given)
    if made != given:
        memory.write(argument, made)
    return 0


def _size(command: int, family: int, word: int) -> int:
    """The size of what an argument points to."""
    if command == ioctl.SIOCGIFCONF:
        return _IFCONF[word]
    if command in _ARP:
        return _ARPREQ
    if command in _ROUTES:
        return _IN6_RTMSG if family == AF_INET6 else _RTENTRY[word]
    if command in _IPV6 and family == AF_INET6:
        return _IN6_IFREQ.size
    return _IFREQ[word]


def transform(story: Story, family: int, command: int, argument: bytes) -> bytes:
    """What a structure becomes; behind a `struct rtentry` stands the name of its link, if it has one."""
    if command in _ROUTES or command in _ARP:
        return _change_route(story, family, command, argument)
    if family == AF_INET6 and command in _IPV6:
        _change_ipv6(story, command, argument)
        return argument
    return _control_link(story, command, argument)


def _control_link(story: Story, command: int, argument: bytes) -> bytes:
    if command == ioctl.SIOCGIFNAME:
        index = int.from_bytes(argument[IFNAMSIZ : IFNAMSIZ + 4], "little", signed=True)
        link = _find(story, lambda one: one.index == index)
        return _name(link) + argument[IFNAMSIZ:]
    name, given = argument[:IFNAMSIZ], argument[IFNAMSIZ:]
    plain = name.partition(b"\0")[0].partition(b":")[0].decode(errors="surrogateescape")
    read, change = _READS.get(command), _CHANGES.get(command)
    told = _OF_ADDRESSES.get(command)
    if told is not None:
        value = told(_meant(_find(story, lambda one: one.name == plain), given))
        return name + value + given[len(value) :]
    if read is None and change is None:
        _find(story, lambda one: one.name == plain)
        raise refuse(errno.EOPNOTSUPP if command in _UNSUPPORTED else errno.ENOTTY)
    link = _find(story, lambda one: one.name == plain)
    if read is not None:
        value = read(link)[: len(given)]
        return name + value + given[len(value) :]
    assert change is not None
    change(_Change(story, link, given))
    return argument


def _find(story: Story, is_it: Callable[[Link], bool]) -> Link:
    for link in story.links():
        if is_it(link):
            return link
    raise refuse(errno.ENODEV)


# -- telling ----------------------------------------------------------------------------------------------


def _first(link: Link) -> IPv4Interface:
    found = _first_or_none(link)
    if found is None:
        raise refuse(errno.EADDRNOTAVAIL)
    return found


def _meant(link: Link, given: bytes) -> IPv4Interface:
    """The address that a question is about: the one that it has, or else the first."""
    asked = parse_address(given[:16])
    for one in in_order(link, 4):
        if isinstance(asked, InetAddress) and isinstance(one, IPv4Interface) and str(one.ip) == asked.host:
            return one
    return _first(link)


def _address(address: IPv4Address | IPv6Address | str) -> bytes:
    return InetAddress(str(address), 0).pack()


def _name(link: Link) -> bytes:
    return link.name.encode(errors="surrogateescape").ljust(IFNAMSIZ, b"\0")


def _number(value: int) -> bytes:
    return struct.pack("=i", value)


def _hardware(link: Link) -> bytes:
    return struct.pack("=H", link.kind) + link.address[:14].ljust(14, b"\0")


_OF_ADDRESSES: Final[Mapping[int, Callable[[IPv4Interface], bytes]]] = {
    ioctl.SIOCGIFADDR: lambda one: _address(one.ip),
    ioctl.SIOCGIFDSTADDR: lambda one: _address(one.ip),
    ioctl.SIOCGIFBRDADDR: lambda one: _address(broadcast(one) or "0.0.0.0"),
    ioctl.SIOCGIFNETMASK: lambda one: _address(one.netmask),
}
_READS: Final[Mapping[int, Callable[[Link], bytes]]] = {
    ioctl.SIOCGIFFLAGS: lambda link: struct.pack("=H", link.flags & _FLAGS),
    ioctl.SIOCGIFMETRIC: lambda link: _number(0),
    ioctl.SIOCGIFMTU: lambda link: _number(link.mtu),
    ioctl.SIOCGIFHWADDR: _hardware,
    ioctl.SIOCGIFINDEX: lambda link: _number(link.index),
    ioctl.SIOCGIFTXQLEN: lambda link: _number(link.queue),
    ioctl.SIOCGIFMAP: lambda link: bytes(24),
}


def _list_addresses(story: Story, width: int) -> bytes:
    """A `struct ifreq` for each IPv4 address."""
    return b"".join(
        (_name(link) + _address(one.ip)).ljust(width, b"\0")
        for link in story.links()
        for one in in_order(link, 4)
    )


# -- changing ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Change:
    """What a link is to become, and the union of the `struct ifreq`."""

    story: Story
    link: Link
    given: bytes

    @property
    def number(self) -> int:
        return int.from_bytes(self.given[:4], "little", signed=True)

    @property
    def address(self) -> IPv4Address:
        found = parse_address(self.given[:16])
        if not isinstance(found, InetAddress):
            raise refuse(errno.EINVAL)
        return IPv4Address(found.host)


def _set_flags(change: _Change) -> None:
    kept = IFF_VOLATILE | ~_FLAGS
    flags = int.from_bytes(change.given[:2], "little") & ~kept
    change.story.set_link(change.link.index, flags=change.link.flags & kept | flags)


def _set_address(change: _Change) -> None:
    """The first address of a link becomes another, with the mask of its class."""
    address = change.address
    first = _first_or_none(change.link)
    if first is not None and first.ip == address:
        return
    new = IPv4Interface((address, _length_of_class(address))) if int(address) else None
    _replace(change, first, new)


def _replace(change: _Change, old: IPv4Interface | None, new: IPv4Interface | None) -> None:
    """Take one address away and give another; if that cannot be, all is as before."""
    index = change.link.index
    if old is not None:
        change.story.remove_address(index, old)
    try:
        if new is not None:
            change.story.add_address(index, new)
    except OSError:
        if old is not None:
            change.story.add_address(index, old)
        raise


def _length_of_class(address: IPv4Address) -> int:
    first = address.packed[0]
    if first >= 0xE0:
        raise refuse(errno.EINVAL)
    return 8 if first < 0x80 else 16 if first < 0xC0 else 24


def _first_or_none(link: Link) -> IPv4Interface | None:
    return next((one for one in in_order(link, 4) if isinstance(one, IPv4Interface)), None)


def _set_netmask(change: _Change) -> None:
    first = _first(change.link)
    try:
        length = IPv4Network((0, str(change.address))).prefixlen
    except ValueError:
        raise refuse(errno.EINVAL) from None
    if length != first.network.prefixlen:
        _replace(change, first, IPv4Interface((first.ip, length)))


def _set_broadcast(change: _Change) -> None:
    """A subnet's broadcast address is its last one, here."""
    if broadcast(_first(change.link)) != change.address:
        raise refuse(errno.EOPNOTSUPP)


def _set_mtu(change: _Change) -> None:
    least = 0 if change.link.flags & IFF_LOOPBACK else 68
    if not least <= change.number <= 65536:
        raise refuse(errno.EINVAL)
    change.story.set_link(change.link.index, mtu=change.number)


def _set_queue(change: _Change) -> None:
    if change.number < 0:
        raise refuse(errno.EINVAL)
    change.story.set_link(change.link.index, queue=change.number)


def _set_name(change: _Change) -> None:
    name = change.given[:IFNAMSIZ].partition(b"\0")[0].decode(errors="surrogateescape")
    if not name or "/" in name or ":" in name or name in (".", ".."):
        raise refuse(errno.EINVAL)
    if any(one.name == name and one.index != change.link.index for one in change.story.links()):
        raise refuse(errno.EEXIST)
    change.story.set_link(change.link.index, name=name)


def _set_hardware(change: _Change) -> None:
    if int.from_bytes(change.given[:2], "little") != change.link.kind:
        raise refuse(errno.EINVAL)
    change.story.set_link(change.link.index, address=change.given[2 : 2 + len(change.link.address)])


_CHANGES: Final[Mapping[int, Callable[[_Change], None]]] = {
    ioctl.SIOCSIFFLAGS: _set_flags,
    ioctl.SIOCSIFADDR: _set_address,
    ioctl.SIOCSIFNETMASK: _set_netmask,
    ioctl.SIOCSIFBRDADDR: _set_broadcast,
    ioctl.SIOCSIFMTU: _set_mtu,
    ioctl.SIOCSIFTXQLEN: _set_queue,
    ioctl.SIOCSIFNAME: _set_name,
    ioctl.SIOCSIFHWADDR: _set_hardware,
}


def _change_ipv6(story: Story, command: int, argument: bytes) -> None:
    packed, length, index = _IN6_IFREQ.unpack(argument[: _IN6_IFREQ.size].ljust(_IN6_IFREQ.size, b"\0"))
    if length > 128:
        raise refuse(errno.EINVAL)
    _find(story, lambda one: one.index == index)
    address = IPv6Interface((IPv6Address(packed), length))
    if command == ioctl.SIOCSIFADDR:
        story.add_address(index, address)
    else:
        story.remove_address(index, address)


# -- routes -----------------------------------------------------------------------------------------------


def _change_route(story: Story, family: int, command: int, argument: bytes) -> bytes:
    if command not in _ROUTES or family == AF_INET6:
        raise refuse(errno.EOPNOTSUPP if command in _ROUTES else errno.ENXIO)
    subnet, gateway, metric, name = _read_route(argument)
    link = _find(story, lambda one: one.name == name).index if name else 0
    if command == ioctl.SIOCDELRT:
        _remove_route(story, subnet, gateway, link)
        return argument
    if gateway is not None:
        way = reach(story, ip_address(gateway), link)
        if way is None or way.gateway is not None:
            raise refuse(errno.ENETUNREACH)
        link = way.link
    if not link:
        raise refuse(errno.ENODEV)
    story.add_route(Route(subnet, link, gateway, metric))
    return argument


def _read_route(argument: bytes) -> tuple[Subnet, str | None, int, str]:
    """What a `struct rtentry` tells: a subnet, a gateway, the metric, and the name of a link."""
    word = 8 if len(argument) >= _RTENTRY[8] else 4
    to, through, mask = (argument[word + at : word + at + 16] for at in (0, 16, 32))
    flags, metric = (
        int.from_bytes(argument[at : at + 2], "little") for at in (word + 48, 80 if word == 8 else 64)
    )
    target = parse_address(to)
    if not isinstance(target, InetAddress):
        raise refuse(errno.EAFNOSUPPORT)
    try:
        subnet = IPv4Network((target.host, str(IPv4Address(mask[4:8]))))
    except ValueError:
        raise refuse(errno.EINVAL) from None
    gateway = str(IPv4Address(through[4:8])) if flags & _RTF_GATEWAY else None
    name = argument[_RTENTRY[word] :].partition(b"\0")[0].decode(errors="surrogateescape")
    return subnet, gateway, max(metric - 1, 0), name


def _remove_route(story: Story, subnet: Subnet, gateway: str | None, link: int) -> None:
    for one in story.routes():
        if one.subnet == subnet and gateway in (None, one.gateway) and link in (0, one.link):
            story.remove_route(one)
            return
    raise refuse(errno.ESRCH)
