"""Choosing: where a network is mounted that is named by its source, for a whole view, and what with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from diorama.abi.socket import AF_INET

if TYPE_CHECKING:
    from diorama.interfaces.network import Network
    from diorama.modules.networks.files import ToldFile

__all__ = ["place_for", "told_files"]

_DIRECTORY: Final = "/dev/net"


def place_for(network: Any) -> tuple[Any, str, list[str]]:
    """A source with options (`lan:office,host=db`), or a network object: what to mount, where, with which."""
    if not isinstance(network, str):
        return network, f"{_DIRECTORY}/{network.title}", []
    source, _, options = network.partition(",")
    name = source.rstrip(":/").replace("/", "-").replace(":", "-")
    return source, f"{_DIRECTORY}/{name}", [option for option in options.split(",") if option]


def told_files(network: Network, families: frozenset[int]) -> Iterator[tuple[ToldFile, str]]:
    """The files to be mounted, by path, where a network is chosen for families: those that the system has."""
    if families and AF_INET not in families:
        return
    from diorama.modules.networks.files import ToldFile

    for path, make in network.files().items():
        if not path.startswith("/proc/") and os.path.exists(path):
            yield ToldFile(make), path
