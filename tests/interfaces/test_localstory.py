"""A story that is kept: what can be changed in it, and what follows."""

from __future__ import annotations

import threading
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from diorama.interfaces.localstory import ETHERNET, LocalStory, loopback
from diorama.interfaces.network import Link, Route
from diorama.interfaces.story import Neighbour
from interfaces.office import ETH0, office


@pytest.fixture
def story() -> LocalStory:
    return office()


def failing(text: str) -> Any:
    return pytest.raises(OSError, match=text)


def test_by_default_there_is_a_loopback() -> None:
    (lo,) = LocalStory().links()
    assert (lo.index, lo.name, [str(one) for one in lo.addresses]) == (1, "lo", ["127.0.0.1/8", "::1/128"])


def test_a_loopback_gets_its_addresses_when_it_comes_up() -> None:
    story = LocalStory([loopback(up=False)])
    assert not story.links()[0].addresses
    story.set_link(1, flags=9)
    assert [str(one) for one in story.links()[0].addresses] == ["127.0.0.1/8", "::1/128"]


def test_what_is_told_is_a_copy(story: LocalStory) -> None:
    story.links()[1].addresses.clear()
    story.links()[1].name = "other"
    assert (story.links()[1].name, len(story.links()[1].addresses)) == ("eth0", 4)


def test_a_link_that_goes_down_loses_its_routes_and_ipv6_addresses(story: LocalStory) -> None:
    story.set_link(ETH0, flags=ETHERNET)
    assert not story.routes()
    assert [one.version for one in story.links()[1].addresses] == [4, 4, 4]


def test_a_link_without_an_ipv4_address_has_no_ipv4_routes(story: LocalStory) -> None:
    story.remove_address(ETH0, ip_interface("10.0.0.1/24"))
    assert len(story.routes()) == 3
    story.remove_address(ETH0, ip_interface("192.168.7.7/32"))
    assert [one.subnet.version for one in story.routes()] == [6]
    story.remove_address(ETH0, ip_interface("fd00::1/64"))
    assert len(story.routes()) == 1


def test_the_first_address_of_a_subnet_takes_the_others_along(story: LocalStory) -> None:
    story.remove_address(ETH0, ip_interface("10.0.0.9/24"))
    story.add_address(ETH0, ip_interface("10.0.0.8/24"))
    story.remove_address(ETH0, ip_interface("10.0.0.1/24"))
    assert [str(one) for one in story.links()[1].addresses] == ["192.168.7.7/32", "fd00::1/64"]


def test_what_there_is_already_or_not_is_refused(story: LocalStory) -> None:
    with failing("File exists"):
        story.add_address(ETH0, ip_interface("10.0.0.1/24"))
    with failing("Cannot assign requested address"):
        story.remove_address(ETH0, ip_interface("10.0.0.2/24"))
    with failing("No such device"):
        story.set_link(77, mtu=1300)
    with failing("File exists"):
        story.set_link(ETH0, name="lo")
    with failing("File exists"):
        story.add_route(Route(ip_network("0.0.0.0/0"), ETH0, "10.0.0.3"))
    with failing("No such process"):
        story.remove_route(Route(ip_network("10.6.0.0/16"), ETH0))
    with failing("Operation not supported"):
        story.add_link("dummy", "d0", {})
    with failing("Operation not supported"):
        story.remove_link(1)
    story.set_link(ETH0, flags=0)
    with failing("Network is down"):
        story.add_route(Route(ip_network("10.6.0.0/16"), ETH0))


def test_a_link_that_goes_takes_its_routes_along(story: LocalStory) -> None:
    story.put_link(Link(9, "tap0", ETHERNET | 1, driver="tun"))
    story.add_route(Route(ip_network("10.6.0.0/16"), 9))
    story.remove_link(9)
    assert [link.name for link in story.links()] == ["lo", "eth0"]
    assert {route.link for route in story.routes()} == {ETH0}


def test_neighbours_come_and_go(story: LocalStory) -> None:
    story.set_neighbour(Neighbour(ETH0, "10.0.0.5", b"\2" * 6))
    story.set_neighbour(Neighbour(ETH0, "10.0.0.5", b"\3" * 6))
    assert [one.hardware for one in story.neighbours()] == [b"\3" * 6]
    story.set_neighbour(Neighbour(ETH0, "10.0.0.5", b"", 0))
    assert not story.neighbours()


def test_whoever_wants_to_know_is_told_of_each_change_with_no_lock_held(story: LocalStory) -> None:
    told: list[int] = []

    def look() -> None:
        other = threading.Thread(target=lambda: told.append(len(story.links())))
        other.start()
        other.join(30)

    story.on_change = look
    story.set_link(ETH0, mtu=1300)
    story.add_address(ETH0, ip_interface("10.9.0.1/16"))
    with failing("File exists"):
        story.add_address(ETH0, ip_interface("10.9.0.1/16"))
    assert told == [2, 2]
