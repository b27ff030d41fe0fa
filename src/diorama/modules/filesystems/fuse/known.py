"""Known: what a server has told of names and of attributes, and how long that holds.

The view asks by inodes, the server knows nodes: numbers that it may give to another file once they are
forgotten.  So inodes are counted (`native/fusenodes.c`), one for each node and generation, and never used
again.

What the server said holds as long as it said: a name (also that there is none) and the attributes of a node.
What it has said since a call began, to whoever asked, holds for all of that call besides: nobody could tell
a call that has asked once from one that has asked twice.  LOOKUP tells attributes too, but as with the
kernel they are no more than a type to go on by (`walked`), unless they are said to hold: there are servers
that leave the rest empty.  Whoever changes something drops what that concerns.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import threading
import time
from dataclasses import dataclass
from typing import Final

from diorama.engine._told import ToldNode
from diorama.engine.told import Told
from diorama.fuse.handles import OpenOut
from diorama.fuse.wire import Attr, AttrOut, EntryOut
from diorama.interfaces.asking import Asker, asker
from diorama.interfaces.filesystem import Attributes
from diorama.modules.filesystems.fuse.translation import attributes_of, attributes_told

__all__ = ["ROOT", "Known"]

ROOT: Final = 1
"""The inode of the root."""
_NSEC: Final = 10**9
_NEVER: Final = -math.inf
_MOST_NAMES: Final = 1 << 17


@dataclass(slots=True)
class _Node:
    """What is known of an inode: its attributes."""

    attributes: Attributes | None = None
    told: float = _NEVER
    until: float = _NEVER
    walked: Attributes | None = None
    walked_at: float = _NEVER


@dataclass(frozen=True, slots=True)
class _Name:
    inode: int
    told: float
    until: float


_UNKNOWN: Final = _Name(0, _NEVER, _NEVER)


class Known:
    """The names and attributes of one mount.  Any thread.  `unchecked` as in `Attributes`.

    What holds for a time is in `native` too.  What was asked before something changed may have been answered
    before or after: who asks takes a `mark` first, and what is told to a mark from before a change does not
    hold for later calls.
    """

    def __init__(self, native: Told, *, unchecked: bool) -> None:
        self.native = native
        self._unchecked = unchecked
        self._changes = 0
        self._lock = threading.Lock()
        self._nodes: dict[int, _Node] = {}
        self._names: dict[tuple[int, bytes], _Name] = {}

    # -- what holds ---------------------------------------------------------------------------

    def node(self, inode: int) -> int:
        """The server's number for an inode; ESTALE if that is forgotten."""
        number = self.native.number(inode)
        if not number:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return number

    def inode(self, number: int) -> int:
        """The inode for a number of the server's; 0 for one that nobody has seen."""
        return self.native.latest(number)

    def name(self, directory: int, name: bytes, who: Asker | None) -> int | None:
        """The inode of a name, 0 if there is none; None if the server must be asked, by that one."""
        found = self._names.get((directory, name), _UNKNOWN)
        inode = found.inode if _holds(found, who) else self.native.find(directory, name)
        return inode if not inode or self.native.number(inode) else None  # else it is forgotten

    def attributes(self, inode: int, who: Asker | None) -> Attributes | None:
        """The attributes of an inode; None if the server must be asked, by that one."""
        node = self._nodes.get(inode)
        if node is not None and _holds(node, who):
            return node.attributes
        mark, found = self._changes, self.native.status(inode)
        return None if found is None else self._hear(found, mark, is_whole=True)

    def walked(self, inode: int) -> Attributes | None:
        """As `attributes`, or what came with its name in this call: of that the type is to be relied on."""
        node, who = self._nodes.get(inode), asker()
        is_new = node is not None and who is not None and node.walked_at >= who.since
        return node.walked if node is not None and is_new else self.attributes(inode, who)

    # -- what is asked for natively -----------------------------------------------------------

    def ask_name(self, directory: int, name: bytes, who: Asker | None) -> int | None:
        """Ask for a name: the inode, 0 if there is none; None if the server must be asked otherwise."""
        if who is None or not who.is_itself:
            return None
        who.step_aside()
        mark, answer = self._changes, self.native.ask_name(who.task.tid, directory, name)
        if answer is None:
            return None
        found, is_whole = answer
        with self._lock:
            if mark == self._changes:
                self._put(directory, name, _Name(found.inode, time.monotonic(), _NEVER))
        if found.inode:
            self._hear(found, mark, is_whole=is_whole)
        return int(found.inode)

    def ask(self, inode: int, who: Asker | None) -> Attributes | None:
        """Ask for the attributes of an inode; None if the server must be asked otherwise."""
        if who is None or not who.is_itself:
            return None
        who.step_aside()
        mark, found = self._changes, self.native.ask_node(who.task.tid, inode)
        return None if found is None else self._hear(found, mark, is_whole=True)

    def ask_open(self, inode: int, flags: int) -> OpenOut | None:
        """Have a file opened; None if the server must be asked otherwise."""
        who = asker()
        if who is None or not who.is_itself:
            return None
        who.step_aside()
        opened = self.native.ask_open(who.task.tid, inode, flags)
        return None if opened is None else OpenOut(*opened)

    def _hear(self, found: ToldNode, mark: int, *, is_whole: bool) -> Attributes:
        """What was told natively, and since this mark, holds for the rest of this call."""
        attributes = attributes_told(found)
        with self._lock:
            node = self._node(found.inode)
            if node is None or mark != self._changes:
                return attributes
            if is_whole:
                node.attributes, node.told, node.until = attributes, time.monotonic(), _NEVER
            else:
                node.walked, node.walked_at = attributes, time.monotonic()
        return attributes

    # -- what is told -------------------------------------------------------------------------

    def mark(self) -> int:
        """To be taken before asking."""
        return self._changes

    def entered(
        self, directory: int, name: bytes, entry: EntryOut, attr: Attr, mark: int | None = None
    ) -> int:
        """What a name leads to; 0 if to nothing."""
        told = time.monotonic()
        until = _until(told, entry.entry_valid, entry.entry_valid_nsec)
        inode = self.native.enter(entry.nodeid, entry.generation) if entry.nodeid else 0
        with self._lock:
            if mark is not None and mark != self._changes:
                until = _NEVER
            self._put(directory, name, _Name(inode, told, until))
            self.native.name(directory, name, inode, until)
        if inode:
            if stat.S_ISDIR(attr.mode):
                self.native.found(inode, directory, name)
            valid = _until(told, entry.attr_valid, entry.attr_valid_nsec)
            if valid > _NEVER:
                self._remember(inode, attr, told, valid, mark)
            else:
                self._walk(inode, attr, told)
        return inode

    def unnamed(self, entry: EntryOut, attr: Attr) -> int:
        """The inode of what was made without a name."""
        inode, told = self.native.enter(entry.nodeid, entry.generation), time.monotonic()
        self._remember(inode, attr, told, _until(told, entry.attr_valid, entry.attr_valid_nsec), None)
        return inode

    def _walk(self, inode: int, attr: Attr, told: float) -> None:
        with self._lock:
            node = self._node(inode)
            if node is not None:
                node.walked, node.walked_at = attributes_of(attr, unchecked=self._unchecked), told

    def _node(self, inode: int) -> _Node | None:
        """What is known of an inode, with the lock; None if it is forgotten."""
        node = self._nodes.get(inode)
        if node is None and self.native.number(inode):
            node = self._nodes[inode] = _Node()
        return node

    def told(self, inode: int, out: AttrOut, attr: Attr, mark: int | None = None) -> Attributes:
        """The attributes of an inode."""
        told = time.monotonic()
        return self._remember(inode, attr, told, _until(told, out.attr_valid, out.attr_valid_nsec), mark)

    def _remember(
        self, inode: int, attr: Attr, told: float, until: float, mark: int | None
    ) -> Attributes:
        attributes = attributes_of(attr, unchecked=self._unchecked)
        with self._lock:
            node = self._node(inode)
            if node is None:
                return attributes
            if mark is not None and mark != self._changes:
                until = _NEVER
            node.attributes, node.told, node.until = attributes, told, until
            _tell(self.native, inode, attributes, until)
        return attributes

    # -- what holds no more -------------------------------------------------------------------

    def changed(self, *inodes: int) -> None:
        """Attributes are to be asked for again."""
        with self._lock:
            self._changed()
            for inode in inodes:
                self.native.node(inode, _NEVER)
                node = self._nodes.get(inode)
                if node is not None:
                    node.told = node.until = node.walked_at = _NEVER

    def missing(self, directory: int, name: bytes, mark: int) -> None:
        """The server has no such name: that holds for the calls that had begun by then."""
        with self._lock:
            is_new = mark == self._changes
            self._forget_name(directory, name)
            if is_new:
                self._put(directory, name, _Name(0, time.monotonic(), _NEVER))

    def forget_name(self, directory: int, name: bytes) -> int:
        """A name is to be asked for again; what it led to."""
        with self._lock:
            return self._forget_name(directory, name)

    def _forget_name(self, directory: int, name: bytes) -> int:
        found, inode = self._names.pop((directory, name), _UNKNOWN), self.native.drop(directory, name)
        if not found.inode and inode is None:
            return 0
        self._changed()
        return inode or found.inode

    def _put(self, directory: int, name: bytes, found: _Name) -> None:
        if len(self._names) >= _MOST_NAMES:
            self._names.clear()  # they are asked for again
        self._names[directory, name] = found

    def forget_names(self, inode: int = 0) -> None:
        """All names of an inode are to be asked for again; 0: all names."""
        with self._lock:
            self._names = {key: one for key, one in self._names.items() if inode and one.inode != inode}
            self.native.drop_all(inode)
            self._changed()

    def _changed(self) -> None:
        self._changes += 1
        self.native.changed()

    def renamed(self, directory: int, name: bytes, to_directory: int, to_name: bytes) -> None:
        """What had these two names may have others."""
        for above, one in ((directory, name), (to_directory, to_name)):
            self.changed(above, self.forget_name(above, one))

    def forget(self, inode: int) -> tuple[int, int] | None:
        """Nobody will ask for an inode any more; None for the root, and what is forgotten.

        The server's number for it, and how many references to that there are.
        """
        with self._lock:
            number = self.native.number(inode)
            if not number or inode == ROOT:
                return None
            self._nodes.pop(inode, None)
            self.native.node(inode, _NEVER)
            self.native.differs(inode, does=False)
            return number, self.native.leave(inode)


def _holds(known: _Node | _Name, who: Asker | None) -> bool:
    if who is not None and known.told >= who.since:
        return True
    return known.until > _NEVER and known.until >= time.monotonic()


def _tell(native: Told, inode: int, attributes: Attributes, until: float) -> None:
    modified = attributes.modified
    accessed = modified if attributes.accessed is None else attributes.accessed
    changed = modified if attributes.changed is None else attributes.changed
    native.node(
        inode,
        until,
        number=inode if attributes.number is None else attributes.number,
        size=attributes.shown_size,
        blocks=attributes.sectors,
        device=attributes.device,
        times=(accessed, modified, changed),
        mode=attributes.mode,
        links=attributes.links,
        uid=attributes.uid,
        gid=attributes.gid,
        unchecked=attributes.unchecked,
    )


def _until(told: float, seconds: int, nanoseconds: int) -> float:
    if not seconds and not nanoseconds:
        return _NEVER
    return told + seconds + nanoseconds / _NSEC
