"""A network that has a story, and the kernel's own sockets for all that is not netlink."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_interface, ip_network

from diorama.abi.socket import AF_INET, AF_INET6, AF_NETLINK
from diorama.interfaces.localstory import ETHERNET, LocalStory, loopback
from diorama.interfaces.netlink import Netlink
from diorama.interfaces.network import Endpoint, Link, Network, Route
from diorama.interfaces.procnet import proc_files
from diorama.interfaces.story import Neighbour, SocketState, TcpState

ADDRESSES = ("10.0.0.1/24", "10.0.0.9/24", "192.168.7.7/32", "fd00::1/64")
ROUTES = (
    ("0.0.0.0/0", "10.0.0.254", 0),
    ("172.16.0.0/12", "10.0.0.253", 50),
    ("::/0", "fd00::fe", 1024),
)
SOCKETS = (
    SocketState(AF_INET, 6, ("10.0.0.1", 80), ("0.0.0.0", 0), TcpState.LISTEN, queued_out=128),
    SocketState(AF_INET, 6, ("10.0.0.1", 80), ("10.0.0.7", 40000), TcpState.ESTABLISHED, queued_in=5),
    SocketState(AF_INET6, 6, ("::", 22), ("::", 0), TcpState.LISTEN, queued_out=64),
    SocketState(AF_INET, 17, ("0.0.0.0", 53), ("0.0.0.0", 0)),
)


def story() -> LocalStory:
    """What the network tells: `lo`, and `eth0` with addresses and routes."""
    eth0 = Link(3, "eth0", ETHERNET, mtu=1400, address=b"\x02\0\0\0\0\1", driver="veth")
    made = LocalStory([loopback(), eth0])
    made.set_link(3, flags=ETHERNET | 1)
    for address in ADDRESSES:
        made.add_address(3, ip_interface(address))
    for subnet, gateway, metric in ROUTES:
        made.add_route(Route(ip_network(subnet), 3, gateway, metric))
    made.set_neighbour(Neighbour(3, "10.0.0.5", b"\x02\0\0\0\0\x99", 0x80))
    return made


class ToldNetwork(Network):
    """The stack."""

    title = "told"

    def __init__(self) -> None:
        self.story = story()
        self._netlink = Netlink(self.story, self.sockets)
        self.story.on_change = self._netlink.changed
        self._files = proc_files(self.story, self.sockets)

    def make(self, family: int, type: int, protocol: int) -> Endpoint:
        if family == AF_NETLINK:
            return self._netlink.make(type, protocol)
        return Endpoint(family, type, protocol)

    def sockets(self) -> Sequence[SocketState]:
        return SOCKETS

    def files(self) -> Mapping[str, Callable[[], bytes]]:
        return self._files

    def close(self) -> None:
        self._netlink.close()


def load(view: object) -> None:
    view.stack(ToldNetwork())  # type: ignore[attr-defined]
