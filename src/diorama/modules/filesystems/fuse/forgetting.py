"""Forgetting: the references to nodes that a server gets back.

A server of several threads may come to a FORGET before it is done with a RELEASE that it has read.  So a node
is forgotten as soon as nothing is asked about it any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diorama.engine.told import Told
    from diorama.fuse.connection import Connection

__all__ = ["Forgetting"]


class Forgetting:
    """The nodes of one connection that are to be forgotten; `tell` sends a message.  Any thread."""

    def __init__(self, connection: Connection, told: Told, tell: Callable[[bytes], None]) -> None:
        self._connection = connection
        self._told = told
        self._tell = tell
        self._lock = threading.Lock()
        self._late: list[tuple[int, bytes]] = []

    def add(self, node: int, references: int) -> None:
        """Give back so many references to a node."""
        message = self._connection.forget((node, references))
        if message is not None:
            with self._lock:
                self._late.append((node, message))
            self.settle()

    def settle(self) -> None:
        """Something was answered."""
        if not self._late:
            return
        with self._lock:
            found = [one for one in self._late if not self._is_busy(one[0])]
            self._late = [one for one in self._late if one not in found]
        for _, message in found:
            self._tell(message)

    def _is_busy(self, node: int) -> bool:
        return self._connection.is_busy(node) or self._told.is_busy(node)
