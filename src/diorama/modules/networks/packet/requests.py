"""Requests: what the view asks the process of a stack, and is answered.

One message each way over a socket of SOCK_SEQPACKET, descriptors with it: `(verb, arguments)`, and `(errno,
value)`. Both ends are of one program, so the messages are pickled.
"""

from __future__ import annotations

import array
import pickle
import socket
from typing import Any, Final

__all__ = ["MESSAGE_MAX", "receive_message", "send_message"]

MESSAGE_MAX: Final = 1 << 17
_DESCRIPTORS_MAX: Final = 4


def send_message(to: socket.socket, message: Any, descriptors: tuple[int, ...] = ()) -> None:
    """Send one message."""
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    to.sendmsg([pickle.dumps(message)], control, socket.MSG_NOSIGNAL)


def receive_message(come: socket.socket) -> tuple[Any, list[int]]:
    """The next message and its descriptors; EOFError when the other end is gone."""
    data, descriptors, _, _ = socket.recv_fds(come, MESSAGE_MAX, _DESCRIPTORS_MAX)
    if not data:
        raise EOFError
    return pickle.loads(data), list(descriptors)
