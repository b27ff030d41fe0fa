"""Told: what a file system has told of names and attributes, where `native/told.c` can answer by it.

It is a cache: nothing needs to be told, and what is told holds until a moment, as time.monotonic() counts;
one that has passed takes back what was told before.  Any thread.
"""

from __future__ import annotations

import ctypes
from typing import Final

from diorama.engine import _native

__all__ = ["Told"]

_NSEC: Final = 10**9
_LONGEST: Final = 1 << 62


class Told:
    """What one file system has told.

    `fd` is the socket by which it does that: as long as something waits there, and once `end` was called,
    nothing is answered.
    """

    __slots__ = ("_handle",)

    def __init__(self, fd: int) -> None:
        self._handle = ctypes.c_void_p()
        _native.check(_native.lib.dio_told_new(fd, ctypes.byref(self._handle)))

    def __del__(self) -> None:
        if self._handle:
            _native.lib.dio_told_free(self._handle)

    @property
    def handle(self) -> int:
        """The native object, for a decider."""
        return self._handle.value or 0

    def name(self, directory: int, name: bytes, inode: int, until: float) -> None:
        """What a name leads to; 0 if there is none of that name."""
        _native.lib.dio_told_name(self._handle, directory, name, len(name), inode, _moment(until))

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
        _native.lib.dio_told_node(
            self._handle, ctypes.byref(_native.ToldNode(inode, *values)), _moment(until)
        )

    def differs(self, inode: int, *, does: bool) -> None:
        """Whether the view knows better about an inode than what is told of it."""
        _native.check(_native.lib.dio_told_differs(self._handle, inode, does))

    def silence(self, *, holds: bool) -> None:
        """Whether what was told holds, or something that was read from the socket is being worked on."""
        _native.lib.dio_told_silence(self._handle, holds)

    def end(self) -> None:
        """Nothing holds any more; the socket may be closed."""
        _native.lib.dio_told_end(self._handle)


def _moment(until: float) -> int:
    return 0 if until <= 0 else min(int(until * _NSEC), _LONGEST)
