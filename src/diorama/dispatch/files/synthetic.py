"""Synthetic: what the view keeps of file systems that exist only in it.

A file system stores; here is what Linux does for all of them: one change of names at a time, open files
(`contents`), what is held of things that were removed, and who must be told of a change.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from diorama.dispatch.files.content import Content
from diorama.dispatch.files.contents import Contents
from diorama.dispatch.files.lazy import Lazy
from diorama.dispatch.files.standins import StandIns
from diorama.errors import Unsupported
from diorama.view.filesystem import Attributes, Changes, FileSystem
from diorama.view.renaming import Renaming, rename_mounts

if TYPE_CHECKING:
    from diorama.dispatch.files.listings import Listings
    from diorama.view.inodes import Inodes
    from diorama.view.mounts import Place
    from diorama.view.task import Tasks

__all__ = ["Synthetic", "name_of", "whole_path"]


def name_of(place: Place) -> bytes:
    """The last component of the path that led to a place."""
    return place.path.rpartition(b"/")[2]


def whole_path(place: Place) -> bytes:
    """The path from the root of the file system, of which a mount may show a part."""
    return place.mount.subtree + place.path


def _nothing() -> None:
    return


class Synthetic:
    """The file systems of one view.  Any thread."""

    def __init__(self, inodes: Inodes, tasks: Tasks, listings: Listings) -> None:
        self.lazy = Lazy()
        self.contents = Contents(inodes, self.lazy)
        self.standins = StandIns(inodes)
        inodes.on_look = self._adopt
        self.on_moved: Callable[[], None] = _nothing
        self._inodes = inodes
        self._tasks = tasks
        self._listings = listings
        self._nameless: set[tuple[int, int]] = set()
        self.contents.on_forget = self._forgotten
        self._naming: dict[int, threading.RLock] = {}

    def _adopt(self) -> None:
        """What was opened natively is known here, directories first: by them files have their paths."""
        self.standins.adopt()
        self.contents.adopt()

    # -- looking ------------------------------------------------------------------------------

    def attributes(self, filesystem: FileSystem, inode: int) -> Attributes:
        """The status of a file, as it is to be seen now."""
        found = self.contents.live(filesystem, inode, filesystem.attributes(inode))
        return replace(found, links=0) if found.links and self.is_nameless(filesystem, inode) else found

    def is_nameless(self, filesystem: FileSystem, inode: int) -> bool:
        """Whether a file has no name any more, while somebody may have it open, or be in it."""
        return (id(filesystem), inode) in self._nameless

    # -- changing -----------------------------------------------------------------------------

    def naming(self, filesystem: FileSystem) -> threading.RLock:
        """The lock to hold from looking at names to having changed them."""
        return self._naming.setdefault(id(filesystem), threading.RLock())

    def change(self, place: Place, changes: Changes) -> None:
        """Change the status of a file; the size is that of an open file, or the file system's to set."""
        filesystem, inode = place.filesystem, place.inode
        assert filesystem is not None
        with self.contents.kept(filesystem, inode) as content:
            if content is None:
                filesystem.set_attributes(inode, changes)
            else:
                with content.lock:
                    content.note()
                    filesystem.set_attributes(inode, changes)
                    self.contents.told(content, changes)
        self.attributes_changed(place)

    def attributes_changed(self, place: Place) -> None:
        """Let watchers of its directory see that a file has another status."""
        if place.filesystem is not None and place.path and not place.removed:
            directory = place.directory or self._parent(place)
            self.standins.name_changed(place.filesystem, directory, name_of(place))

    def _parent(self, place: Place) -> int:
        assert place.filesystem is not None
        inode = place.mount.inode
        try:
            for name in place.path.split(b"/")[1:-1]:
                inode = place.filesystem.lookup(inode, name)
        except OSError:
            return 0
        return inode

    def unnamed(self, filesystem: FileSystem, inode: int) -> None:
        """A file was made that has no name."""
        self._nameless.add((id(filesystem), inode))
        filesystem.differs(inode, does=True)

    def named(self, filesystem: FileSystem, inode: int, place: Place) -> None:
        """A file that had no name has got one."""
        self._nameless.discard((id(filesystem), inode))
        self._inodes.got_name(filesystem, inode, place)

    def _forgotten(self, content: Content) -> None:
        self._nameless.discard(content.key)
        if not content.is_named:
            self._inodes.forget(content.filesystem, content.place.inode)

    def closed_directly(self, filesystem: FileSystem, inode: int) -> None:
        """Nobody has a file open past the cache any more."""
        if self.is_nameless(filesystem, inode) and self.contents.find(filesystem, inode) is None:
            self._nameless.discard((id(filesystem), inode))
            filesystem.forget(inode)

    # -- names --------------------------------------------------------------------------------

    def made(self, filesystem: FileSystem, directory: int, name: bytes, kind: int) -> None:
        """There is a new name."""
        self._listings.changed(filesystem, directory)
        self.standins.name_made(filesystem, directory, name, is_directory=stat.S_ISDIR(kind))

    def keep_for_holders(self, filesystem: FileSystem, inode: int | None) -> None:
        """A name is about to go, and perhaps the content: who has it open must have it still."""
        content = None if inode is None else self.contents.find(filesystem, inode)
        if content is not None:
            self.contents.holding.leave(content)  # a server may hide what it takes to be open
        if inode is not None and filesystem.tells_at_close:
            filesystem.await_closed(inode)
        if content is None or content.pieces is None or not (content.pins or content.is_held):
            return
        if filesystem.tells_at_close:
            return  # what is open there can be read there
        try:
            content.pieces.keep(0, content.pieces.size)
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            why = "a file of more than 1 GiB that is open and not fetched yet"
            raise Unsupported("unlink", why, errno.EBUSY) from None
        self.contents.complete(content)

    def removed(self, place: Place, was: Attributes) -> None:
        """A name is gone, with what it named if that has no other."""
        filesystem = place.filesystem
        assert filesystem is not None
        self._listings.changed(filesystem, place.directory)
        self.standins.name_removed(filesystem, place.directory, name_of(place))
        self.lost(filesystem, whole_path(place), place.inode, was)

    def lost(self, filesystem: FileSystem, path: bytes, inode: int, was: Attributes) -> None:
        """A file has lost a name, by removal or because another took it."""
        self._inodes.removed(filesystem, inode, path)
        if was.kind == stat.S_IFREG:
            with self.contents.kept(filesystem, inode) as content:
                if content is not None:
                    content.note()
                    os.fchmod(content.fd, 0o777 | content.special)  # who watches it sees that
                    content.agree()
                    # Which is nothing to be saved.
                    content.changed = content.shown(os.fstat(content.fd).st_ctime_ns)
        if was.kind != stat.S_IFDIR and was.links > 1:
            return
        if was.kind in (stat.S_IFREG, stat.S_IFDIR):
            filesystem.differs(inode, does=True)  # it is not opened natively any more
        is_held = self._inodes.is_known(filesystem, inode)
        if is_held:
            self._nameless.add((id(filesystem), inode))
            filesystem.differs(inode, does=True)
        if was.kind == stat.S_IFREG:
            self.contents.orphan(filesystem, inode)
            return
        self.standins.remove(filesystem, inode)
        if not is_held:
            filesystem.forget(inode)

    def moved(self, renaming: Renaming, inodes: tuple[int, ...], *, directories: bool) -> None:
        """A name became another, or two were exchanged."""
        if not directories:
            self._inodes.moved(renaming, inodes, directories=False)
            return
        with self.standins.renaming():
            self._inodes.moved(renaming, inodes, directories=True)
        followed = False
        for tree in self._tasks.trees():
            followed |= rename_mounts(tree, renaming)
        self._tasks.renamed(renaming)
        if followed:
            self.on_moved()

    # -- the end ------------------------------------------------------------------------------

    def settle(self, one: object = None) -> list[tuple[Content, OSError]]:
        """Save all that is not saved, of one file system or of all; what could not be."""
        return [(content, error) for content, error in self.settling(one) if error is not None]

    def settling(self, one: object = None) -> Iterator[tuple[Content, OSError | None]]:
        """As `settle`, file by file, each when it is saved or could not be."""
        for content in self.contents:
            if one is not None and content.filesystem is not one:
                continue
            if not content.filesystem.lasts:
                continue
            failure = None
            with content.lock:
                try:
                    self.contents.save(content)
                except OSError as error:
                    failure = content.failure = error
            yield content, failure
