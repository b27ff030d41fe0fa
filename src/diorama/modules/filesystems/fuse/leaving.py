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
from diorama.fuse.connection import ProtocolError, Reply
from diorama.fuse.flags import Init
from diorama.fuse.handles import OpenIn, OpenOut
from diorama.fuse.operations import OPERATIONS

if TYPE_CHECKING:
    from diorama.engine._told import Left
    from diorama.engine.told import Told
    from diorama.fuse.connection import Connection
    from diorama.fuse.wire import Wire

__all__ = ["Leaving"]

_ROOM = 1 << 20
"""More than is read at once."""
_OPENING = ("OPEN", "OPENDIR")
_READING = ("READ", "READDIR", "READDIRPLUS", "READLINK")
_HEAD = slice(8, 16)
"""Where the number of its request stands in an answer."""


class Leaving:
    """The requests of one connection that were left.

    Each is taken once: all but `abort` and `gone` are called with one lock.
    """

    def __init__(self, told: Told, connection: Connection) -> None:
        self._told = told
        self._connection = connection
        self._aborted: set[int] = set()

    def adopt(self, name: str, node: int, records: tuple[Wire, ...], names: tuple[bytes, ...]) -> int:
        """The same request, if this thread has left it: it is to be waited for.  0 if not."""
        if name in _OPENING and isinstance(records[0], OpenIn):
            names = (b"%d" % records[0].flags,)
        elif name != "LOOKUP" and (name != "GETATTR" or any(records[0].encode())):
            return 0
        unique = self._told.adopt(OPERATIONS[name].number, node, names)
        if unique:
            self._connection.expect(name, unique, node)
        return unique

    def check(self, node: int, unique: int) -> None:
        """Withdraw a request that is not sent yet if its node was forgotten just now: ESTALE."""
        if node and not self._told.latest(node):
            self._connection.withdraw(unique)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def expect(self, message: bytes) -> Left | None:
        """Let this be the answer to a request that was left and is not adopted, if it is: that request."""
        unique = int.from_bytes(message[_HEAD], "little")
        left = self._told.find_left(unique) if unique >= FIRST_NATIVE else None
        if left is None:
            return None
        name = next(one.name for one in OPERATIONS.values() if one.number == left.opcode)
        self._connection.expect(name, unique, left.node, _ROOM if name in _READING else 0)
        return left

    def opened(self, left: Left, message: bytes) -> bool:
        """Whether it was to open a file: that is for who has asked, if he still asks.  `ProtocolError`."""
        if left.opcode not in [OPERATIONS[name].number for name in _OPENING]:
            return False
        try:
            reply = self._connection.receive(message)
        except ProtocolError:
            self.abort(left)
            raise
        if isinstance(reply, Reply) and not reply.error:
            (opened,) = reply.records
            assert isinstance(opened, OpenOut)
            self._told.give(left, opened.fh, opened.open_flags)
        return True

    def given(self, name: str, node: int, records: tuple[Wire, ...]) -> Reply | None:
        """The answer that this thread has to an OPEN already."""
        if name not in _OPENING or not isinstance(records[0], OpenIn):
            return None
        given = self._told.given(node, records[0].flags)
        return None if given is None else Reply(0, OPERATIONS[name], records=(OpenOut(*given),))

    def tell_lists(self) -> None:
        """How directories are listed natively."""
        connection = self._connection
        plus = bool(connection.features & Init.DO_READDIRPLUS) and connection.knows("READDIRPLUS")
        self._told.lists(plus=plus, opens=connection.knows("OPENDIR"))

    def abort(self, left: Left | None) -> None:
        """The answer was none."""
        if left is not None and left.tid:
            self._aborted.add(left.tid)

    def gone(self) -> OSError:
        """The server is gone: who has asked just now is told so as those who wait, and others are not."""
        tid = threading.get_native_id()
        code = errno.ECONNABORTED if self._told.give_up() or tid in self._aborted else errno.ENOTCONN
        self._aborted.discard(tid)
        return OSError(code, os.strerror(code))
