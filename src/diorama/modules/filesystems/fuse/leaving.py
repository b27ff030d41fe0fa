"""Leaving: requests that were made natively (`native/fuseask.c`) and whose answers are to be read here.

The thread that has made one goes on in Python, and asks for the same: it takes the request over.  If it asks
for something else, the answer is for nobody, but must be an answer.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

from diorama.engine.told import FIRST_NATIVE
from diorama.fuse.operations import OPERATIONS

if TYPE_CHECKING:
    from diorama.engine.told import Told
    from diorama.fuse.connection import Connection
    from diorama.fuse.wire import Wire

__all__ = ["Leaving"]

_HEAD = slice(8, 16)
"""Where the number of its request stands in an answer."""


class Leaving:
    """The requests of one connection that were left.

    Each is taken once: `adopt` and `expect` are called with one lock.
    """

    def __init__(self, told: Told, connection: Connection) -> None:
        self._told = told
        self._connection = connection
        self._aborted: set[int] = set()

    def adopt(self, name: str, node: int, records: tuple[Wire, ...], names: tuple[bytes, ...]) -> int:
        """The same request, if this thread has left it: it is to be waited for.  0 if not."""
        if name != "LOOKUP" and (name != "GETATTR" or any(records[0].encode())):
            return 0
        unique = self._told.adopt(OPERATIONS[name].number, node, names)
        if unique:
            self._connection.expect(name, unique, node)
        return unique

    def expect(self, message: bytes) -> int:
        """Let this be the answer to a request that was left and is not adopted, if it is.

        The thread that has made it, or 0.
        """
        unique = int.from_bytes(message[_HEAD], "little")
        left = self._told.find_left(unique) if unique >= FIRST_NATIVE else None
        if left is None:
            return 0
        name = next(one.name for one in OPERATIONS.values() if one.number == left.opcode)
        self._connection.expect(name, unique, left.node)
        return int(left.tid)

    def abort(self, tid: int) -> None:
        """The answer for a thread was none."""
        if tid:
            self._aborted.add(tid)

    def gone(self) -> OSError:
        """The server is gone: who has asked just now is told so as those who wait, and others are not."""
        tid = threading.get_native_id()
        code = errno.ECONNABORTED if self._told.give_up() or tid in self._aborted else errno.ENOTCONN
        self._aborted.discard(tid)
        return OSError(code, os.strerror(code))
