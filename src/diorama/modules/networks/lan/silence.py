"""Silence: TCP sockets that do not hear some hosts for a while.

Nobody but root may give a TCP socket a packet filter any more: newer kernels refuse it (EPERM), lest a
program should learn sequence numbers by that. But everybody may say that what comes from some addresses
must be signed (tcp(7), TCP_MD5SIG; RFC 2385), and what is not is dropped, without an answer. So hosts that
are cut off get a key that nobody else has: nothing is heard from them, nor are we by them, since what we
send is signed and they know no key. Without the key again, TCP goes on where it was: what was lost is sent
again, with all of its own timing. Listeners do not hear connections that are made, and those that are being
made are neither established nor refused.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable
from typing import Final

from diorama.errors import warn_once

__all__ = ["hear", "ignore"]

_TCP_MD5SIG_EXT: Final = 32
_IS_PREFIX: Final = 1
_ROOM: Final = 128
_KEY_ROOM: Final = 80
_KEY: Final = 16
_PREFIX: Final = 24


def ignore(at: socket.socket, number: int, hosts: Iterable[int]) -> None:
    """Hear nothing from some hosts of the LAN with this number; a warning if the kernel has no such keys."""
    for host in hosts:
        try:
            _set_key(at, number, host, os.urandom(_KEY))
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise
            warn_once("lan:", "this kernel cannot cut connections of TCP off (CONFIG_TCP_MD5SIG)")
            return


def hear(at: socket.socket, number: int, hosts: Iterable[int]) -> None:
    """Hear them again."""
    for host in hosts:
        try:
            _set_key(at, number, host, b"")
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOPROTOOPT):
                raise


def _set_key(at: socket.socket, number: int, host: int, key: bytes) -> None:
    """Have a key for all addresses of a host (`struct tcp_md5sig` of <linux/tcp.h>), or (empty) none."""
    address = bytes((127, number, host, 0))
    if at.family == socket.AF_INET:
        place = struct.pack("=HH", at.family, 0) + address
    else:
        place = struct.pack("=HHI10xH", at.family, 0, 0, 0xFFFF) + address
    head = struct.pack("=BBHI", _IS_PREFIX, _PREFIX, len(key), 0)
    packed = place.ljust(_ROOM, b"\0") + head + key.ljust(_KEY_ROOM, b"\0")
    at.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG_EXT, packed)
