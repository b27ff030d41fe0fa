"""Addresses: RTM_GETADDR, RTM_NEWADDR, RTM_DELADDR."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from ipaddress import ip_interface

from diorama.abi.netdevice import IFF_LOOPBACK
from diorama.abi.netlink import NLM_F_EXCL, NLM_F_REPLACE, attribute, text_attribute
from diorama.abi.rtnetlink import (
    IFA_ADDRESS,
    IFA_BROADCAST,
    IFA_CACHEINFO,
    IFA_F_PERMANENT,
    IFA_F_SECONDARY,
    IFA_FLAGS,
    IFA_LABEL,
    IFA_LOCAL,
    IFA_PROTO,
    IFAPROT_KERNEL_LO,
    RTM_NEWADDR,
    AddressHead,
)
from diorama.abi.socket import AF_INET, AF_INET6, AF_UNSPEC
from diorama.interfaces.netlink.asked import Answer, Asked, Dump, Kind, address_of, family_of, refuse_with
from diorama.interfaces.network import Interface, Link, refuse
from diorama.interfaces.routing import broadcast, in_order, is_secondary, scope

__all__ = ["ADDRESSES", "describe_address"]

_FOREVER = struct.pack("=IIII", 0xFFFFFFFF, 0xFFFFFFFF, 0, 0)
_LONGEST = {AF_INET: 32, AF_INET6: 128}


def describe_address(link: Link, address: Interface) -> bytes:
    """What a message about an address has behind its header."""
    flags = IFA_F_PERMANENT | (IFA_F_SECONDARY if is_secondary(link, address) else 0)
    how_far = scope(address.ip)
    length = address.network.prefixlen
    head = AddressHead(family_of(address.ip), length, flags & 0xFF, how_far, link.index).encode()
    return head + b"".join(_properties(link, address, flags))


def _properties(link: Link, address: Interface, flags: int) -> Iterator[bytes]:
    yield attribute(IFA_ADDRESS, address.packed)
    if address.version == 4:
        yield attribute(IFA_LOCAL, address.packed)
        last = broadcast(address)
        if last is not None:
            yield attribute(IFA_BROADCAST, last.packed)
        yield text_attribute(IFA_LABEL, link.name)
    rest = [attribute(IFA_FLAGS, struct.pack("=I", flags)), attribute(IFA_CACHEINFO, _FOREVER)]
    yield from rest if address.version == 4 else reversed(rest)
    if address.version == 6 and link.flags & IFF_LOOPBACK:
        yield attribute(IFA_PROTO, bytes([IFAPROT_KERNEL_LO]))


def _dump(asked: Asked) -> Dump:
    head = AddressHead.decode(asked.message.body)
    values = (head.length, head.flags, head.scope)
    asked.check(AddressHead.width(), values, (), "address")
    only = head.index if asked.settings.strict else 0
    if only:
        asked.link(only)
    versions = {AF_INET: (4,), AF_INET6: (6,), AF_UNSPEC: (4, 6)}.get(head.family, ())
    answers = [
        (RTM_NEWADDR, describe_address(link, address))
        for version in versions
        for link in asked.story.links()
        if only in (0, link.index)
        for address in in_order(link, version)
    ]
    return Dump(answers, bool(only))


def _get(asked: Asked) -> Answer:
    if asked.family != AF_INET6:
        raise refuse(errno.EOPNOTSUPP)
    head, attributes = _attributes(asked)
    value = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS)
    if value is None:
        raise refuse(errno.EINVAL)
    wanted = address_of(asked.family, value)
    for link in asked.story.links():
        for one in link.addresses:
            if one.ip == wanted and head.index in (0, link.index):
                return RTM_NEWADDR, describe_address(link, one)
    raise refuse(errno.EADDRNOTAVAIL)


def _attributes(asked: Asked) -> tuple[AddressHead, dict[int, bytes]]:
    head = AddressHead.decode(asked.message.body)
    if head.family not in _LONGEST:
        raise refuse(errno.EOPNOTSUPP)
    return head, asked.attributes(AddressHead.width())


def _add(asked: Asked) -> None:
    head, attributes = _attributes(asked)
    mine, theirs = attributes.get(IFA_LOCAL), attributes.get(IFA_ADDRESS)
    if mine is None and theirs is None:
        raise refuse(errno.EINVAL)
    if mine is not None and theirs is not None and mine != theirs:
        raise refuse_with(errno.EOPNOTSUPP, "An address with a peer cannot be had here")
    if head.length > _LONGEST[head.family]:
        raise refuse_with(errno.EINVAL, "Invalid prefix length")
    link = asked.link(head.index)
    address = ip_interface((address_of(head.family, mine or theirs or b""), head.length))
    if address in link.addresses and asked.has(NLM_F_REPLACE) and not asked.has(NLM_F_EXCL):
        return
    if address.version == 4:
        _check_extras(link, address, attributes)
    if address in link.addresses:
        raise refuse_with(errno.EEXIST, f"ipv{address.version}: Address already assigned")
    asked.story.add_address(head.index, address)


def _check_extras(link: Link, address: Interface, attributes: dict[int, bytes]) -> None:
    """Whether an IPv4 address is to have only what it has here anyway: EOPNOTSUPP."""
    last, wanted = broadcast(address), attributes.get(IFA_BROADCAST)
    if wanted is not None and (last is None or last.packed != wanted):
        raise refuse_with(errno.EOPNOTSUPP, "The broadcast address of a subnet is its last one here")
    label = attributes.get(IFA_LABEL, b"").partition(b"\0")[0].decode(errors="surrogateescape")
    if label not in ("", link.name):
        raise refuse_with(errno.EOPNOTSUPP, "The label of an address is the name of its link here")


def _remove(asked: Asked) -> None:
    head, attributes = _attributes(asked)
    link = asked.link(head.index)
    mine, theirs = attributes.get(IFA_LOCAL), attributes.get(IFA_ADDRESS)
    for one in link.addresses:
        if family_of(one.ip) != head.family:
            continue
        fits = one.network.prefixlen == head.length and one.packed == (theirs or one.packed)
        if one.packed == (mine or theirs) and (theirs is None or fits):
            asked.story.remove_address(head.index, one)
            return
    version = 4 if head.family == AF_INET else 6
    raise refuse_with(errno.EADDRNOTAVAIL, f"ipv{version}: Address not found")


ADDRESSES = Kind(_dump, _get, _add, _remove)
