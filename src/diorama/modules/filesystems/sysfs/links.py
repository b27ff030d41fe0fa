"""Links: /sys/class/net and /sys/devices/virtual/net, from the story that the network of a process tells."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Final

from diorama.abi.netdevice import IFF_LOOPBACK, IFF_LOWER_UP, IFF_RUNNING, IFF_UP, broadcast_of
from diorama.abi.rtnetlink import IF_OPER_DOWN, IF_OPER_LOWERLAYERDOWN, IF_OPER_UNKNOWN, IF_OPER_UP
from diorama.abi.socket import AF_INET
from diorama.interfaces.netlink.links import state_of
from diorama.interfaces.network import Link as Interface
from diorama.interfaces.network import Network
from diorama.modules.filesystems.sysfs.nodes import File, Folder, Link, Names, Node, lines, number, text
from diorama.view.asking import asker
from diorama.view.task import Task

__all__ = ["CLASS", "DEVICES", "has_own_links", "shows_class", "shows_devices"]

CLASS: Final = b"/sys/class/net"
DEVICES: Final = b"/sys/devices/virtual/net"
_STATES: Final = {
    IF_OPER_UNKNOWN: "unknown",
    IF_OPER_DOWN: "down",
    IF_OPER_LOWERLAYERDOWN: "lowerlayerdown",
    IF_OPER_UP: "up",
}
_BY_USER, _PREDICTABLE = 3, 2
"""What `name_assign_type` says of names: one that somebody has chosen, one that the kernel always gives."""
_NOT_SHOWN: Final = IFF_RUNNING
"""Of the low half of the flags, what is found out when somebody asks, and not in what the kernel keeps."""
_NOT_COUNTED: Final = (
    "collisions", "rx_compressed", "rx_crc_errors", "rx_fifo_errors", "rx_frame_errors", "rx_length_errors",
    "rx_missed_errors", "rx_nohandler", "rx_over_errors", "tx_aborted_errors", "tx_carrier_errors",
    "tx_compressed", "tx_fifo_errors", "tx_heartbeat_errors", "tx_window_errors",
)  # fmt: skip


def has_own_links(task: Task) -> bool:
    """Whether a process has other interfaces than those of the host, or none."""
    network = task.stacks.find(AF_INET)
    return network is not None and (network.story is not None or network.has_no_links)


def shows_class() -> tuple[Hashable, Folder]:
    """Of who asks: a link for each interface."""
    network = _network()
    return id(network), _Links(network, lambda one: Link(b"../../devices/virtual/net/" + _name(one)))


def shows_devices() -> tuple[Hashable, Folder]:
    """Of who asks: a directory for each interface."""
    network = _network()
    return id(network), _Links(network, _folder)


def _network() -> Network | None:
    who = asker()
    network: Network | None = None if who is None else who.task.stacks.find(AF_INET)
    return network


def _name(link: Interface) -> bytes:
    return os.fsencode(link.name)


class _Links(Folder):
    """The interfaces of a network."""

    def __init__(self, network: Network | None, shown: Callable[[Interface], Node]) -> None:
        self._network = network
        self._shown = shown

    def _all(self) -> Sequence[Interface]:
        story = None if self._network is None else self._network.story
        return () if story is None else story.links()

    def find(self, name: bytes) -> Node | None:
        return next((self._shown(one) for one in self._all() if _name(one) == name), None)

    def names(self) -> Iterable[bytes]:
        return [_name(one) for one in self._all()]


def _folder(link: Interface) -> Folder:
    """What the kernel tells of one (testing/sysfs-class-net)."""
    is_up = bool(link.flags & IFF_UP)
    has_carrier = bool(link.flags & (IFF_LOOPBACK | IFF_LOWER_UP))
    is_loopback = bool(link.flags & IFF_LOOPBACK)
    index = number(link.index)
    nodes: dict[bytes, Node] = {
        b"addr_assign_type": number(0),
        b"addr_len": number(len(link.address)),
        b"address": text(link.address.hex(":")),
        b"broadcast": text(broadcast_of(link.kind, len(link.address)).hex(":")),
        b"carrier": number(has_carrier) if is_up else _INVALID,
        b"carrier_changes": number(0),
        b"carrier_down_count": number(0),
        b"carrier_up_count": number(0),
        b"dev_id": text("0x0"),
        b"dev_port": number(0),
        b"dormant": number(0) if is_up else _INVALID,
        b"duplex": _INVALID if is_loopback or not is_up else text("unknown"),
        b"flags": text(f"{link.flags & 0xFFFF & ~_NOT_SHOWN:#x}"),
        b"ifalias": text(""),
        b"ifindex": index,
        b"iflink": index,
        b"link_mode": number(0),
        b"mtu": number(link.mtu),
        b"name_assign_type": number(_PREDICTABLE if is_loopback else _BY_USER),
        b"netdev_group": number(0),
        b"operstate": text(_STATES[state_of(link)]),
        b"proto_down": number(0),
        b"queues": Names({b"rx-0": Names({}), b"tx-0": Names({})}),
        b"speed": _INVALID if is_loopback or not is_up else number(-1),
        b"statistics": _statistics(link),
        b"subsystem": Link(b"../../../../class/net"),
        b"testing": number(0) if is_up else _INVALID,
        b"tx_queue_len": number(link.queue),
        b"type": number(link.kind),
        b"uevent": lines({"INTERFACE": link.name, "IFINDEX": link.index}),
    }
    return Names(nodes)


def _statistics(link: Interface) -> Folder:
    counters = link.counters
    counted = {
        "multicast": counters.multicast,
        "rx_bytes": counters.received_bytes,
        "rx_dropped": counters.received_dropped,
        "rx_errors": counters.received_errors,
        "rx_packets": counters.received_packets,
        "tx_bytes": counters.sent_bytes,
        "tx_dropped": counters.sent_dropped,
        "tx_errors": counters.sent_errors,
        "tx_packets": counters.sent_packets,
    }
    counted |= dict.fromkeys(_NOT_COUNTED, 0)
    return Names({os.fsencode(name): number(value) for name, value in sorted(counted.items())})


def _invalid() -> bytes:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


_INVALID: Final = File(_invalid)
