"""Mounting: `lan:NAME`, with what is to be of the host that the mount makes."""

from __future__ import annotations

import os
import socket
from typing import Any, Final

from diorama.errors import UsageError
from diorama.interfaces.stackfile import StackFile
from diorama.modules.networks.lan.conditions import attach, make_probe
from diorama.modules.networks.lan.network import LanNetwork
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["open_lan"]

_WISHES: Final = ("host", "address", "address6", "subnet", "subnet6")
_RULES: Final = ("allow", "deny")
_NUMBER: Final = 254
_PROBED: Final = tuple(f"127.{_NUMBER}.255.{last}" for last in (1, 2))
_PATIENCE: Final = 10.0
_ASKED: Final = b"here?"
_ANOTHER: Final = "its loopback is not the kernel's"


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
    _check_loopback(rest)
    network = LanNetwork(Member.join(rest, orders=orders, **wishes))
    return StackFile(network).mount(f"lan:{rest}", options.shown)


def _check_loopback(name: str) -> None:
    """Hosts are addresses of the loopback, which in a view may be another than the kernel's: `UsageError`."""
    try:
        with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
            for at, address in zip((one, other), _PROBED, strict=True):
                at.bind((address, 0))
            attach(other, make_probe(_NUMBER))
            other.settimeout(_PATIENCE)
            one.sendto(_ASKED, other.getsockname())
            if other.recv(len(_ASKED)) == _ASKED:
                return
            why = _ANOTHER
    except TimeoutError:
        why = _ANOTHER
    except OSError as error:
        why = (error.strerror or "its loopback is not reached").lower()
    raise UsageError(f"cannot mount lan:{name} inside of this view's network: {why}")


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
