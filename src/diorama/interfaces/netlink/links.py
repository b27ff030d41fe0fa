"""Links: RTM_GETLINK, RTM_NEWLINK, RTM_SETLINK, RTM_DELLINK."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Iterator

from diorama.abi.netdevice import (
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_UP,
    IFF_VOLATILE,
    IFNAMSIZ,
    broadcast_of,
)
from diorama.abi.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    attribute,
    find_attributes,
    nest,
    text_attribute,
)
from diorama.abi.rtnetlink import (
    IF_OPER_DOWN,
    IF_OPER_LOWERLAYERDOWN,
    IF_OPER_UNKNOWN,
    IF_OPER_UP,
    IFLA_ADDRESS,
    IFLA_ALT_IFNAME,
    IFLA_BROADCAST,
    IFLA_CARRIER,
    IFLA_EXT_MASK,
    IFLA_GROUP,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_LINKMODE,
    IFLA_MASTER,
    IFLA_MAX_MTU,
    IFLA_MIN_MTU,
    IFLA_MTU,
    IFLA_NUM_RX_QUEUES,
    IFLA_NUM_TX_QUEUES,
    IFLA_OPERSTATE,
    IFLA_PROMISCUITY,
    IFLA_QDISC,
    IFLA_STATS,
    IFLA_STATS64,
    IFLA_TXQLEN,
    RTEXT_FILTER_SKIP_STATS,
    RTM_NEWLINK,
    LinkHead,
)
from diorama.abi.socket import AF_BRIDGE
from diorama.interfaces.netlink.asked import Answer, Asked, Dump, Kind, number_of, refuse_with
from diorama.interfaces.network import Link, refuse

__all__ = ["LINKS", "describe_link", "state_of"]

_STATISTICS = 25
"""How many numbers `struct rtnl_link_stats64` has; the older structure lacks the last."""
_MAX_MTU = 65535
_MIN_MTU = 68
_QUIET = frozenset({IFLA_IFNAME, IFLA_ALT_IFNAME, IFLA_EXT_MASK})
_CHANGES = _QUIET | {IFLA_MTU, IFLA_TXQLEN, IFLA_ADDRESS, IFLA_LINKINFO, IFLA_GROUP, IFLA_NUM_TX_QUEUES}


def state_of(link: Link) -> int:
    """The operational state of a link, IF_OPER_*."""
    if not link.flags & IFF_UP:
        return IF_OPER_DOWN
    if link.flags & IFF_LOOPBACK:
        return IF_OPER_UNKNOWN
    return IF_OPER_UP if link.flags & IFF_LOWER_UP else IF_OPER_LOWERLAYERDOWN


def describe_link(link: Link, *, change: int = 0, statistics: bool = True) -> bytes:
    """What a message about a link has behind its header."""
    head = LinkHead(0, link.kind, link.index, link.flags & 0xFFFFFFFF, change).encode()
    return head + b"".join(_properties(link, statistics))


def _properties(link: Link, statistics: bool) -> Iterator[bytes]:
    is_loopback = bool(link.flags & IFF_LOOPBACK)
    yield text_attribute(IFLA_IFNAME, link.name)
    for kind, value in (
        (IFLA_TXQLEN, link.queue),
        (IFLA_MTU, link.mtu),
        (IFLA_MIN_MTU, 0 if is_loopback else _MIN_MTU),
        (IFLA_MAX_MTU, 0 if is_loopback else _MAX_MTU),
        (IFLA_GROUP, 0),
        (IFLA_PROMISCUITY, 0),
        (IFLA_NUM_TX_QUEUES, 1),
        (IFLA_NUM_RX_QUEUES, 1),
    ):
        yield attribute(kind, struct.pack("=I", value))
    yield attribute(IFLA_OPERSTATE, bytes([state_of(link)]))
    yield attribute(IFLA_LINKMODE, b"\0")
    yield attribute(IFLA_CARRIER, bytes([is_loopback or bool(link.flags & IFF_LOWER_UP)]))
    yield text_attribute(IFLA_QDISC, "noqueue" if link.flags & IFF_UP else "noop")
    if link.address:
        yield attribute(IFLA_ADDRESS, link.address)
        yield attribute(IFLA_BROADCAST, broadcast_of(link.kind, len(link.address)))
    if statistics:
        yield from _statistics(link)
    if link.driver:
        yield nest(IFLA_LINKINFO, [text_attribute(IFLA_INFO_KIND, link.driver)])


def _statistics(link: Link) -> Iterator[bytes]:
    count = link.counters
    numbers = [count.received_packets, count.sent_packets, count.received_bytes, count.sent_bytes]
    numbers += [count.received_errors, count.sent_errors, count.received_dropped, count.sent_dropped]
    numbers += [count.multicast]
    numbers += [0] * (_STATISTICS - len(numbers))
    yield attribute(IFLA_STATS64, struct.pack(f"={_STATISTICS}Q", *numbers))
    short = [number & 0xFFFFFFFF for number in numbers[:-1]]
    yield attribute(IFLA_STATS, struct.pack(f"={len(short)}I", *short))


# -- asking -----------------------------------------------------------------------------------------------


def _driver_of(attributes: dict[int, bytes]) -> tuple[str, bytes | None]:
    """The kind of link that a request names, and what it tells that kind."""
    info = _parse(attributes.get(IFLA_LINKINFO, b""))
    return _text(info.get(IFLA_INFO_KIND, b"")), info.get(IFLA_INFO_DATA)


def _parse(data: bytes) -> dict[int, bytes]:
    try:
        return find_attributes(data)
    except ValueError:
        raise refuse_with(errno.EINVAL, "malformed attributes") from None


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="surrogateescape")


def _dump(asked: Asked) -> Dump:
    head = LinkHead.decode(asked.message.body)
    known = (IFLA_EXT_MASK, IFLA_MASTER, IFLA_LINKINFO)
    attributes = asked.check(
        LinkHead.width(), (head.kind, head.index, head.flags, head.change), known, "link"
    )
    links: Iterable[Link] = asked.story.links()
    driver, _ = _driver_of(attributes)
    if head.family == AF_BRIDGE or IFLA_MASTER in attributes:
        links = ()
    elif driver:
        links = [link for link in links if link.driver == driver]
    statistics = not number_of(attributes.get(IFLA_EXT_MASK)) & RTEXT_FILTER_SKIP_STATS
    answers = [(RTM_NEWLINK, describe_link(link, statistics=statistics)) for link in links]
    return Dump(answers, bool(driver) or IFLA_MASTER in attributes)


def _named(asked: Asked, attributes: dict[int, bytes]) -> Link | None:
    """The link that a request is about; None if it names one that there is not."""
    index = LinkHead.decode(asked.message.body).index
    if index:
        return next((one for one in asked.story.links() if one.index == index), None)
    name = attributes.get(IFLA_IFNAME) or attributes.get(IFLA_ALT_IFNAME)
    if name is None:
        return None
    return next((one for one in asked.story.links() if one.name == _text(name)), None)


def _get(asked: Asked) -> Answer:
    attributes = asked.attributes(LinkHead.width())
    is_named = bool(attributes.keys() & {IFLA_IFNAME, IFLA_ALT_IFNAME})
    if not is_named and not LinkHead.decode(asked.message.body).index:
        raise refuse(errno.EINVAL)
    link = _named(asked, attributes)
    if link is None:
        raise refuse(errno.ENODEV)
    statistics = not number_of(attributes.get(IFLA_EXT_MASK)) & RTEXT_FILTER_SKIP_STATS
    return RTM_NEWLINK, describe_link(link, statistics=statistics)


# -- changing ---------------------------------------------------------------------------------------------


def _add(asked: Asked) -> None:
    attributes = asked.attributes(LinkHead.width())
    link = _named(asked, attributes)
    if link is not None:
        if asked.has(NLM_F_EXCL):
            raise refuse(errno.EEXIST)
        _set(asked, link, attributes)
    elif asked.has(NLM_F_CREATE):
        _create(asked, attributes)
    else:
        raise refuse(errno.ENODEV)


def _set(asked: Asked, link: Link, attributes: dict[int, bytes]) -> None:
    head = LinkHead.decode(asked.message.body)
    if attributes.keys() - _CHANGES:
        raise refuse_with(errno.EOPNOTSUPP, "This property of a link cannot be changed here")
    name = attributes.get(IFLA_IFNAME)
    if name is not None:
        _check_name(asked, link, _text(name))
    mtu, queue = attributes.get(IFLA_MTU), attributes.get(IFLA_TXQLEN)
    mask = (head.change or 0xFFFFFFFF) & ~IFF_VOLATILE if head.flags or head.change else 0
    flags = link.flags & ~mask | head.flags & mask
    address = attributes.get(IFLA_ADDRESS)
    if address is not None and len(address) < len(link.address):
        raise refuse(errno.EINVAL)
    asked.story.set_link(
        link.index,
        flags=flags if flags != link.flags else None,
        mtu=None if mtu is None else _mtu(mtu, link),
        queue=None if queue is None else number_of(queue),
        name=_text(name) if name and _text(name) != link.name else None,
        address=None if address is None else address[: len(link.address)],
    )


def _mtu(value: bytes, link: Link) -> int:
    mtu = number_of(value)
    if not link.flags & IFF_LOOPBACK and mtu < _MIN_MTU:
        raise refuse_with(errno.EINVAL, "mtu less than device minimum")
    if not link.flags & IFF_LOOPBACK and mtu > _MAX_MTU:
        raise refuse_with(errno.EINVAL, "mtu greater than device maximum")
    return mtu


def _check_name(asked: Asked, link: Link | None, name: str) -> None:
    if not 0 < len(name.encode(errors="surrogateescape")) < IFNAMSIZ or "/" in name or name in (".", ".."):
        raise refuse(errno.EINVAL)
    if any(one.name == name and (link is None or one.index != link.index) for one in asked.story.links()):
        raise refuse(errno.EEXIST)


def _create(asked: Asked, attributes: dict[int, bytes]) -> None:
    kind, told = _driver_of(attributes)
    if not kind:
        raise refuse(errno.EOPNOTSUPP)
    if IFLA_IFNAME in attributes:
        name = _text(attributes[IFLA_IFNAME])
        _check_name(asked, None, name)
    else:
        taken = {link.name for link in asked.story.links()}
        free = (f"{kind}{number}" for number in range(len(taken) + 1))
        name = next(one for one in free if one not in taken)
    data = {} if told is None else _told(told)
    if IFLA_ADDRESS in attributes:
        data["address"] = attributes[IFLA_ADDRESS].hex(":")
    if IFLA_MTU in attributes:
        data["mtu"] = str(number_of(attributes[IFLA_MTU]))
    if IFLA_IFALIAS in attributes:
        data.setdefault("data", _text(attributes[IFLA_IFALIAS]))
    try:
        asked.story.add_link(kind, name, data)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise refuse_with(errno.EOPNOTSUPP, "Unknown device type") from None
        raise


def _told(data: bytes) -> dict[str, str]:
    """What a kind of link is told, as `Story.add_link` takes it."""
    try:
        return {str(kind): _text(value) for kind, value in find_attributes(data).items()}
    except ValueError:
        return {"data": _text(data)}


def _remove(asked: Asked) -> None:
    link = _named(asked, asked.attributes(LinkHead.width()))
    if link is None:
        raise refuse(errno.ENODEV)
    asked.story.remove_link(link.index)


LINKS = Kind(_dump, _get, _add, _remove)
