"""Keeper: files of servers that are opened for reading natively (`native/fusekept.c`, `fusefirst.c`)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diorama.engine import _native, _told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diorama.engine.decider import Decider

__all__ = ["Keep", "Keeper", "Opens"]


@dataclass(frozen=True, slots=True)
class Keep:
    """A file that is to be opened again, by its name in a directory, as it was: see `struct dio_kept`."""

    told: int
    inode: int
    directory: int
    name: bytes
    size: int
    modified: int
    mount: int
    most: int
    moved: int


@dataclass(frozen=True, slots=True)
class Opens:
    """How a file is open: the watch on it, -1 if there is none, and `due`, how often that tells too much.

    Of each open file its handle, the flags with which it was opened, and what the server said to that.
    """

    watch: int = -1
    due: int = 0
    handles: Sequence[tuple[int, int, int]] = ()


class Keeper:
    """What a decider opens natively, again or first.  Any thread."""

    __slots__ = ("_decider",)

    def __init__(self, decider: Decider) -> None:
        self._decider = decider

    def watches(self, inotify: int) -> None:
        """What is kept is watched by that, or not any more (-1)."""
        _native.lib.dio_decider_watches(self._decider.handle, inotify)

    def keep(self, what: Keep, fd: int, opens: Opens) -> None:
        """A file may be opened for reading without asking; `fd` is its content.

        `opens`: how it is open, at most `KEPT_HANDLES` times.
        """
        native = _told.Kept(
            what.told, what.inode, what.directory, what.size, what.modified, what.name, len(what.name)
        )
        native.mount, native.most, native.moved = what.mount, what.most, what.moved
        taken = _told.Taken(opens.watch, len(opens.handles), opens.due)
        for index, one in enumerate(opens.handles):
            taken.handles[index] = _told.KeptHandle(*one)
        _native.check(
            _native.lib.dio_decider_keep(self._decider.handle, ctypes.byref(native), fd, ctypes.byref(taken))
        )

    def take(self, told: int, inode: int) -> Opens:
        """Take a file back: how it is open."""
        taken = _told.Taken()
        _native.lib.dio_decider_take(self._decider.handle, told, inode, ctypes.byref(taken))
        found = (taken.handles[index] for index in range(taken.count))
        return Opens(taken.watch, taken.due, [(one.handle, one.flags, one.how) for one in found])

    def divide(self) -> None:
        """What is closed from now on is told besides what was closed before, not instead."""
        _native.lib.dio_decider_divide(self._decider.handle)

    def closed(self, watch: int) -> None:
        """An open file of what is kept with this watch is gone, which was told before it was kept."""
        _native.lib.dio_decider_closed(self._decider.handle, watch)

    def abandon(self, told: int, inode: int) -> None:
        """Take a file back of which nobody knows by what name it was opened: its handles are released."""
        _native.lib.dio_decider_abandon(self._decider.handle, told, inode)

    def listen(self, inotify: int, stop: int, room: ctypes.Array[ctypes.c_char]) -> bytes:
        """The next events of inotify(7) that do not concern what is kept; none when `stop` can be read."""
        size = _native.check(
            _native.lib.dio_decider_listen(self._decider.handle, inotify, stop, room, ctypes.sizeof(room))
        )
        return room.raw[:size]

    @property
    def made(self) -> ctypes.c_uint32:
        """How many files were opened natively that are not adopted; it counts by itself."""
        return ctypes.c_uint32.from_address(_native.lib.dio_decider_made(self._decider.handle))

    def adopt(self, made: _told.Made) -> bool:
        """Take the next of them, with a claim to it; whether there is one."""
        return not _native.lib.dio_decider_adopt(self._decider.handle, ctypes.byref(made))

    def claim(self, told: int, inode: int) -> None:
        """A file is not opened natively first, until it was disclaimed as often."""
        _native.check(_native.lib.dio_decider_claim(self._decider.handle, told, inode))

    def disclaim(self, told: int, inode: int) -> None:
        """Claim it once less."""
        _native.lib.dio_decider_disclaim(self._decider.handle, told, inode)
