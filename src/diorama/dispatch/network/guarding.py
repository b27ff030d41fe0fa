"""Guarding: what is done in a program's stead, so that what has been judged is what happens.

The kernel reads an address in the memory of the program again after we have, and another thread may have
changed it meanwhile.  So for guarded endpoints we connect and send ourselves, on our copy of the socket,
with what we have read, and wait where the program would.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.abi.socket import (
    MSG_DONTWAIT,
    MSG_FASTOPEN,
    SO_SNDTIMEO,
    SOCK_STREAM,
    parse_control,
)
from diorama.dispatch.network.answers import fail
from diorama.engine.rawsocket import Sent, connect_raw, pack_control, send_raw
from diorama.view.asking import asker

if TYPE_CHECKING:
    from diorama.abi.socket import SocketAddress
    from diorama.dispatch.network.state import Lent

__all__ = ["FULL", "check_flags", "connect_here", "native_control", "open_here", "send_here", "waits"]

FULL: Final = (errno.EAGAIN, errno.EWOULDBLOCK)
_BEGUN: Final = (errno.EINPROGRESS, errno.EALREADY)
_TICK_MS: Final = 50
_TIMEVAL: Final = struct.Struct("@ll")
_starting = threading.Lock()


def connect_here(lent: Lent, address: bytes) -> int:
    """Connect to an address, and wait as the program would: 0, or `OSError`."""
    at, blocks = lent.at, waits(lent, 0)
    try:
        if blocks and lent.endpoint.type == SOCK_STREAM:
            _start(at, address)
        else:
            connect_raw(at.fileno(), address)
    except OSError as error:
        code = error.errno or errno.EIO
        if code not in _BEGUN or not blocks:
            raise fail(lent.endpoint.connected(at, code)) from None
        _wait(at, errno.EINPROGRESS)
        code = lent.endpoint.connected(at, at.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        if code:
            raise fail(code) from None
        _finish(at, address)
        return 0
    lent.endpoint.connected(at, 0)
    return 0


def _finish(at: socket.socket, address: bytes) -> None:
    """Let the kernel know that who has begun to connect has seen it end: the next one to ask is EISCONN."""
    try:
        connect_raw(at.fileno(), address)
    except OSError as error:
        if error.errno not in (*_BEGUN, errno.EISCONN):
            raise


def _start(at: socket.socket, address: bytes) -> None:
    """Begin to connect, without waiting.  What says so belongs to the open file: it is put back at once."""
    with _starting:
        flags = fcntl.fcntl(at.fileno(), fcntl.F_GETFL)
        fcntl.fcntl(at.fileno(), fcntl.F_SETFL, flags | os.O_NONBLOCK)
        try:
            connect_raw(at.fileno(), address)
        finally:
            fcntl.fcntl(at.fileno(), fcntl.F_SETFL, flags)


def _wait(at: socket.socket, late: int) -> None:
    """Wait until something can be written; `late` after the time that the program allows, EINTR."""
    who = asker()
    if who is not None:
        who.step_aside()
    seconds, micros = _TIMEVAL.unpack(at.getsockopt(socket.SOL_SOCKET, SO_SNDTIMEO, _TIMEVAL.size))
    limit = seconds + micros / 1e6
    until = time.monotonic() + limit if limit else None
    poll = select.poll()
    poll.register(at.fileno(), select.POLLOUT)
    while not poll.poll(_TICK_MS):
        if until is not None and time.monotonic() >= until:
            raise fail(late)
        if who is not None and who.is_interrupted():
            raise fail(errno.EINTR)


def check_flags(lent: Lent, flags: int) -> None:
    """That a message does not connect a stream as well (TCP Fast Open): EOPNOTSUPP, as where that is off."""
    if lent.is_stream and flags & MSG_FASTOPEN:
        raise fail(errno.EOPNOTSUPP)


def open_here(lent: Lent, address: SocketAddress | None, flags: int) -> int:
    """Connect for a message that does so as well, as without a cookie of the server's: its other flags."""
    if not lent.endpoint.opens_fast:
        check_flags(lent, flags)
    if address is None:
        raise fail(errno.EINVAL)
    packed = lent.endpoint.connect(lent.at, address)
    if packed is not None:
        connect_here(lent, packed)
    return flags & ~MSG_FASTOPEN


def send_here(lent: Lent, data: bytes, sent: Sent, control: bytes, flags: int) -> int:
    """Send a message, and wait as the program would."""
    if sent.drop:
        return len(data)
    control += pack_control(sent.control)
    while True:
        try:
            return send_raw(lent.at.fileno(), data, sent.address, control, flags | MSG_DONTWAIT)
        except OSError as error:
            if error.errno not in FULL or not waits(lent, flags):
                raise
        _wait(lent.at, errno.EAGAIN)
        if lent.is_held and sent.address is not None:
            with _joined(sent.address) as peer:
                _wait(peer, errno.EAGAIN)


def _joined(address: bytes) -> socket.socket:
    """A socket that can be written to when whoever has this name has room: polling tells only of a peer's."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        connect_raw(made.fileno(), address)
    except BaseException:
        made.close()
        raise
    return made


def native_control(lent: Lent, abi: Abi, control: bytes) -> bytes:
    """The control data of a message as it is for us; `OSError` for what it must not have."""
    parts = parse_control(abi, control)
    for level, kind, _, _ in parts:
        lent.endpoint.sends_control(level, kind)
    return pack_control([(level, kind, data) for level, kind, _, data in parts])


def waits(lent: Lent, flags: int) -> bool:
    """Whether the program's call would wait."""
    return not (flags & MSG_DONTWAIT or fcntl.fcntl(lent.at.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK)
