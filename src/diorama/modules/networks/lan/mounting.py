"""Mounting: `lan:NAME`, with what is to be of the host that the mount makes."""

from __future__ import annotations

from typing import Any, Final

from diorama.errors import UsageError
from diorama.interfaces.stackfile import StackFile
from diorama.modules.networks.lan.network import LanNetwork
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["open_lan"]

_WISHES: Final = ("host", "address", "address6", "subnet", "subnet6")


def open_lan(rest: str, options: Options) -> Mount:
    """A mount of `lan:NAME`, with what is wished for of the host: `host=`, `address=`, `subnet=`."""
    if not rest:
        raise UsageError("cannot mount lan: without a name; write lan:NAME")
    from diorama.modules.networks.lan.member import Member

    wishes: dict[str, Any] = {name: options.take(name) for name in _WISHES}
    options.finish(f"lan:{rest}")
    return StackFile(LanNetwork(Member.join(rest, **wishes))).mount(f"lan:{rest}", options.shown)
