"""Assembly: answers that come in several pieces.

A server that splices an answer into a socket has it cut: before Linux 6.5 at every page, later at what a pipe
holds.  The header, which comes first, tells how long all of it is.  Pieces of two answers at once cannot be
told apart; then the server is dropped, as for anything else that makes no sense.
"""

from __future__ import annotations

from diorama.fuse.connection import Connection, ProtocolError

__all__ = ["Assembly"]

_LENGTH = 4


class Assembly:
    """What has come of an answer that is not whole.  One thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._begun = bytearray()
        self._length = 0

    def add(self, piece: bytes) -> bytes | None:
        """A message that is whole now, or makes no sense by itself; None if more is to come."""
        length = int.from_bytes(piece[:_LENGTH], "little")
        if not self._length:
            if length <= len(piece) or not self._connection.expects(piece, length):
                return piece
            self._length = length
        elif length == len(piece) and self._connection.expects(piece, length):
            return piece  # another thread of the server has answered meanwhile
        self._begun += piece
        if len(self._begun) < self._length:
            return None
        if len(self._begun) > self._length:
            raise ProtocolError(f"{len(self._begun)} bytes of an answer of {self._length}")
        whole = bytes(self._begun)
        self._begun.clear()
        self._length = 0
        return whole
