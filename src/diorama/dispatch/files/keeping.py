"""Keeping: files that nobody has open, and that are opened for reading again without asking here.

That is done natively (`native/fusekept.c`), where a program can be given a descriptor.  Only what is plainly
a cache of what its server has is kept: nothing of it is to be saved, and there is nothing to tell of it.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Final

from diorama.engine.decider import Decider, Keep

if TYPE_CHECKING:
    from collections.abc import Callable

    from diorama.dispatch.files.content import Content
    from diorama.view.filesystem import OpenFile
    from diorama.view.inodes import Inodes
    from diorama.view.mounts import Mount, Place

__all__ = ["Keeping"]

_ROOM: Final = 1 << 16


class Keeping:
    """The keeper of one view.

    `number` gives the decider's number of a mount; `gives`: whether programs can be given descriptors.
    """

    def __init__(
        self, decider: Decider, inodes: Inodes, number: Callable[[Mount], int], gives: Callable[[], bool]
    ) -> None:
        self._gives = gives
        self._decider = decider
        self._inodes = inodes
        self._number = number
        self._room = ctypes.create_string_buffer(_ROOM)

    def keep(self, content: Content, before: Callable[[Content], None]) -> bool:
        """Whether it may be opened there from now on; `before` that its watch is another."""
        place = self._place(content)
        told = content.filesystem.told
        if place is None or told is None or not (content.filesystem.reopens and self._gives()):
            return False
        before(content)
        size, modified = content.told
        name, number = os.path.basename(place.path), self._number(place.mount)
        try:
            self._decider.keep(
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
            )
        except OSError:
            return False  # there is no memory
        return True

    def _place(self, content: Content) -> Place | None:
        """By what name it is known, if it is no more than a cache."""
        if content.writers or content.mappers or content.is_dirty or content.is_orphan or content.is_watched:
            return None
        if content.pieces is not None or content.error or content.failure:
            return None
        place = self._inodes.find(os.fstat(content.fd))
        if place is None or place.removed or not place.directory or place.inode != content.place.inode:
            return None
        return place if place.filesystem is content.filesystem else None

    def take(self, content: Content) -> tuple[int, list[OpenFile]]:
        """Not any more: the watch on it, -1 if there is none, and what is open of it."""
        filesystem, inode = content.filesystem, content.place.inode
        assert filesystem.told is not None
        watch, opened = self._decider.take(filesystem.told.handle, inode)
        return watch, [filesystem.reopened(inode, *one) for one in opened]

    def watches(self, inotify: int) -> None:
        """What is kept is watched by that."""
        self._decider.watches(inotify)

    def listen(self, inotify: int, stop: int) -> bytes:
        """The events of what is not kept; none when `stop` can be read."""
        return self._decider.listen(inotify, stop, self._room)
