"""Options: what sockets of a LAN are set to that the kernel's are not, or otherwise.

As far as a socket of IPv6 carries IPv4 in truth, what is said of hop limits, traffic classes and errors for
the one must be said for the other too.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from diorama.abi.socket import AF_INET6, SO_BINDTODEVICE, SO_PEERNAME, SOL_IP, SOL_IPV6, SOL_SOCKET
from diorama.interfaces.network import refuse

if TYPE_CHECKING:
    from diorama.modules.networks.lan.endpoint import LanEndpoint

__all__ = ["GETTERS", "SETTERS", "Getter", "Setter"]

Getter: TypeAlias = "Callable[[Any, socket.socket, int], bytes | None]"
Setter: TypeAlias = "Callable[[Any, socket.socket, bytes], bool]"

IPV6_V6ONLY: Final = 26
SO_BINDTOIFINDEX: Final = 62
_LINKS: Final = (b"", b"lo", b"eth0")
"""By their indexes; 0 is none."""
_INT: Final = 4
_AS_IPV4: Final = {
    16: 2,  # IPV6_UNICAST_HOPS: IP_TTL
    25: 11,  # IPV6_RECVERR: IP_RECVERR
    51: 12,  # IPV6_RECVHOPLIMIT: IP_RECVTTL
    66: 13,  # IPV6_RECVTCLASS: IP_RECVTOS
    67: 1,  # IPV6_TCLASS: IP_TOS
    74: 20,  # IPV6_RECVORIGDSTADDR: IP_RECVORIGDSTADDR
    23: 10,  # IPV6_MTU_DISCOVER: IP_MTU_DISCOVER
}


def _get_only(endpoint: LanEndpoint, at: socket.socket, size: int) -> bytes | None:
    if endpoint.family != AF_INET6:
        return None
    return int(endpoint.is_v6_only).to_bytes(_INT, "little")[:size]


def _set_only(endpoint: LanEndpoint, at: socket.socket, value: bytes) -> bool:
    if endpoint.family != AF_INET6:
        return False
    if len(value) < _INT or at.getsockname()[1]:
        raise refuse(errno.EINVAL)
    endpoint.is_v6_only = any(value[:_INT])
    return True


def _get_peer(endpoint: LanEndpoint, at: socket.socket, size: int) -> bytes | None:
    return endpoint.peer(at).pack()[:size]


def _get_device(endpoint: LanEndpoint, at: socket.socket, size: int) -> bytes | None:
    if not endpoint.device:
        return b""
    if size < len(endpoint.device) + 1:
        raise refuse(errno.EINVAL)
    return endpoint.device + b"\0"


def _set_device(endpoint: LanEndpoint, at: socket.socket, value: bytes) -> bool:
    name = value[:15].partition(b"\0")[0]
    if name not in _LINKS:
        raise refuse(errno.ENODEV)
    if endpoint.device and name != endpoint.device:
        raise refuse(errno.EPERM)
    endpoint.device = name
    return True


def _get_index(endpoint: LanEndpoint, at: socket.socket, size: int) -> bytes | None:
    return _LINKS.index(endpoint.device).to_bytes(_INT, "little")[:size]


def _set_index(endpoint: LanEndpoint, at: socket.socket, value: bytes) -> bool:
    if len(value) < _INT:
        raise refuse(errno.EINVAL)
    index = int.from_bytes(value[:_INT], "little")
    if index >= len(_LINKS):
        raise refuse(errno.ENODEV)
    return _set_device(endpoint, at, _LINKS[index])


def _get_error(endpoint: LanEndpoint, at: socket.socket, size: int) -> bytes | None:
    if not endpoint.is_relayed:
        return None
    code = at.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return endpoint.reason(at, code).to_bytes(_INT, "little")[:size]


def _also(option: int) -> Setter:
    """What is said of IPv6 is said of IPv4 too."""

    def set_both(endpoint: LanEndpoint, at: socket.socket, value: bytes) -> bool:
        if endpoint.family == AF_INET6 and len(value) >= _INT:
            (number,) = struct.unpack_from("i", value)
            at.setsockopt(SOL_IP, option, number if number >= 0 or option != 1 else 0)
        return False

    return set_both


GETTERS: Final[dict[tuple[int, int], Getter]] = {
    (SOL_IPV6, IPV6_V6ONLY): _get_only,
    (SOL_SOCKET, socket.SO_ERROR): _get_error,
    (SOL_SOCKET, SO_PEERNAME): _get_peer,
    (SOL_SOCKET, SO_BINDTODEVICE): _get_device,
    (SOL_SOCKET, SO_BINDTOIFINDEX): _get_index,
}
SETTERS: Final[dict[tuple[int, int], Setter]] = {
    (SOL_IPV6, IPV6_V6ONLY): _set_only,
    (SOL_SOCKET, SO_BINDTODEVICE): _set_device,
    (SOL_SOCKET, SO_BINDTOIFINDEX): _set_index,
    **{(SOL_IPV6, option): _also(other) for option, other in _AS_IPV4.items()},
}
