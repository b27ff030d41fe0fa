"""Mounting: `lan:NAME`, with what is to be of the host that the mount makes."""

from __future__ import annotations

import os
from typing import Any, Final

from diorama.errors import UsageError
from diorama.interfaces.stackfile import StackFile
from diorama.modules.networks.lan.network import LanNetwork
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["open_lan"]

_WISHES: Final = ("host", "address", "address6", "subnet", "subnet6")
_RULES: Final = ("allow", "deny")


def open_lan(rest: str, options: Options) -> Mount:
    """A mount of `lan:NAME`, with what is wished for of the host, and of the LAN from then on.

    Of the host: `host=`, `address=`, `address6=`, `subnet=`, `subnet6=`. Of the LAN: `publish=`, `pcap=`, and
    the rules of the gateway, `allow=` and `deny=` in their order.
    """
    if not rest:
        raise UsageError("cannot mount lan: without a name; write lan:NAME")
    from diorama.modules.networks.lan.member import Member

    wishes: dict[str, Any] = {name: options.take(name) for name in _WISHES}
    orders = _orders(options)
    options.finish(f"lan:{rest}")
    network = LanNetwork(Member.join(rest, orders=orders, **wishes))
    return StackFile(network).mount(f"lan:{rest}", options.shown)


def _orders(options: Options) -> list[tuple[str, list[str]]]:
    """What is ordered when the host has joined, as by `diorama net`."""
    orders: list[tuple[str, list[str]]] = []
    published = options.values("publish")
    if published:
        orders.append(("publish", published))
    for name in _RULES:
        options.values(name)
    rules = [f"{name}={value}" for name, value in options.asked if name in _RULES]
    if rules:
        orders.append(("gateway", rules))
    pcap = options.take("pcap")
    if pcap is not None:
        orders.append(("pcap", [os.path.abspath(pcap)]))
    return orders
