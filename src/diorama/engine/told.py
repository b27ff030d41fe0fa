"""Told: what a file system has told of names and attributes, where `native/told.c` can answer by it.

It is a cache: nothing needs to be told, and what is told holds until a moment, as time.monotonic() counts;
one that has passed takes back what was told before.  Any thread.

What a FUSE server is asked for there (`native/fuseask.c`) needs the same numbers here and there: the inodes
of its nodes, and who reads its socket.
"""

from __future__ import annotations

import ctypes
import struct
import threading
import weakref
from typing import TYPE_CHECKING, Final

from diorama.engine import _native, _told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["FIRST_NATIVE", "Told", "program_gone"]

FIRST_NATIVE: Final = 1 << 62
"""The least number of a request that is made natively."""
_all: Final[weakref.WeakSet[Told]] = weakref.WeakSet()
_ROOM: Final = 1 << 20
_LISTED: Final = 1 << 17
_NAME: Final = struct.Struct("@QHB5x")
_NSEC: Final = 10**9
_LONGEST: Final = 1 << 62


class _Room(threading.local):
    """Where answers are put, for each thread."""

    def __init__(self) -> None:
        room = bytearray(_ROOM)  # of which only what is used takes memory
        self.view = memoryview(room)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(room))


_room = _Room()


class Told:
    """What one file system has told.

    `fd` is the socket by which it does that: as long as something waits there, and once `end` was called,
    nothing is answered.  `unchecked`: who may do what is for the file system to say.
    """

    __slots__ = ("__weakref__", "_handle", "on_abandoned")

    def __init__(self, fd: int, *, unchecked: bool = False) -> None:
        self.on_abandoned: Callable[[int], None] | None = None
        self._handle = ctypes.c_void_p()
        _native.check(_native.lib.dio_told_new(fd, unchecked, ctypes.byref(self._handle)))
        _all.add(self)

    def __del__(self) -> None:
        if self._handle:
            _native.lib.dio_told_free(self._handle)

    @property
    def handle(self) -> int:
        """The native object, for a decider."""
        return self._handle.value or 0

    def name(self, directory: int, name: bytes, inode: int, until: float) -> None:
        """What a name leads to; 0 if there is none of that name."""
        _native.brief.dio_told_name(self._handle, directory, name, len(name), inode, _moment(until))

    def drop(self, directory: int, name: bytes) -> int | None:
        """Take back what was told of a name: the inode, 0 if there was none of that name; None if nothing."""
        inode = int(_native.brief.dio_told_drop(self._handle, directory, name, len(name)))
        return None if inode < 0 else inode

    def drop_all(self, inode: int) -> None:
        """Take back what was told of all names of an inode; 0: of all names."""
        _native.lib.dio_told_drop_all(self._handle, inode)

    def node(
        self,
        inode: int,
        until: float,
        *,
        number: int = 0,
        size: int = 0,
        blocks: int = 0,
        device: int = 0,
        times: tuple[int, int, int] = (0, 0, 0),
        mode: int = 0,
        links: int = 0,
        uid: int = 0,
        gid: int = 0,
        unchecked: bool = False,
    ) -> None:
        """The status of an inode: as stat(2) has it; times of access, modification and change."""
        values = number, size, blocks, device, *times, mode, links, uid, gid, unchecked
        _native.brief.dio_told_node(
            self._handle, ctypes.byref(_told.ToldNode(inode, *values)), _moment(until)
        )

    def find(self, directory: int, name: bytes) -> int | None:
        """What a name leads to, 0 if there is none of that name; None if that is not known."""
        inode = int(_native.brief.dio_told_find(self._handle, directory, name, len(name)))
        return None if inode < 0 else inode

    def status(self, inode: int) -> _told.ToldNode | None:
        """What is told of an inode; None if nothing that holds."""
        found = _told.ToldNode()
        return found if _native.brief.dio_told_status(self._handle, inode, ctypes.byref(found)) else None

    def changed(self) -> None:
        """Something is not as it was: what was asked for before is not kept."""
        _native.brief.dio_told_changed(self._handle)

    def differs(self, inode: int, *, does: bool) -> None:
        """Whether the view knows better about an inode than what is told of it."""
        _native.check(_native.brief.dio_told_differs(self._handle, inode, does))

    def opens(self, most: int) -> None:
        """Files are opened natively first, and so much of them is read at once; 0: they are not."""
        _native.brief.dio_told_opens(self._handle, most)

    def is_outside(self) -> None:
        """Calls of the server come otherwise than those of the programs that it serves."""
        _native.brief.dio_told_outside(self._handle)

    def silence(self, *, holds: bool) -> None:
        """Whether what was told holds, or something that was read from the socket is being worked on."""
        _native.brief.dio_told_silence(self._handle, holds)

    # -- the nodes of a server ----------------------------------------------------------------

    def enter(self, node: int, generation: int) -> int:
        """The inode of a node that the server has told of, which is a reference to it."""
        inode = int(_native.brief.dio_told_enter(self._handle, node, generation))
        if not inode:
            raise MemoryError
        return inode

    def found(self, inode: int, directory: int, name: bytes) -> None:
        """A directory was found by a name."""
        _native.brief.dio_told_found(self._handle, inode, directory, name, len(name))

    @property
    def moved(self) -> int:
        """How often a directory was found by another name than before; to be compared."""
        return int(_native.brief.dio_told_moved(self._handle))

    def number(self, inode: int) -> int:
        """The server's number of an inode; 0 if it is forgotten."""
        return int(_native.brief.dio_told_number(self._handle, inode))

    def shown(self, inode: int) -> int:
        """The number by which programs know an inode; 0 if the server has not told it yet."""
        return int(_native.brief.dio_told_shown(self._handle, inode))

    def above(self, inode: int) -> int:
        """The directory in which one was found last; 0 if that is not known."""
        return int(_native.brief.dio_told_above(self._handle, inode))

    def latest(self, node: int) -> int:
        """The inode that has got a number last; 0 if there is none."""
        return int(_native.brief.dio_told_latest(self._handle, node))

    def leave(self, inode: int) -> int:
        """Forget an inode: how many references to its node there are."""
        return int(_native.brief.dio_told_leave(self._handle, inode))

    # -- listings of its directories ----------------------------------------------------------

    def lists(self, *, plus: bool, opens: bool) -> None:
        """Whether the server can do READDIRPLUS, and opens directories."""
        _native.brief.dio_told_lists(self._handle, plus, opens)

    def left_listing(self) -> int:
        """A directory that was begun to be listed for the call that this thread answers; 0 if there is none.

        Once: it is to be asked for, since the server is at it.
        """
        return int(_native.brief.dio_told_left_listing(self._handle))

    @property
    def list_mark(self) -> int:
        """To be taken before names are asked for."""
        return int(_native.brief.dio_told_list_mark(self._handle))

    def list(self, inode: int, mark: int, names: Iterable[tuple[int, int, bytes]], position: int) -> bytes:
        """Keep the names in a directory: the number, the type and the name of each.  As `listed`."""
        data = b"".join([_NAME.pack(number, len(name), type) + name for number, type, name in names])
        size = _native.lib.dio_told_list(
            self._handle, inode, mark, data, len(data), position, _room.address, _LISTED
        )
        _native.check(size)
        return bytes(_room.view[:size])

    def listed(self, inode: int, position: int) -> bytes | None:
        """Some entries of a directory behind a position, as of getdents64(2); None if it must be asked for.

        They have the offsets that programs see.
        """
        size = _native.lib.dio_told_listed(self._handle, inode, position, _room.address, _LISTED)
        return None if size < 0 else bytes(_room.view[:size])

    def list_moved(self, fd: int, old: int, new: int) -> bool:
        """Who was told what is behind a position of an open directory goes on; False if another has."""
        return bool(_native.lib.dio_told_list_moved(self._handle, fd, old, new))

    def list_changed(self, inode: int) -> None:
        """A name was made or removed in a directory."""
        _native.lib.dio_told_list_changed(self._handle, inode)

    # -- asking it ----------------------------------------------------------------------------

    def open(self, *, may_ask: bool) -> None:
        """Whether the server may be asked."""
        _native.brief.dio_told_open(self._handle, may_ask)

    def read(self, *, wait: bool) -> bool:
        """Begin to read the socket, if nobody does, or as soon as nobody does; whether that is so."""
        return not _native.lib.dio_told_read(self._handle, wait)

    def unread(self) -> None:
        """Read no longer."""
        _native.brief.dio_told_unread(self._handle)

    @property
    def asked(self) -> int:
        """How often was asked natively; to be compared."""
        return int(_native.brief.dio_told_asked(self._handle))

    def ask_node(self, tid: int, inode: int) -> _told.ToldNode | None:
        """Ask for the status of an inode as a thread; None if no answer has come that could be taken."""
        found = _told.ToldNode()
        is_found = _native.lib.dio_told_ask_node(self._handle, tid, inode, ctypes.byref(found))
        return found if is_found else None

    def ask_name(self, tid: int, directory: int, name: bytes) -> tuple[_told.ToldNode, bool] | None:
        """The same of a name: its status, and whether that is more than its type; inode 0: there is none."""
        found = _told.ToldNode()
        ask = _native.lib.dio_told_ask_name
        known = ask(self._handle, tid, directory, name, len(name), ctypes.byref(found))
        return (found, known > 1) if known else None

    def ask_open(self, tid: int, inode: int, flags: int) -> tuple[int, int] | None:
        """Have a file opened for a thread: the handle, and what the server said to it; None as `ask_node`.

        What else the server says is an `OSError`.
        """
        handle, how = ctypes.c_uint64(), ctypes.c_uint32()
        references = ctypes.byref(handle), ctypes.byref(how)
        opened = _native.check(_native.lib.dio_told_ask_open(self._handle, tid, inode, flags, *references))
        return (handle.value, how.value) if opened else None

    def exchange(self, message: bytes) -> bytes | None:
        """Send a request, and give its answer if that comes next and soon; b"" if it is to be waited for.

        None if it is not sent.
        """
        size = _native.lib.dio_told_exchange(self._handle, message, len(message), _room.address, _ROOM)
        return None if size < 0 else bytes(_room.view[:size])

    def watch(self, fd: int) -> None:
        """Have an eventfd written to when somebody asks; -1: none."""
        _native.lib.dio_told_watch(self._handle, fd)

    def disturb(self) -> None:
        """Write to it now, once."""
        _native.brief.dio_told_disturb(self._handle)

    def is_busy(self, node: int) -> bool:
        """Whether a request about a node, made natively, waits for its answer."""
        return bool(_native.brief.dio_told_busy(self._handle, node))

    def post(self, opcode: int, node: int) -> int:
        """A number for a request that nobody will wait for, as one that is left; 0 if there are too many."""
        return int(_native.brief.dio_told_post(self._handle, opcode, node))

    def adopt(self, opcode: int, node: int, names: tuple[bytes, ...]) -> int:
        """The request that this thread has left natively, and that asks for just that; 0 if there is none."""
        name = names[0] if names else None
        return int(_native.brief.dio_told_adopt(self._handle, opcode, node, name))

    def abandon(self) -> None:
        """Tell `on_abandoned` of the requests that this thread has left for a program that is gone."""
        if self.on_abandoned is not None:
            while unique := int(_native.brief.dio_told_abandon(self._handle)):
                self.on_abandoned(unique)

    def give_up(self) -> bool:
        """Whether this thread has left a request natively, to which there will be no answer now."""
        return bool(_native.brief.dio_told_give_up(self._handle))

    def find_left(self, unique: int) -> _told.Left | None:
        """A request that was left natively, by its number; it is the caller's now."""
        found = _told.Left()
        return None if _native.brief.dio_told_find_left(self._handle, unique, ctypes.byref(found)) else found

    def give(self, asked: _told.Left, handle: int, how: int) -> None:
        """A file was opened for a thread that has left the request natively: `given` for it."""
        _native.lib.dio_told_give(self._handle, ctypes.byref(asked), handle, how)

    def given(self, node: int, flags: int) -> tuple[int, int] | None:
        """The handle, and what the server said to it, of a file that was opened natively for this thread."""
        handle, how = ctypes.c_uint64(), ctypes.c_uint32()
        references = ctypes.byref(handle), ctypes.byref(how)
        found = _native.brief.dio_told_given(self._handle, node, flags, *references)
        return (handle.value, how.value) if found else None

    def end(self) -> None:
        """Nothing holds any more; the socket may be closed."""
        _native.lib.dio_told_end(self._handle)


def program_gone() -> None:
    """Nobody waits any more for what this thread has asked natively."""
    for told in list(_all):
        told.abandon()


def _moment(until: float) -> int:
    return 0 if until <= 0 else min(int(until * _NSEC), _LONGEST)
