"""Keeping: files that are opened for reading without asking here.

That is done natively, where a program can be given a descriptor.  What is only read, or nobody has open any
more, is kept, to be opened again (`native/fusekept.c`).  Only what is plainly a cache of what its server has
is kept: nothing of it is to be saved, and there is nothing to tell of it.  Who has it open goes along: its
handles, and the watch that tells of their closing.  What nobody here knows is opened there first
(`native/fusefirst.c`), and known here when somebody looks for something.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Final

from diorama.dispatch.files import memfd
from diorama.dispatch.files.content import Content
from diorama.engine._told import KEPT_HANDLES, Made
from diorama.engine.keeper import Keep, Keeper, Opens
from diorama.view.mounts import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from diorama.dispatch.settling import Numbers
    from diorama.engine.decider import Decider
    from diorama.view.filesystem import FileSystem
    from diorama.view.inodes import Inodes

__all__ = ["Keeping"]

_ROOM: Final = 1 << 16
_LARGEST: Final = 1 << 20
"""Of what is opened natively."""


class Keeping:
    """The keeper of one view.

    `numbers` are the decider's of mounts; `gives`: whether programs can be given descriptors; `adopt` has
    directories known here that were opened natively, from which files may have been found.
    """

    def __init__(
        self,
        decider: Decider,
        inodes: Inodes,
        numbers: Numbers,
        gives: Callable[[], bool],
        adopt: Callable[[], None],
    ) -> None:
        self._gives = gives
        self._adopt_directories = adopt
        self._keeper = Keeper(decider)
        self._inodes = inodes
        self._numbers = numbers
        self._made = Made()
        self._count = self._keeper.made
        self._room = ctypes.create_string_buffer(_ROOM)

    def would_keep(self, content: Content) -> bool:
        """Whether it may be opened there, as far as is known without looking at how it is open."""
        if not (_fits(content) and content.filesystem.reopens and self._gives()):
            return False
        return self._place(content) is not None

    def keep(self, content: Content, before: Callable[[Content], None]) -> bool:
        """Whether it may be opened there from now on; `before` that, if nothing is open, its watch ends."""
        place = self._place(content)
        told = content.filesystem.told
        if place is None or told is None or not (content.filesystem.reopens and self._gives()):
            return False
        opens = self._part(content, before)
        if opens is None:
            return False
        size, modified = content.told
        name, number = os.path.basename(place.path), self._numbers.of(place.mount)
        try:
            self._keeper.keep(
                Keep(
                    told.handle,
                    place.inode,
                    place.directory,
                    name,
                    size,
                    modified,
                    number,
                    content.filesystem.reopens,
                    content.named_at,
                ),
                content.fd,
                opens,
            )
        except OSError:  # there is no memory
            self._taken(content, opens)
            return False
        return True

    @staticmethod
    def _part(content: Content, before: Callable[[Content], None]) -> Opens | None:
        """How it is open, of which nothing is known here any more; None if that cannot be."""
        if not content.opened:
            before(content)
            return Opens()
        if content.watch < 0 or not _fits(content):
            return None
        handles = content.filesystem.parted(content.opened)
        if handles is None:
            return None
        opens = Opens(content.watch, content.due, handles)
        content.opened, content.watch, content.due = [], -1, 0
        return opens

    @staticmethod
    def _taken(content: Content, opens: Opens) -> None:
        content.watch, content.due = opens.watch, opens.due
        content.opened += [content.filesystem.reopened(content.place.inode, *one) for one in opens.handles]

    def _place(self, content: Content) -> Place | None:
        """By what name it is known, if it is no more than a cache."""
        if content.writers or content.mappers or content.is_dirty or content.is_orphan or content.is_watched:
            return None
        if content.pieces is not None or content.error or content.failure:
            return None
        if content.ours or content.file_lock.is_used:
            return None
        place = self._inodes.find(os.fstat(content.fd))
        if place is None or place.removed or not place.directory or place.inode != content.place.inode:
            return None
        return place if place.filesystem is content.filesystem else None

    def take(self, content: Content) -> None:
        """Not any more: what is open of it is known here, with the watch that it has."""
        assert content.filesystem.told is not None
        self._taken(content, self._keeper.take(content.filesystem.told.handle, content.place.inode))

    # -- what is opened there first -----------------------------------------------------------

    @property
    def has_made(self) -> bool:
        """Whether it has opened files that nobody here knows of yet."""
        return self._count.value != 0

    def adopted(self) -> Iterator[Content]:
        """These files, as contents that it keeps; by one thread at a time."""
        while self._keeper.adopt(self._made):
            content = self._content(self._made)
            if content is None:
                self._abandon(self._made)
            else:
                self._inodes.add(os.fstat(content.fd), content.place)
                yield content

    def _content(self, made: Made) -> Content | None:
        """None if its mount is gone."""
        what, node = made.what, made.node
        mount = self._numbers.mount(what.mount)
        filesystem = mount.filesystem
        if filesystem is None or filesystem.told is None or filesystem.told.handle != what.told:
            return None
        is_root = made.base == mount.inode
        self._adopt_directories()
        above = b"" if is_root else self._inodes.path_of(filesystem, made.base, mount)
        if above is None:
            return None
        path = above + bytes(made.path)[: made.length]
        place = Place(mount, path, what.inode, touched=True, directory=what.directory)
        content = Content(filesystem, place, (what.size, what.modified), made.fd, is_kept=True)
        content.named_at = what.moved
        content.accessed = node.accessed
        content.special = memfd.special_bits(node.mode)
        content.agree()
        content.is_racy = not memfd.has_fine_times()
        return content

    def _abandon(self, made: Made) -> None:
        """Nobody can name it any more: who has it open has what was read, which is no more than a copy."""
        self._keeper.abandon(made.what.told, made.what.inode)
        self._keeper.disclaim(made.what.told, made.what.inode)
        os.close(made.fd)

    def claim(self, filesystem: FileSystem, inode: int) -> None:
        """It opens none first that is claimed here; each is to be disclaimed."""
        if filesystem.told is not None:
            self._keeper.claim(filesystem.told.handle, inode)

    def disclaim(self, filesystem: FileSystem, inode: int) -> None:
        """Claimed once less."""
        if filesystem.told is not None:
            self._keeper.disclaim(filesystem.told.handle, inode)

    # -- what is closed -----------------------------------------------------------------------

    def watches(self, inotify: int) -> None:
        """What is kept is watched by that."""
        self._keeper.watches(inotify)

    def divide(self) -> None:
        """What is closed from now on is told besides what was closed before, not instead."""
        self._keeper.divide()

    def closed(self, watch: int) -> None:
        """An open file of what is kept with this watch is gone, which was told before it was kept."""
        self._keeper.closed(watch)

    def listen(self, inotify: int, stop: int) -> bytes:
        """The events of what is not kept; none when `stop` can be read."""
        return self._keeper.listen(inotify, stop, self._room)


def _fits(content: Content) -> bool:
    """Whether a file that is open can still be opened there."""
    return content.told[0] <= _LARGEST and len(content.opened) < KEPT_HANDLES
