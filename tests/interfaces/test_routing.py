"""Which routes follow from the addresses of links, and which way is taken."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from diorama.abi.rtnetlink import RT_TABLE_LOCAL, RT_TABLE_MAIN, RTN_BROADCAST, RTN_LOCAL, RTN_MULTICAST
from diorama.interfaces.localstory import LocalStory
from diorama.interfaces.network import Route
from diorama.interfaces.routing import broadcast, find_way, is_secondary, reach, scope, ways
from interfaces.office import ETH0, office


@pytest.fixture
def story() -> LocalStory:
    return office()


def test_a_link_that_is_down_has_no_routes(story: LocalStory) -> None:
    story.set_link(ETH0, flags=0)
    assert {way.link for way in ways(story, 4)} == {1}


@pytest.mark.parametrize(
    ("address", "last"),
    [("10.0.0.1/24", "10.0.0.255"), ("10.0.0.1/31", None), ("127.0.0.1/8", None), ("fd00::1/64", None)],
)
def test_a_subnet_has_a_broadcast_address(address: str, last: str | None) -> None:
    assert broadcast(ip_interface(address)) == (None if last is None else ip_address(last))


def test_the_second_address_of_a_subnet_is_secondary(story: LocalStory) -> None:
    link = story.links()[1]
    assert [is_secondary(link, one) for one in link.addresses] == [False, True, False, False]


@pytest.mark.parametrize(
    ("address", "how_far"),
    [("127.0.0.1", 254), ("::1", 254), ("fe80::1", 253), ("169.254.1.1", 0), ("10.0.0.1", 0), ("fd00::1", 0)],
)
def test_addresses_are_valid_so_far(address: str, how_far: int) -> None:
    assert scope(ip_address(address)) == how_far


def test_the_longest_prefix_wins_and_then_the_smallest_metric(story: LocalStory) -> None:
    for metric, gateway in ((30, "10.0.0.30"), (10, "10.0.0.10"), (20, "10.0.0.20")):
        story.add_route(Route(ip_network("172.16.5.0/24"), ETH0, gateway, metric))
    assert str(find_way(story, ip_address("172.16.5.1")).gateway) == "10.0.0.10"
    assert str(find_way(story, ip_address("172.16.6.1")).gateway) == "10.0.0.253"
    assert str(find_way(story, ip_address("172.32.0.1")).gateway) == "10.0.0.254"


def test_a_route_of_ipv6_that_is_given_no_metric_has_one(story: LocalStory) -> None:
    story.add_route(Route(ip_network("fd09::/64"), ETH0, "fd00::3"))
    story.add_route(Route(ip_network("172.40.0.0/24"), ETH0, "10.0.0.3"))
    assert find_way(story, ip_address("fd09::1")).metric == 1024
    assert find_way(story, ip_address("172.40.0.1")).metric == 0


def test_what_is_ours_goes_through_the_loopback(story: LocalStory) -> None:
    for own in ("10.0.0.1", "192.168.7.7", "127.5.5.5", "fd00::1", "::1"):
        way = find_way(story, ip_address(own))
        assert (way.link, way.type, way.source) == (1, RTN_LOCAL, ip_address(own))


@pytest.mark.parametrize(
    ("to", "kind"),
    [("10.0.0.255", RTN_BROADCAST), ("255.255.255.255", RTN_BROADCAST), ("224.0.0.251", RTN_MULTICAST)],
)
def test_what_is_for_many_has_no_gateway(story: LocalStory, to: str, kind: int) -> None:
    way = find_way(story, ip_address(to))
    assert (way.type, way.gateway, str(way.source)) == (kind, None, "10.0.0.1")


def test_a_link_that_is_asked_for_is_taken(story: LocalStory) -> None:
    assert reach(story, ip_address("10.0.0.7"), link=1) is None
    way = find_way(LocalStory(story.links()), ip_address("8.8.8.8"), ETH0)
    assert (way.link, way.gateway, str(way.source)) == (ETH0, None, "10.0.0.1")


def test_where_no_way_leads_is_unreachable() -> None:
    for to in ("8.8.8.8", "2001:db8::1"):
        with pytest.raises(OSError, match="Network is unreachable"):
            find_way(LocalStory(), ip_address(to))


def test_tables_are_in_order(story: LocalStory) -> None:
    for version in (4, 6):
        tables = [way.table for way in ways(story, version)]
        assert tables == sorted(tables)
        assert {RT_TABLE_MAIN, RT_TABLE_LOCAL} == set(tables)


def test_a_packet_comes_from_the_subnet_of_who_is_next(story: LocalStory) -> None:
    story.add_address(ETH0, ip_interface("10.9.0.1/16"))
    story.add_route(Route(ip_network("10.8.0.0/16"), ETH0, "10.9.0.7"))
    assert str(find_way(story, ip_address("10.8.1.1")).source) == "10.9.0.1"
