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
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["backlogs", "datagram_peers", "is_foreign", "is_heard", "state_between"]

_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_ERROR: Final = 2
_DONE: Final = 3
_ASKS: Final = 1
_DUMP: Final = 0x300
_LISTENS: Final = 10
_TAIL: Final = 4 + 48
"""What follows who a socket is: when it expires, what is in its queues, its user, its inode."""
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


def is_heard(real: tuple[str, int], protocol: int, sender: tuple[str, int] = _SENDER) -> bool:
    """Whether a socket of a protocol (TCP: one that listens) is at this very address, and hears a sender."""
    return _hearer(real, protocol, sender) == socket.inet_aton(real[0])


def is_foreign(real: tuple[str, int], protocol: int) -> bool:
    """Whether what is sent there would be heard by one that is at all addresses of the machine."""
    found = _hearer(real, protocol)
    return found is not None and found != socket.inet_aton(real[0])


def state_between(source: tuple[str, int], target: tuple[str, int]) -> int:
    """The state (<net/tcp_states.h>) of TCP's socket at one address with a peer at another; 0: none."""
    answer = _find(socket.IPPROTO_TCP, (source, target))
    state = 0 if answer is None else answer[_STATE]
    return state if state in _SENT_STATES else 0


def datagram_peers() -> set[tuple[str, int]]:
    """The addresses of IPv4 that sockets of UDP on this machine are connected to (proc_net(5))."""
    found: set[tuple[str, int]] = set()
    for name in ("udp", "udp6"):
        try:
            lines = Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for line in lines:
            address, _, port = line.split()[2].partition(":")
            packed = bytes.fromhex(address[-8:])[:: 1 if sys.byteorder == "big" else -1]
            found.add((socket.inet_ntoa(packed), int(port, 16)))
    return found


def backlogs() -> dict[int, int]:
    """How many connections may wait for who listens (listen(2)), by the inodes of the sockets."""
    found: dict[int, int] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as asking:
        for family in (socket.AF_INET, socket.AF_INET6):
            asking.send(_request(family, socket.IPPROTO_TCP, bytes(48), _DUMP, 1 << _LISTENS))
            for message in _messages(asking):
                _, _, most, _, inode = struct.unpack_from("=5I", message, _MESSAGE + _TAIL)
                found[inode] = most
    return found


def _messages(asking: socket.socket) -> Iterator[bytes]:
    """The answers to a question after all of something; none if the kernel does not know it."""
    while True:
        data = memoryview(asking.recv(1 << 16))
        while data:
            size, kind = struct.unpack_from("=IH", data)
            if kind in (_ERROR, _DONE):
                return
            yield bytes(data[:size])
            data = data[size + -size % 4 :]


def _hearer(real: tuple[str, int], protocol: int, sender: tuple[str, int] = _SENDER) -> bytes | None:
    """The address of IPv4 at which who would hear this is bound (zeros: all); None if there is nobody."""
    answer = _find(protocol, (real, sender) if protocol == socket.IPPROTO_TCP else (sender, real))
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
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as asking:
        asking.send(_request(socket.AF_INET, protocol, id, 0, _ALL_STATES))
        answer = asking.recv(_LARGEST)
    if struct.unpack_from("=H", answer, 4)[0] == _ERROR:
        code = -struct.unpack_from("=i", answer, _MESSAGE)[0]
        if code == errno.ENOENT:
            return None
        raise OSError(code, os.strerror(code))
    return answer


def _request(family: int, protocol: int, id: bytes, flags: int, states: int) -> bytes:
    """A question after sockets in some states."""
    request = struct.pack("=BBBxI", family, protocol, 0, states) + id
    return struct.pack("=IHHII", _MESSAGE + len(request), _BY_FAMILY, _ASKS | flags, 1, 0) + request
