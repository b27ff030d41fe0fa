"""Choosing: where a network is mounted that is named by its source, for a whole view."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["place_for"]

_DIRECTORY: Final = "/dev/net"


def place_for(network: Any) -> tuple[Any, str, list[str]]:
    """A source with options (`lan:office,host=db`), or a network object: what to mount, where, with which."""
    if not isinstance(network, str):
        return network, f"{_DIRECTORY}/{network.title}", []
    source, _, options = network.partition(",")
    name = source.rstrip(":/").replace("/", "-").replace(":", "-")
    return source, f"{_DIRECTORY}/{name}", [option for option in options.split(",") if option]
