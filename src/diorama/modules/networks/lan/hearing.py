"""Hearing: whether a socket is at an address of the kernel's, and not only one that is at all of them.

A program of the machine that listens at 0.0.0.0 hears what is sent to any address of the loopback, and so
to those of a LAN where nobody else is: that must not be taken for a host. The kernel tells who would get it
(sock_diag(7), which looks a socket up as it does for a packet), and where that one is bound.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Final

__all__ = ["is_foreign", "is_heard", "state_between"]

_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_ERROR: Final = 2
_REQUEST: Final = 1
_ALL_STATES: Final = 0xFFFFFFFF
_NO_COOKIE: Final = b"\xff" * 8
_SENDER: Final = ("127.0.0.1", 9)
"""Whom what is asked about would come from."""
_LARGEST: Final = 8192
_MESSAGE: Final = 16
_STATE: Final = _MESSAGE + 1
_ADDRESS: Final = _MESSAGE + 8
_SENT_STATES: Final = range(1, 10)
"""Those of sockets that have a peer (<net/tcp_states.h>)."""


def is_heard(real: tuple[str, int], protocol: int) -> bool:
    """Whether a socket of a protocol (TCP: one that listens) is at this very address."""
    return _hearer(real, protocol) == socket.inet_aton(real[0])


def is_foreign(real: tuple[str, int], protocol: int) -> bool:
    """Whether what is sent there would be heard by one that is at all addresses of the machine."""
    found = _hearer(real, protocol)
    return found is not None and found != socket.inet_aton(real[0])


def state_between(source: tuple[str, int], target: tuple[str, int]) -> int:
    """The state (<net/tcp_states.h>) of TCP's socket at one address with a peer at another; 0: none."""
    answer = _find(socket.IPPROTO_TCP, (source, target))
    state = 0 if answer is None else answer[_STATE]
    return state if state in _SENT_STATES else 0


def _hearer(real: tuple[str, int], protocol: int) -> bytes | None:
    """The address of IPv4 at which who would hear this is bound (zeros: all); None if there is nobody."""
    answer = _find(protocol, (real, _SENDER) if protocol == socket.IPPROTO_TCP else (_SENDER, real))
    if answer is None:
        return None
    start = _ADDRESS + (12 if answer[_MESSAGE] == socket.AF_INET6 else 0)
    return answer[start : start + 4]


def _find(protocol: int, ends: tuple[tuple[str, int], tuple[str, int]]) -> bytes | None:
    """What the kernel tells of the socket that is found for an address and its peer's; None: nothing.

    They are the other way round for what is not TCP (udp_diag).
    """
    (here, one), (there, other) = ((socket.inet_aton(address), port) for address, port in ends)
    id = struct.pack("!HH16s16s", one, other, here, there) + struct.pack("=I", 0) + _NO_COOKIE
    request = struct.pack("=BBBxI", socket.AF_INET, protocol, 0, _ALL_STATES) + id
    head = struct.pack("=IHHII", _MESSAGE + len(request), _BY_FAMILY, _REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as asking:
        asking.send(head + request)
        answer = asking.recv(_LARGEST)
    if struct.unpack_from("=H", answer, 4)[0] == _ERROR:
        code = -struct.unpack_from("=i", answer, _MESSAGE)[0]
        if code == errno.ENOENT:
            return None
        raise OSError(code, os.strerror(code))
    return answer
