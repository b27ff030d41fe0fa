"""Known: what a server has told of names and of attributes, and how long that holds.

The view asks by inodes, the server knows nodes: numbers that it may give to another file once they are
forgotten.  So inodes are counted here, one for each node and generation, and never used again.

What the server said holds as long as it said: a name (also that there is none) and the attributes of a node.
What it has said since a call began, to whoever asked, holds for all of that call besides: LOOKUP tells the
attributes too, and nobody could tell a call that has asked once from one that has asked twice.  Whoever
changes something drops what that concerns.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
import threading
import time
from dataclasses import dataclass
from typing import Final

from diorama.fuse.flags import ROOT_ID
from diorama.fuse.wire import Attr, AttrOut, EntryOut
from diorama.interfaces.asking import asker
from diorama.interfaces.filesystem import Attributes
from diorama.modules.filesystems.fuse.translation import attributes_of

__all__ = ["ROOT", "Known"]

ROOT: Final = 1
"""The inode of the root."""
_NSEC: Final = 10**9
_NEVER: Final = -math.inf


@dataclass(slots=True)
class _Node:
    """What is known of an inode: the server's number for it, and its attributes."""

    number: int
    generation: int
    attributes: Attributes | None = None
    told: float = _NEVER
    until: float = _NEVER


@dataclass(frozen=True, slots=True)
class _Name:
    inode: int
    told: float
    until: float


_UNKNOWN: Final = _Name(0, _NEVER, _NEVER)


class Known:
    """The names and attributes of one mount.  Any thread.  `unchecked` as in `Attributes`."""

    def __init__(self, *, unchecked: bool) -> None:
        self._unchecked = unchecked
        self._lock = threading.Lock()
        self._nodes: dict[int, _Node] = {ROOT: _Node(ROOT_ID, 0)}
        self._inodes: dict[tuple[int, int], int] = {(ROOT_ID, 0): ROOT}
        self._latest: dict[int, int] = {ROOT_ID: ROOT}
        self._numbers = itertools.count(ROOT + 1)
        self._names: dict[tuple[int, bytes], _Name] = {}

    # -- what holds ---------------------------------------------------------------------------

    def node(self, inode: int) -> int:
        """The server's number for an inode; ESTALE if that is forgotten."""
        node = self._nodes.get(inode)
        if node is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return node.number

    def inode(self, number: int) -> int:
        """The inode for a number of the server's; 0 for one that nobody has seen."""
        return self._latest.get(number, 0)

    def name(self, directory: int, name: bytes) -> int | None:
        """The inode of a name, 0 if there is none; None if the server must be asked."""
        found = self._names.get((directory, name), _UNKNOWN)
        return found.inode if _holds(found) else None

    def attributes(self, inode: int) -> Attributes | None:
        """The attributes of an inode; None if the server must be asked."""
        node = self._nodes.get(inode)
        return node.attributes if node is not None and _holds(node) else None

    # -- what is told -------------------------------------------------------------------------

    def entered(self, directory: int, name: bytes, entry: EntryOut, attr: Attr) -> int:
        """What a name leads to; 0 if to nothing."""
        told = time.monotonic()
        until = _until(told, entry.entry_valid, entry.entry_valid_nsec)
        if not entry.nodeid:
            self._names[directory, name] = _Name(0, told, until)
            return 0
        key = (entry.nodeid, entry.generation)
        with self._lock:
            inode = self._inodes.get(key)
            if inode is None:
                inode = self._inodes[key] = next(self._numbers)
                self._nodes[inode] = _Node(*key)
                self._latest[entry.nodeid] = inode
            self._names[directory, name] = _Name(inode, told, until)
        self._remember(inode, attr, told, _until(told, entry.attr_valid, entry.attr_valid_nsec))
        return inode

    def told(self, inode: int, out: AttrOut, attr: Attr) -> Attributes:
        """The attributes of an inode."""
        told = time.monotonic()
        return self._remember(inode, attr, told, _until(told, out.attr_valid, out.attr_valid_nsec))

    def _remember(self, inode: int, attr: Attr, told: float, until: float) -> Attributes:
        attributes = attributes_of(attr, unchecked=self._unchecked)
        node = self._nodes.get(inode)
        if node is not None:
            node.attributes, node.told, node.until = attributes, told, until
        return attributes

    # -- what holds no more -------------------------------------------------------------------

    def changed(self, *inodes: int) -> None:
        """Attributes are to be asked for again."""
        for inode in inodes:
            node = self._nodes.get(inode)
            if node is not None:
                node.told = node.until = _NEVER

    def forget_name(self, directory: int, name: bytes) -> int:
        """A name is to be asked for again; what it led to."""
        return self._names.pop((directory, name), _UNKNOWN).inode

    def renamed(self, directory: int, name: bytes, to_directory: int, to_name: bytes) -> None:
        """What had these two names may have others."""
        for above, one in ((directory, name), (to_directory, to_name)):
            self.changed(above, self.forget_name(above, one))

    def forget(self, inode: int) -> int | None:
        """Nobody will ask for an inode any more; the server's number for it, None for the root."""
        with self._lock:
            node = self._nodes.get(inode)
            if node is None or inode == ROOT:
                return None
            del self._nodes[inode]
            self._inodes.pop((node.number, node.generation), None)
            if self._latest.get(node.number) == inode:
                del self._latest[node.number]
        return node.number


def _holds(known: _Node | _Name) -> bool:
    if known.until >= time.monotonic():
        return True
    who = asker()
    return who is not None and known.told >= who.since


def _until(told: float, seconds: int, nanoseconds: int) -> float:
    if not seconds and not nanoseconds:
        return _NEVER
    return told + seconds + nanoseconds / _NSEC
