"""What netlink answers, without any socket: to requests by hand, and read by pyroute2's codecs."""

from __future__ import annotations

import errno
import struct
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from diorama.abi.netlink import (
    NLM_F_ACK,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLM_F_DUMP,
    NLM_F_DUMP_FILTERED,
    NLM_F_MULTI,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    find_attributes,
)
from diorama.abi.rtnetlink import (
    IFA_LOCAL,
    IFLA_IFNAME,
    IFLA_MTU,
    RTA_DST,
    RTA_OIF,
    RTA_TABLE,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    RTM_GETRULE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    AddressHead,
    LinkHead,
    NeighbourHead,
    RouteHead,
)
from diorama.abi.socket import AF_INET, AF_INET6
from diorama.interfaces.localstory import LocalStory
from diorama.interfaces.netlink.asked import Settings
from diorama.interfaces.netlink.responder import RouteResponder, pack_answers
from diorama.interfaces.network import Link, Route, Story
from diorama.interfaces.story import Neighbour
from interfaces.office import ETH0, PLAIN, ask, code, office, refused, replies, request

STRICT = Settings(port=99, strict=True, extended=True)
RTM_GETQDISC = 38


@pytest.fixture
def story() -> LocalStory:
    return office()


# -- how requests are answered -------------------------------------------------------------------------------


def test_a_dump_ends_with_done_and_all_parts_say_that_there_are_more(story: LocalStory) -> None:
    *links, end = ask(story, RTM_GETLINK, NLM_F_DUMP, LinkHead().encode())
    assert [link.type for link in links] == [RTM_NEWLINK, RTM_NEWLINK]
    assert (end.type, code(end)) == (NLMSG_DONE, 0)
    assert all(one.flags & NLM_F_MULTI and (one.sequence, one.port) == (7, 99) for one in (*links, end))


def test_what_is_asked_for_with_one_byte_of_a_head_is_answered(story: LocalStory) -> None:
    assert len(ask(story, RTM_GETLINK, NLM_F_DUMP, b"\0")) == 3


def test_a_change_is_acknowledged_if_that_is_asked_for(story: LocalStory) -> None:
    body = LinkHead(0, 0, ETH0, 0, 1).encode()
    assert ask(story, RTM_NEWLINK, 0, body) == []
    (answer,) = ask(story, RTM_NEWLINK, NLM_F_ACK, body)
    assert (answer.type, code(answer), answer.flags) == (NLMSG_ERROR, 0, NLM_F_CAPPED)
    assert answer.body[4:] == request(RTM_NEWLINK, NLM_F_ACK, body)[:16]


def test_a_failure_tells_the_request_back_unless_that_is_to_be_capped(story: LocalStory) -> None:
    body = LinkHead(0, 0, 77).encode()
    (answer,) = ask(story, RTM_GETLINK, 0, body)
    assert (code(answer), answer.flags) == (errno.ENODEV, 0)
    assert answer.body[4:] == request(RTM_GETLINK, 0, body)
    (answer,) = ask(story, RTM_GETLINK, 0, body, Settings(capped=True))
    assert (len(answer.body), answer.flags) == (4 + 16, NLM_F_CAPPED)


def test_a_text_comes_with_a_failure_if_that_is_asked_for(story: LocalStory) -> None:
    body = AddressHead(AF_INET, 77, 0, 0, ETH0).encode() + attribute(IFA_LOCAL, bytes(4))
    (answer,) = ask(story, RTM_NEWADDR, 0, body, Settings(extended=True, capped=True))
    assert (code(answer), answer.flags) == (errno.EINVAL, NLM_F_CAPPED | NLM_F_ACK_TLVS)
    assert find_attributes(answer.body[20:]) == {1: b"Invalid prefix length\0"}


@pytest.mark.parametrize("kind", [RTM_GETQDISC, 200, RTM_NEWLINK + 400])
@pytest.mark.parametrize("flags", [NLM_F_DUMP, NLM_F_ACK])
def test_what_we_know_nothing_of_is_not_supported(story: LocalStory, kind: int, flags: int) -> None:
    assert refused(story, kind, bytes(16), flags) == errno.EOPNOTSUPP


def test_several_requests_in_a_datagram_are_answered_in_order(story: LocalStory) -> None:
    body = LinkHead(0, 0, 1).encode()
    both = request(RTM_GETLINK, NLM_F_ACK, body, 1) + request(RTM_GETLINK, NLM_F_ACK, body, 2)
    found = replies(RouteResponder(story).answer(both + bytes(100), PLAIN))
    assert [one.sequence for one in found] == [1, 1, 2, 2]


CUT = request(RTM_GETLINK, 0, b"\0" * 16)[:20]


@pytest.mark.parametrize("datagram", [b"", b"\0" * 16, b"\xff" * 40, CUT])
def test_what_is_no_request_is_not_answered(story: LocalStory, datagram: bytes) -> None:
    assert RouteResponder(story).answer(datagram, PLAIN) == []


def test_malformed_attributes_are_invalid(story: LocalStory) -> None:
    body = LinkHead().encode() + struct.pack("=HH", 3, IFLA_IFNAME)
    assert refused(story, RTM_GETLINK, body) == errno.EINVAL


def test_a_failure_of_ours_is_an_error_for_the_program(capfd: pytest.CaptureFixture[str]) -> None:
    class Broken(LocalStory):
        def links(self) -> list[Link]:
            raise RuntimeError("broken")

    assert refused(Broken(), RTM_GETLINK, LinkHead().encode(), NLM_F_DUMP) == errno.EIO
    assert "RuntimeError: broken" in capfd.readouterr().err


def test_dumps_come_in_pieces_that_fit_a_page() -> None:
    story = office()
    for number in range(500):
        story.add_route(Route(ip_network(f"172.{number >> 8}.{number & 255}.0/24"), ETH0, "10.0.0.253"))
    found = RouteResponder(story).answer(request(RTM_GETROUTE, NLM_F_DUMP, bytes([AF_INET])), PLAIN)
    assert len(found) > 5
    assert max(map(len, found)) < 4096
    assert len([one for one in replies(found) if one.type == RTM_NEWROUTE]) == 510


def test_a_message_that_is_larger_than_a_piece_is_alone() -> None:
    assert list(pack_answers([b"a" * 5000, b"b", b"c"])) == [b"a" * 5000, b"bc"]


# -- strict checking -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (RTM_GETLINK, b"\0"),
        (RTM_GETLINK, LinkHead(0, 0, 1).encode()),
        (RTM_GETLINK, LinkHead().encode() + attribute(IFLA_MTU, bytes(4))),
        (RTM_GETADDR, AddressHead(0, 24).encode()),
        (RTM_GETADDR, AddressHead().encode() + attribute(IFA_LOCAL, bytes(4))),
        (RTM_GETROUTE, RouteHead(AF_INET, 24).encode()),
        (RTM_GETROUTE, RouteHead(AF_INET).encode() + attribute(RTA_DST, bytes(4))),
        (RTM_GETNEIGH, NeighbourHead(AF_INET, 1).encode()),
    ],
)
def test_strictly_a_dump_of_what_cannot_be_chosen_is_invalid(
    story: LocalStory, kind: int, body: bytes
) -> None:
    (end,) = ask(story, kind, NLM_F_DUMP, body, STRICT)
    assert (end.type, code(end)) == (NLMSG_DONE, errno.EINVAL)
    assert end.flags & NLM_F_ACK_TLVS
    assert len(ask(story, kind, NLM_F_DUMP, body)) > 0 or kind == RTM_GETNEIGH


def test_strictly_a_dump_can_be_of_one_link(story: LocalStory) -> None:
    *found, end = ask(story, RTM_GETADDR, NLM_F_DUMP, AddressHead(0, 0, 0, 0, 1).encode(), STRICT)
    assert len(found) == 2
    assert end.flags & NLM_F_DUMP_FILTERED
    assert len(ask(story, RTM_GETADDR, NLM_F_DUMP, AddressHead(0, 0, 0, 0, 1).encode())) == 7


@pytest.mark.parametrize(
    ("head", "extra", "count"),
    [
        (RouteHead(AF_INET), b"", 10),
        (RouteHead(AF_INET, table=254), b"", 3),
        (RouteHead(AF_INET), attribute(RTA_TABLE, struct.pack("=I", 255)), 7),
        (RouteHead(AF_INET), attribute(RTA_OIF, struct.pack("=I", 1)), 3),
        (RouteHead(AF_INET, protocol=3), b"", 2),
        (RouteHead(AF_INET, type=3), b"", 2),
        (RouteHead(), b"", 15),
        (RouteHead(77), b"", 0),
    ],
)
def test_strictly_routes_can_be_chosen(story: LocalStory, head: RouteHead, extra: bytes, count: int) -> None:
    *found, end = ask(story, RTM_GETROUTE, NLM_F_DUMP, head.encode() + extra, STRICT)
    assert (len(found), code(end)) == (count, 0)


def test_a_table_that_there_is_not_is_told(story: LocalStory) -> None:
    (end,) = ask(story, RTM_GETROUTE, NLM_F_DUMP, RouteHead(AF_INET, table=9).encode(), STRICT)
    assert code(end) == errno.ENOENT
    assert b"ipv4: FIB table does not exist" in end.body


# -- read by pyroute2 ----------------------------------------------------------------------------------------


def decoded(codec: str, story: Story, kind: int, flags: int, body: bytes) -> list[Any]:
    """The answers as one of pyroute2's classes reads them."""
    module = pytest.importorskip(f"pyroute2.netlink.rtnl.{codec}")
    found = []
    for message in ask(story, kind, flags, body):
        if message.type not in (NLMSG_DONE, NLMSG_ERROR):
            found.append(getattr(module, codec)(message.pack()))
            found[-1].decode()
    return found


def test_links_are_what_they_are(story: LocalStory) -> None:
    lo, eth0 = decoded("ifinfmsg", story, RTM_GETLINK, NLM_F_DUMP, LinkHead().encode())
    assert (lo["index"], lo.get_attr("IFLA_IFNAME"), lo["ifi_type"]) == (1, "lo", 772)
    assert (eth0.get_attr("IFLA_MTU"), eth0.get_attr("IFLA_ADDRESS")) == (1400, "02:00:00:00:00:01")
    assert eth0.get_attr("IFLA_OPERSTATE") == "UP"
    assert eth0.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_KIND") == "veth"
    assert eth0.get_attr("IFLA_STATS64")["rx_bytes"] == 0


def test_addresses_are_what_they_are(story: LocalStory) -> None:
    found = decoded("ifaddrmsg", story, RTM_GETADDR, NLM_F_DUMP, AddressHead().encode())
    told = [(one["index"], one.get_attr("IFA_ADDRESS"), one["prefixlen"], one["scope"]) for one in found]
    assert told == [
        (1, "127.0.0.1", 8, 254),
        (ETH0, "10.0.0.1", 24, 0),
        (ETH0, "192.168.7.7", 32, 0),
        (ETH0, "10.0.0.9", 24, 0),
        (1, "::1", 128, 254),
        (ETH0, "fd00::1", 64, 0),
    ]
    assert [one.get_attr("IFA_BROADCAST") for one in found][:4] == [None, "10.0.0.255", None, "10.0.0.255"]
    assert found[3].get_attr("IFA_FLAGS") == 0x81


def test_routes_are_what_they_are(story: LocalStory) -> None:
    found = decoded("rtmsg", story, RTM_GETROUTE, NLM_F_DUMP, RouteHead(AF_INET).encode())
    main = [one for one in found if one["table"] == 254]
    told = [(one.get_attr("RTA_DST"), one["dst_len"], one.get_attr("RTA_GATEWAY")) for one in main]
    assert told == [(None, 0, "10.0.0.254"), ("10.0.0.0", 24, None), ("172.16.0.0", 12, "10.0.0.253")]
    assert main[2].get_attr("RTA_PRIORITY") == 50


@pytest.mark.parametrize(
    ("to", "gateway", "source"),
    [
        ("8.8.8.8", "10.0.0.254", "10.0.0.1"),
        ("10.0.0.7", None, "10.0.0.1"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("fd00::5", None, "fd00::1"),
        ("2001:db8::1", "fd00::fe", "fd00::1"),
    ],
)
def test_the_way_to_an_address_is_told(
    story: LocalStory, to: str, gateway: str | None, source: str
) -> None:
    parsed = ip_interface(to)
    head = RouteHead(AF_INET if parsed.version == 4 else AF_INET6, parsed.max_prefixlen).encode()
    (way,) = decoded("rtmsg", story, RTM_GETROUTE, 0, head + attribute(RTA_DST, parsed.packed))
    assert (way.get_attr("RTA_DST"), way.get_attr("RTA_GATEWAY")) == (to, gateway)
    assert way.get_attr("RTA_PREFSRC") == source


def test_an_address_that_no_way_leads_to_is_unreachable() -> None:
    head = RouteHead(AF_INET, 32).encode() + attribute(RTA_DST, bytes([8, 8, 8, 8]))
    assert refused(LocalStory(), RTM_GETROUTE, head) == errno.ENETUNREACH


def test_neighbours_and_rules_are_told(story: LocalStory) -> None:
    story.set_neighbour(Neighbour(ETH0, "10.0.0.5", b"\2" * 6))
    story.set_neighbour(Neighbour(ETH0, "fd00::5", b"", 1))
    found = decoded("ndmsg", story, RTM_GETNEIGH, NLM_F_DUMP, NeighbourHead().encode())
    assert [(one.get_attr("NDA_DST"), one.get_attr("NDA_LLADDR")) for one in found] == [
        ("10.0.0.5", "02:02:02:02:02:02"),
        ("fd00::5", None),
    ]
    rules = decoded("fibmsg", story, RTM_GETRULE, NLM_F_DUMP, RouteHead(AF_INET).encode())
    assert [one.get_attr("FRA_TABLE") for one in rules] == [255, 254, 253]
