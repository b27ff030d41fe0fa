"""Writing: the content of a file goes to a server by many requests in a row, most of them made natively."""

from __future__ import annotations

import ctypes
import time
from typing import Final

from diorama.engine import _native
from diorama.fuse.connection import Reply
from diorama.fuse.handles import WriteIn
from diorama.interfaces.asking import asker
from diorama.modules.filesystems.fuse.channel import Channel
from diorama.modules.filesystems.fuse.waiting import Waiting, caller

__all__ = ["WritingChannel"]

_AT_A_TIME: Final = 1 << 20
"""So many bytes are written before it is looked whether the server is still there."""
_PATIENCE: Final = 0.5
_PAUSE: Final = 0.001


class WritingChannel(Channel):
    """A channel by which files are written."""

    def write(self, node: int, request: WriteIn, fd: int, end: int) -> tuple[int, Reply | None]:
        """Have a file written from what is open, part by part up to `end`, as long as nothing else comes by.

        `request` is the first part.  Up to where it is done, and the answer to the part that begins there,
        if it was asked for.
        """
        self._await_start()
        where, parts = (request.fh, request.offset, end, request.size), max(1, _AT_A_TIME // request.size)
        todo = _native.FuseWrite(-1, fd, 0, node, *where, request.write_flags, *caller())
        who, waiting, left = asker(), Waiting(), 0
        if who is not None:
            who.step_aside()
        with self._asking():
            if not self._told.read(wait=False):
                return todo.offset, None
            try:
                todo.socket = self._socket.fileno()  # which is not closed while we read
                while todo.offset < end and not (left or self._is_lost):
                    todo.unique = self.connection.reserve(parts)
                    left = _native.lib.dio_fuse_write(ctypes.byref(todo), parts)
                if left > 0:
                    self._expect("WRITE", todo.unique, node, waiting)
            finally:
                self._leave()
            if left <= 0:
                return todo.offset, None
            self._wait(todo.unique, waiting)
        return todo.offset, self._answer("WRITE", waiting)

    def await_posted(self, node: int) -> None:
        """Wait for the answers about a node for which nobody waits, if they come soon."""
        if self._is_lost or not self._told.is_busy(node):
            return
        who, until = asker(), time.monotonic() + _PATIENCE
        if who is not None:
            who.step_aside()
        while self._told.is_busy(node) and not self._is_lost and time.monotonic() < until:
            if not self._told.read(wait=False):
                time.sleep(_PAUSE)
                continue
            try:
                self._read()
            finally:
                self._leave()

    def _expect(self, name: str, unique: int, node: int, waiting: Waiting) -> None:
        """An answer to what was sent without us."""
        self.connection.expect(name, unique, node)
        with self._lock:
            if not self._is_lost:
                self.waiting[unique] = waiting
                return
        waiting.tell(None)
