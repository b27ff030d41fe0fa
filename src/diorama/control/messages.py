"""Messages: what is said over the socket of a view.

A message is a JSON object behind its size in four bytes; descriptors come with the first of these.  Strings
that are not UTF-8 are escaped as Python does for names of files.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import Any, Final, cast

__all__ = ["Messages", "peer_of"]

_SIZE: Final = struct.Struct("!I")
_LARGEST: Final = 16 << 20
_DESCRIPTORS: Final = 3
_PEER: Final = struct.Struct("3i")


def peer_of(link: socket.socket) -> tuple[int, int]:
    """The process and the user at the other end, as they were when it was connected (SO_PEERCRED)."""
    pid, uid, _ = _PEER.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return pid, uid


class Messages:
    """One connection.  Both ends; one thread reads and one writes."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.descriptors: list[int] = []
        """Those that came with the last message that was read, which are the reader's to close."""

    def send(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        """Say something; `OSError` if nobody is there to hear it."""
        import json

        data = json.dumps(message).encode()
        data = _SIZE.pack(len(data)) + data
        sent = socket.send_fds(self.link, [data], descriptors or [], socket.MSG_NOSIGNAL)
        if sent < len(data):  # who was asked may have answered and gone already
            self.link.sendall(data[sent:])

    def read(self) -> dict[str, Any] | None:
        """What is said next; None at the end, or when it is no message."""
        import json

        try:
            head = self._read(_SIZE.size)
            size = _SIZE.unpack(head)[0] if head is not None else _LARGEST
            data = self._read(size) if size < _LARGEST else None
            found = None if data is None else json.loads(data)
        except (OSError, ValueError, RecursionError):
            return None
        return cast("dict[str, Any]", found) if isinstance(found, dict) else None

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)
        self.link.close()
        for fd in self.descriptors:
            os.close(fd)
        self.descriptors = []

    def _read(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            # Not recv_fds, which lets a program that is started meanwhile inherit them in Python 3.11.
            room = socket.CMSG_SPACE(_DESCRIPTORS * 4)
            part, control, _, _ = self.link.recvmsg(size - len(data), room, socket.MSG_CMSG_CLOEXEC)
            for level, kind, rights in control:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self.descriptors += struct.unpack(f"{len(rights) // 4}i", rights[: len(rights) // 4 * 4])
            if not part or len(self.descriptors) > _DESCRIPTORS:
                return None
            data += part
        return data
