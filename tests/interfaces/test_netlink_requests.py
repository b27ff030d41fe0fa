"""What requests of netlink change, and which are refused, without any socket."""

from __future__ import annotations

import errno
import struct
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from diorama.abi.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    attribute,
    nest,
    text_attribute,
)
from diorama.abi.rtnetlink import (
    IFA_ADDRESS,
    IFA_BROADCAST,
    IFA_LABEL,
    IFA_LOCAL,
    IFLA_ADDRESS,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MTU,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PRIORITY,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    AddressHead,
    LinkHead,
    RouteHead,
)
from diorama.abi.socket import AF_INET, AF_INET6
from diorama.interfaces.localstory import LocalStory
from diorama.interfaces.network import Link, Route, Story
from interfaces.office import ETH0, ask, attributes, office, refused


@pytest.fixture
def story() -> LocalStory:
    return office()


# -- links ---------------------------------------------------------------------------------------------------


def by_name(name: str) -> bytes:
    return LinkHead().encode() + text_attribute(IFLA_IFNAME, name)


def test_a_link_is_found_by_name_and_by_index(story: LocalStory) -> None:
    (one,) = ask(story, RTM_GETLINK, 0, by_name("eth0"))
    (other,) = ask(story, RTM_GETLINK, 0, LinkHead(0, 0, ETH0).encode())
    assert one.body == other.body
    assert attributes(one, LinkHead.width())[IFLA_IFNAME] == b"eth0\0"


@pytest.mark.parametrize(("body", "error"), [(by_name("eth7"), errno.ENODEV), (bytes(16), errno.EINVAL)])
def test_a_link_that_there_is_not_is_an_error(story: LocalStory, body: bytes, error: int) -> None:
    assert refused(story, RTM_GETLINK, body) == error


def test_flags_change_within_the_mask(story: LocalStory) -> None:
    assert refused(story, RTM_NEWLINK, LinkHead(0, 0, ETH0, 0, 1).encode()) == 0
    assert not story.links()[1].flags & 1
    assert refused(story, RTM_NEWLINK, LinkHead(0, 0, ETH0, 0x101, 0x100).encode()) == 0
    assert story.links()[1].flags & 0x101 == 0x100


@pytest.mark.parametrize(("mtu", "error"), [(1300, 0), (10, errno.EINVAL), (70000, errno.EINVAL)])
def test_the_size_of_packets_has_bounds(story: LocalStory, mtu: int, error: int) -> None:
    body = by_name("eth0") + attribute(IFLA_MTU, struct.pack("=I", mtu))
    assert refused(story, RTM_NEWLINK, body) == error
    assert story.links()[1].mtu == (1400 if error else mtu)


def test_a_link_gets_another_name_and_address(story: LocalStory) -> None:
    wanted = text_attribute(IFLA_IFNAME, "wan") + attribute(IFLA_ADDRESS, b"\2" * 6)
    body = LinkHead(0, 0, ETH0).encode() + wanted
    assert refused(story, RTM_NEWLINK, body) == 0
    assert (story.links()[1].name, story.links()[1].address) == ("wan", b"\2" * 6)


@pytest.mark.parametrize(
    ("name", "error"),
    [("lo", errno.EEXIST), ("a/b", errno.EINVAL), ("x" * 16, errno.EINVAL), (".", errno.EINVAL)],
)
def test_a_name_must_be_one_and_free(story: LocalStory, name: str, error: int) -> None:
    body = LinkHead(0, 0, ETH0).encode() + text_attribute(IFLA_IFNAME, name)
    assert refused(story, RTM_NEWLINK, body) == error
    assert story.links()[1].name == "eth0"


class Making(LocalStory):
    """A story to which links of a kind can be added."""

    def add_link(self, kind: str, name: str, data: Any) -> None:
        self.put_link(Link(9, name, 0x1002, driver=kind))
        self.told = dict(data)


def link_of(kind: str, data: bytes | None, *extra: bytes) -> bytes:
    info = [text_attribute(IFLA_INFO_KIND, kind)]
    if data is not None:
        info.append(attribute(IFLA_INFO_DATA, data))
    return b"".join([LinkHead().encode(), *extra, nest(IFLA_LINKINFO, info)])


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, {}),
        (b"vxvde://\0", {"data": "vxvde://"}),
        (text_attribute(1, "vde:///tmp/s") + text_attribute(2, "x"), {"1": "vde:///tmp/s", "2": "x"}),
    ],
)
def test_a_link_is_made_with_what_its_kind_is_told(data: bytes | None, told: dict[str, str]) -> None:
    story = Making()
    flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
    extra = (
        text_attribute(IFLA_IFNAME, "vde1"),
        attribute(IFLA_ADDRESS, b"\2" * 6),
        attribute(IFLA_MTU, struct.pack("=I", 1300)),
        attribute(IFLA_IFALIAS, b"office"),
    )
    assert refused(story, RTM_NEWLINK, link_of("vde", data, *extra), flags) == 0
    assert (story.links()[1].name, story.links()[1].driver) == ("vde1", "vde")
    assert story.told == {"data": "office", **told, "address": "02:02:02:02:02:02", "mtu": "1300"}
    assert refused(story, RTM_NEWLINK, link_of("vde", data, *extra), flags) == errno.EEXIST
    assert refused(story, RTM_DELLINK, by_name("vde1")) == 0
    assert len(story.links()) == 1


def test_a_link_without_a_name_gets_that_of_its_kind_and_a_number() -> None:
    story = Making()
    assert refused(story, RTM_NEWLINK, link_of("vde", None), NLM_F_ACK | NLM_F_CREATE) == 0
    assert refused(story, RTM_NEWLINK, link_of("vde", None), NLM_F_ACK | NLM_F_CREATE) == 0
    assert story.links()[1].name == "vde1"


@pytest.mark.parametrize(
    ("body", "error"),
    [(link_of("dummy", None), errno.EOPNOTSUPP), (by_name("eth7"), errno.EOPNOTSUPP)],
)
def test_a_kind_that_there_is_not_is_not_supported(story: LocalStory, body: bytes, error: int) -> None:
    assert refused(story, RTM_NEWLINK, body, NLM_F_ACK | NLM_F_CREATE) == error
    assert refused(story, RTM_NEWLINK, body) == errno.ENODEV


# -- addresses -----------------------------------------------------------------------------------------------


def address(text: str, link: int = ETH0, kind: int = IFA_LOCAL) -> bytes:
    parsed = ip_interface(text)
    family = AF_INET if parsed.version == 4 else AF_INET6
    head = AddressHead(family, parsed.network.prefixlen, 0, 0, link).encode()
    return head + attribute(IFA_ADDRESS, parsed.packed) + attribute(kind, parsed.packed)


@pytest.mark.parametrize("text", ["10.9.0.1/16", "fd09::1/64"])
def test_an_address_comes_and_goes(story: LocalStory, text: str) -> None:
    assert refused(story, RTM_NEWADDR, address(text)) == 0
    assert ip_interface(text) in story.links()[1].addresses
    assert refused(story, RTM_NEWADDR, address(text)) == errno.EEXIST
    assert refused(story, RTM_NEWADDR, address(text), NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE) == 0
    assert refused(story, RTM_DELADDR, address(text)) == 0
    assert refused(story, RTM_DELADDR, address(text)) == errno.EADDRNOTAVAIL
    assert ip_interface(text) not in story.links()[1].addresses


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (address("10.9.0.1/16", link=77), errno.ENODEV),
        (AddressHead(AF_INET, 24, 0, 0, ETH0).encode(), errno.EINVAL),
        (AddressHead(AF_INET, 24, 0, 0, ETH0).encode() + attribute(IFA_LOCAL, bytes(16)), errno.EINVAL),
        (AddressHead(77, 24, 0, 0, ETH0).encode(), errno.EOPNOTSUPP),
        (address("10.9.0.1/16") + attribute(IFA_ADDRESS, bytes(4)), errno.EOPNOTSUPP),
        (address("10.9.0.1/16") + attribute(IFA_BROADCAST, bytes(4)), errno.EOPNOTSUPP),
        (address("10.9.0.1/16") + text_attribute(IFA_LABEL, "eth0:1"), errno.EOPNOTSUPP),
    ],
)
def test_what_is_no_address_is_refused(story: LocalStory, body: bytes, error: int) -> None:
    assert refused(story, RTM_NEWADDR, body) == error


def test_an_address_may_be_given_what_it_has_anyway(story: LocalStory) -> None:
    broadcast = attribute(IFA_BROADCAST, bytes([10, 9, 255, 255]))
    body = address("10.9.0.1/16") + broadcast + text_attribute(IFA_LABEL, "eth0")
    assert refused(story, RTM_NEWADDR, body) == 0


def test_the_subnet_of_an_address_that_goes_must_be_its_own(story: LocalStory) -> None:
    assert refused(story, RTM_DELADDR, address("10.0.0.1/25")) == errno.EADDRNOTAVAIL
    alone = AddressHead(AF_INET, 32, 0, 0, ETH0).encode() + attribute(IFA_LOCAL, bytes([10, 0, 0, 1]))
    assert refused(story, RTM_DELADDR, alone) == 0


# -- routes --------------------------------------------------------------------------------------------------


def route(
    subnet: str, gateway: str | None = None, metric: int = 0, link: int = 0, **head: int
) -> bytes:
    parsed = ip_network(subnet)
    family = AF_INET if parsed.version == 4 else AF_INET6
    body = RouteHead(family, parsed.prefixlen, **{"table": 254, "type": 1, **head}).encode()
    if parsed.prefixlen:
        body += attribute(RTA_DST, parsed.network_address.packed)
    if gateway:
        body += attribute(RTA_GATEWAY, ip_interface(gateway).packed)
    for kind, value in ((RTA_PRIORITY, metric), (RTA_OIF, link)):
        body += attribute(kind, struct.pack("=I", value)) if value else b""
    return body


NEW = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL


def test_a_route_comes_and_goes(story: LocalStory) -> None:
    before = list(story.routes())
    assert refused(story, RTM_NEWROUTE, route("10.7.0.0/16", "10.0.0.3"), NEW) == 0
    assert story.routes()[-1] == Route(ip_network("10.7.0.0/16"), ETH0, "10.0.0.3")
    assert refused(story, RTM_NEWROUTE, route("10.7.0.0/16", "10.0.0.4"), NEW) == errno.EEXIST
    assert refused(story, RTM_DELROUTE, route("10.7.0.0/16", "10.0.0.4")) == errno.ESRCH
    assert refused(story, RTM_DELROUTE, route("10.7.0.0/16")) == 0
    assert refused(story, RTM_DELROUTE, route("10.7.0.0/16")) == errno.ESRCH
    assert story.routes() == before


def test_a_route_takes_the_place_of_another(story: LocalStory) -> None:
    flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    assert refused(story, RTM_NEWROUTE, route("0.0.0.0/0", "10.0.0.3"), flags) == 0
    assert [one.gateway for one in story.routes() if one.subnet == ip_network("0.0.0.0/0")] == ["10.0.0.3"]
    assert refused(story, RTM_NEWROUTE, route("0.0.0.0/0", "10.0.0.3"), flags) == 0


def test_ipv6_routes_have_a_metric(story: LocalStory) -> None:
    assert refused(story, RTM_NEWROUTE, route("fd05::/64", "fd00::3"), NEW) == 0
    assert story.routes()[-1].metric == 1024


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (route("10.7.0.0/16", "10.99.0.3"), errno.ENETUNREACH),
        (route("10.7.0.0/16", "8.8.8.8"), errno.ENETUNREACH),
        (route("fd05::/64", "fd99::3"), errno.EHOSTUNREACH),
        (route("10.7.0.0/16"), errno.ENODEV),
        (route("10.7.0.0/16", link=77), errno.ENODEV),
        (route("10.7.0.0/16", "10.0.0.3", table=9), errno.EOPNOTSUPP),
        (route("10.7.0.0/16", "10.0.0.3", type=6), errno.EOPNOTSUPP),
        (RouteHead(AF_INET, 8, table=254).encode() + attribute(RTA_DST, b"\n\1\1\1"), errno.EINVAL),
        (RouteHead(AF_INET, 99, table=254).encode(), errno.EINVAL),
        (RouteHead(77).encode(), errno.EOPNOTSUPP),
    ],
)
def test_a_route_that_leads_nowhere_is_refused(story: LocalStory, body: bytes, error: int) -> None:
    before = list(story.routes())
    assert refused(story, RTM_NEWROUTE, body, NEW) == error
    assert story.routes() == before


def test_who_may_not_change_anything_is_told_so() -> None:
    class Fixed(Story):
        def links(self) -> list[Link]:
            return list(office().links())

    story = Fixed()
    for kind, body in (
        (RTM_NEWLINK, LinkHead(0, 0, ETH0, 0, 1).encode()),
        (RTM_DELLINK, by_name("eth0")),
        (RTM_NEWADDR, address("10.9.0.1/16")),
        (RTM_DELADDR, address("10.0.0.1/24")),
        (RTM_NEWROUTE, route("10.7.0.0/16", "10.0.0.3")),
    ):
        assert refused(story, kind, body, NEW) in (errno.EPERM, errno.EEXIST)
