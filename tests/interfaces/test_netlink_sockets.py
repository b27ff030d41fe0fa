"""The netlink sockets of a network: what they are asked and told, and the thread that answers them."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from ipaddress import ip_interface, ip_network

import pytest

from diorama.abi.netlink import (
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_CAP_ACK,
    NETLINK_DROP_MEMBERSHIP,
    NETLINK_EXT_ACK,
    NETLINK_LIST_MEMBERSHIPS,
    NETLINK_ROUTE,
    NETLINK_SOCK_DIAG,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    NetlinkAddress,
    attribute,
    split_messages,
)
from diorama.abi.rtnetlink import (
    IFA_LOCAL,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_LINK,
    RTNLGRP_NEIGH,
    AddressHead,
    LinkHead,
)
from diorama.abi.socket import (
    AF_INET,
    AF_NETLINK,
    AF_UNSPEC,
    SO_TYPE,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_STREAM,
    SOL_NETLINK,
    SOL_SOCKET,
    InetAddress,
    RawAddress,
    SocketAddress,
)
from diorama.interfaces.localstory import LocalStory
from diorama.interfaces.netlink import Netlink, service
from diorama.interfaces.network import Endpoint, Link, Route
from diorama.interfaces.story import Neighbour
from interfaces.office import ETH0, code, office, receive_all, request

LIMIT = 60.0


def threads() -> int:
    return sum(thread.name == "netlink" for thread in threading.enumerate())


def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + LIMIT
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def story() -> LocalStory:
    return office()


@pytest.fixture
def netlink(story: LocalStory) -> Generator[Netlink, None, None]:
    made = Netlink(story)
    story.on_change = made.changed
    yield made
    made.close()
    until(lambda: not threads())


def refusal(code: int) -> AbstractContextManager[object]:
    """What is in it fails with this errno."""
    return pytest.raises(OSError, match=rf"\[Errno {code}\]")


class Client:
    """What a program has: its end of a pair, and the endpoint that is asked about it."""

    def __init__(self, netlink: Netlink, protocol: int = NETLINK_ROUTE) -> None:
        self.endpoint: Endpoint = netlink.make(SOCK_RAW, protocol)
        self.at = self.endpoint.open()
        self.at.settimeout(LIMIT)

    def bind(self, port: int = 0, groups: int = 0) -> None:
        self.endpoint.bind(self.at, raw(NetlinkAddress(port, groups)))

    def name(self) -> NetlinkAddress:
        return parsed(self.endpoint.name(self.at))

    def ask(self, kind: int, flags: int, body: bytes) -> None:
        self.at.send(request(kind, flags, body))

    def set(self, option: int, value: int) -> bool:
        return self.endpoint.set_option(self.at, SOL_NETLINK, option, struct.pack("=i", value))


def raw(address: NetlinkAddress) -> RawAddress:
    return RawAddress(AF_NETLINK, address.pack()[2:])


def parsed(address: SocketAddress) -> NetlinkAddress:
    assert isinstance(address, RawAddress)
    return NetlinkAddress.unpack(address.data)


@pytest.fixture
def client(netlink: Netlink) -> Generator[Client, None, None]:
    made = Client(netlink)
    yield made
    made.at.close()


# -- making --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "protocol", "error"),
    [
        (SOCK_STREAM, NETLINK_ROUTE, errno.ESOCKTNOSUPPORT),
        (SOCK_RAW, 16, errno.EPROTONOSUPPORT),
        (SOCK_RAW, -1, errno.EPROTONOSUPPORT),
        (SOCK_DGRAM, 99, errno.EPROTONOSUPPORT),
    ],
)
def test_there_are_no_others(netlink: Netlink, kind: int, protocol: int, error: int) -> None:
    with refusal(error):
        netlink.make(kind, protocol)


@pytest.mark.parametrize("kind", [SOCK_RAW, SOCK_DGRAM])
def test_a_socket_is_what_was_asked_for(netlink: Netlink, kind: int) -> None:
    endpoint = netlink.make(kind, NETLINK_ROUTE)
    with endpoint.open() as at:
        assert endpoint.get_option(at, SOL_SOCKET, SO_TYPE, 4) == struct.pack("=i", kind)


def test_the_thread_lives_as_long_as_there_are_sockets(netlink: Netlink) -> None:
    assert not threads()
    clients = [Client(netlink) for _ in range(3)]
    assert threads() == 1
    for one in clients:
        one.at.close()
    until(lambda: not threads())
    again = Client(netlink)
    again.ask(RTM_GETLINK, NLM_F_DUMP, b"\0")
    assert receive_all(again.at, NLMSG_DONE)
    again.at.close()


def test_when_the_network_ends_programs_read_an_end_of_file(netlink: Netlink, client: Client) -> None:
    netlink.close()
    assert client.at.recv(100) == b""
    with refusal(errno.ENETDOWN):
        Client(netlink)


# -- addresses -----------------------------------------------------------------------------------------------


def test_ports_are_given_and_found_taken(netlink: Netlink, client: Client) -> None:
    client.bind(77, 1 << RTNLGRP_LINK - 1)
    assert client.name() == (77, 1)
    other = Client(netlink)
    with refusal(errno.EADDRINUSE):
        other.bind(77)
    other.bind()
    assert other.name().port not in (0, 77)
    with refusal(errno.EINVAL):
        client.bind(78)
    client.bind(77)
    assert client.name() == (77, 0)
    other.at.close()


def test_the_port_of_a_socket_that_was_closed_is_free_at_once(netlink: Netlink) -> None:
    for _ in range(200):
        one = Client(netlink)
        one.bind(77)
        one.at.close()


def test_a_mistake_in_the_thread_ends_its_sockets(
    netlink: Netlink, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(netlink, "_attend", fail)
    client.ask(RTM_GETLINK, NLM_F_DUMP, b"\0")
    with pytest.raises(ConnectionResetError):
        client.at.recv(100)
    until(lambda: not threads())


def test_of_another_protocol_the_port_is_free(netlink: Netlink, client: Client) -> None:
    client.bind(77)
    other = Client(netlink, NETLINK_SOCK_DIAG)
    other.bind(77)
    assert other.name().port == 77
    other.at.close()


def test_answers_are_for_the_port_that_the_socket_has_by_then(client: Client) -> None:
    assert client.name() == (0, 0)
    client.ask(RTM_GETADDR, NLM_F_DUMP, b"\0")
    answers = receive_all(client.at, NLMSG_DONE)
    assert {one.port for one in answers} == {client.name().port} != {0}


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (RawAddress(AF_NETLINK, b"\0" * 4), errno.EINVAL),
        (InetAddress("127.0.0.1", 0), errno.EINVAL),
        (RawAddress(AF_UNSPEC, b"\0" * 10), errno.EINVAL),
    ],
)
def test_what_is_no_address_is_refused(client: Client, address: SocketAddress, error: int) -> None:
    for use in (client.endpoint.bind, client.endpoint.sending):
        with refusal(error):
            use(client.at, address)


def test_only_the_kernel_can_be_sent_to(client: Client) -> None:
    sent = client.endpoint.sending(client.at, raw(NetlinkAddress()))
    assert (sent.address, sent.drop) == (None, False)
    for port, groups in ((5, 0), (0, 1)):
        for use in (client.endpoint.sending, client.endpoint.connect):
            with refusal(errno.EPERM):
                use(client.at, raw(NetlinkAddress(port, groups)))
    assert client.endpoint.connect(client.at, raw(NetlinkAddress())) is None
    assert client.endpoint.connect(client.at, RawAddress(AF_UNSPEC, b"")) is None
    assert parsed(client.endpoint.peer(client.at)) == (0, 0)
    told = client.endpoint.received(client.at, b"")
    assert told is not None
    assert parsed(told) == (0, 0)


def test_what_netlink_sockets_cannot_do_is_not_supported(client: Client) -> None:
    for use in (client.endpoint.listen, client.endpoint.shutdown):
        with refusal(errno.EOPNOTSUPP):
            use(client.at, 1)


# -- options -------------------------------------------------------------------------------------------------


def test_options_are_kept(client: Client) -> None:
    for option in (NETLINK_EXT_ACK, NETLINK_CAP_ACK):
        assert client.endpoint.get_option(client.at, SOL_NETLINK, option, 4) == b"\0\0\0\0"
        assert client.set(option, 5)
        assert client.endpoint.get_option(client.at, SOL_NETLINK, option, 4) == b"\1\0\0\0"
    client.ask(RTM_GETLINK, 0, LinkHead(0, 0, 77).encode())
    (answer,) = receive_all(client.at, NLMSG_ERROR)
    assert (code(answer), len(answer.body)) == (errno.ENODEV, 20)


def test_groups_are_joined_and_left(client: Client) -> None:
    client.bind(0, 1)
    assert client.set(NETLINK_ADD_MEMBERSHIP, 33)
    assert client.name().groups == 1
    told = client.endpoint.get_option(client.at, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, 8)
    assert told == struct.pack("=Q", 1 | 1 << 32)
    assert client.set(NETLINK_DROP_MEMBERSHIP, 1)
    assert client.name().groups == 0


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        (NETLINK_ADD_MEMBERSHIP, 0, errno.EINVAL),
        (NETLINK_ADD_MEMBERSHIP, 1000, errno.EINVAL),
        (77, 1, errno.ENOPROTOOPT),
    ],
)
def test_options_that_there_are_not_are_refused(client: Client, option: int, value: int, error: int) -> None:
    with refusal(error):
        client.set(option, value)


def test_other_levels_are_the_kernels(client: Client) -> None:
    assert not client.endpoint.set_option(client.at, SOL_SOCKET, 8, b"\0\0\1\0")
    assert client.endpoint.get_option(client.at, SOL_SOCKET, 8, 4) is None


# -- answers -------------------------------------------------------------------------------------------------


def routed(count: int) -> LocalStory:
    """A story of many routes."""
    links = office().links()
    subnets = (ip_network((10 << 24 | 77 << 16 | number << 2, 30)) for number in range(count))
    return LocalStory(links, [Route(subnet, ETH0, "10.0.0.253") for subnet in subnets])


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> int:
    """How much may wait for a program: less than usually."""
    monkeypatch.setattr(service, "_MUCH", 1 << 16)
    return 1 << 16


def test_a_large_dump_arrives_whole_however_slowly_it_is_read() -> None:
    netlink = Netlink(routed(3000))
    client = Client(netlink)
    client.ask(RTM_GETROUTE, NLM_F_DUMP, bytes([AF_INET]))
    found: list[int] = []
    while NLMSG_DONE not in found:
        size = client.at.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC)
        data = client.at.recv(size)
        assert len(data) == size <= 4096
        found += [message.type for message in split_messages(data)]
    assert found.count(RTM_NEWROUTE) == 3008
    client.at.close()
    netlink.close()


def test_who_does_not_read_has_to_wait_and_nothing_is_lost(bound: int) -> None:
    netlink = Netlink(routed(1000))
    client = Client(netlink)
    client.at.settimeout(0.5)
    asked = 0
    with contextlib.suppress(TimeoutError):
        while asked < 10_000:
            client.ask(RTM_GETROUTE, NLM_F_DUMP, bytes([AF_INET]))
            asked += 1
    assert asked < 10_000
    client.at.settimeout(LIMIT)
    ends = 0
    while ends < asked:
        ends += sum(one.type == NLMSG_DONE for one in split_messages(client.at.recv(65536)))
    client.at.close()
    netlink.close()


def test_what_was_asked_before_the_end_is_still_done(netlink: Netlink, story: LocalStory) -> None:
    client = Client(netlink)
    for number in range(50):
        head = AddressHead(AF_INET, 24, 0, 0, ETH0).encode()
        client.ask(RTM_NEWADDR, NLM_F_ACK, head + attribute(IFA_LOCAL, bytes([10, 50, number, 1])))
    client.at.close()
    until(lambda: len(story.links()[1].addresses) == 4 + 50)


def test_who_goes_while_much_is_to_be_read_is_forgotten(bound: int) -> None:
    netlink = Netlink(routed(3000))
    client = Client(netlink)
    client.ask(RTM_GETROUTE, NLM_F_DUMP, bytes([AF_INET]))
    assert client.at.recv(4096)
    client.at.close()
    until(lambda: not threads())


def test_an_empty_message_is_no_end(client: Client) -> None:
    client.at.send(b"")
    client.ask(RTM_GETLINK, NLM_F_DUMP, b"\0")
    assert receive_all(client.at, NLMSG_DONE)


def test_many_sockets_are_answered_at_once(netlink: Netlink) -> None:
    clients = [Client(netlink) for _ in range(200)]
    for one in clients:
        one.ask(RTM_GETADDR, NLM_F_DUMP, b"\0")
    answers = [receive_all(one.at, NLMSG_DONE) for one in clients]
    assert [len(one) for one in answers] == [7] * 200
    assert len({one[0].port for one in answers}) == 200
    for one in clients:
        one.at.close()


# -- listening -----------------------------------------------------------------------------------------------


def heard(client: Client, count: int) -> list[int]:
    """The types of this many notices."""
    found: list[int] = []
    while len(found) < count:
        found += [message.type for message in split_messages(client.at.recv(65536))]
    return found


def groups(*numbers: int) -> int:
    return sum(1 << number - 1 for number in numbers)


def test_listeners_are_told_what_has_changed(client: Client, story: LocalStory) -> None:
    client.bind(0, groups(RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_NEIGH))
    story.add_address(ETH0, ip_interface("10.9.0.1/16"))
    assert heard(client, 4) == [RTM_NEWADDR, RTM_NEWROUTE, RTM_NEWROUTE, RTM_NEWROUTE]
    story.remove_address(ETH0, ip_interface("10.9.0.1/16"))
    assert heard(client, 4) == [RTM_DELROUTE, RTM_DELROUTE, RTM_DELROUTE, RTM_DELADDR]
    story.set_link(ETH0, mtu=1300)
    story.set_neighbour(Neighbour(ETH0, "10.0.0.7", b"\2" * 6))
    assert heard(client, 2) == [RTM_NEWLINK, RTM_NEWNEIGH]
    story.put_link(Link(9, "tap0", 0x1002, driver="tun"))
    story.remove_link(9)
    assert heard(client, 2) == [RTM_NEWLINK, RTM_DELLINK]


def test_listeners_are_told_of_their_groups_only(client: Client, story: LocalStory) -> None:
    client.bind(0, groups(RTNLGRP_IPV6_IFADDR))
    story.set_link(ETH0, mtu=1300)
    story.add_address(ETH0, ip_interface("10.9.0.1/16"))
    story.add_address(ETH0, ip_interface("fd09::1/64"))
    (notice,) = split_messages(client.at.recv(65536))
    assert (notice.type, AddressHead.decode(notice.body).family) == (RTM_NEWADDR, 10)


def test_what_a_program_changes_is_told_to_another_and_before_it_is_acknowledged(
    netlink: Netlink, client: Client
) -> None:
    client.bind(0, groups(RTNLGRP_LINK))
    client.ask(RTM_NEWLINK, NLM_F_ACK, LinkHead(0, 0, ETH0, 0x100, 0x100).encode())
    other = Client(netlink)
    other.ask(RTM_GETLINK, NLM_F_DUMP, b"\0")
    receive_all(other.at, NLMSG_DONE)
    assert heard(client, 2) == [RTM_NEWLINK, NLMSG_ERROR]
    other.at.close()


def test_a_listener_who_never_reads_costs_no_more_than_so_much(
    bound: int, client: Client, story: LocalStory
) -> None:
    client.bind(0, groups(RTNLGRP_LINK))
    for number in range(1000):
        story.set_link(ETH0, mtu=1300 + number % 2)
    told = sum(len(one) for one in until_nothing_comes(client))
    assert bound < told < 1000 * 400
    story.set_link(ETH0, mtu=1234)
    assert heard(client, 1) == [RTM_NEWLINK]


def until_nothing_comes(client: Client) -> Iterator[bytes]:
    """All that waits: a request of our own is answered behind it."""
    client.ask(RTM_GETLINK, NLM_F_DUMP, b"\0")
    while True:
        data = client.at.recv(65536)
        yield data
        if any(message.type == NLMSG_DONE for message in split_messages(data)):
            return
