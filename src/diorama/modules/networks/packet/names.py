"""Names: what sockets of AF_UNIX are called that stand for a socket or a peer of a packet stack.

They are abstract, so they go when their sockets do, and begin with a key that only one stack has. The name
of a peer tells its address.
"""

from __future__ import annotations

from typing import Final

__all__ = ["name_of", "parse_name"]

_BEGIN: Final = b"\0diorama/"


def name_of(key: str, number: int, address: tuple[str, int, int] | None = None) -> bytes:
    """The name of our side of a socket, or of a peer of it (host, port, zone)."""
    name = _BEGIN + f"{key}/{number}".encode()
    if address is not None:
        host, port, scope = address
        name += f"/{host}/{port}/{scope}".encode()
    return name


def parse_name(key: str, name: bytes) -> tuple[int, tuple[str, int, int] | None] | None:
    """The number and the address of a peer that a name of this stack tells; None for one of somebody else."""
    begin = _BEGIN + key.encode() + b"/"
    if not name.startswith(begin):
        return None
    number, *rest = name[len(begin) :].decode("ascii", "replace").split("/")
    try:
        if not rest:
            return int(number), None
        host, port, scope = rest
        return int(number), (host, int(port), int(scope))
    except ValueError:
        return None
