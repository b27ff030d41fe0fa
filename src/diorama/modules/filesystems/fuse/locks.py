"""Locks: how a server is asked for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diorama.abi.fcntl import F_UNLCK
from diorama.fuse.flags import LK_FLOCK
from diorama.fuse.handles import LkIn, LkOut
from diorama.interfaces.filesystem import Lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from diorama.fuse.connection import Reply
    from diorama.modules.filesystems.fuse.file import Asking

__all__ = ["set_lock", "test_lock"]


def _asked(handle: int, lock: Lock) -> LkIn:
    pid = 0 if lock.kind == F_UNLCK else lock.pid
    how = LK_FLOCK if lock.whole else 0
    return LkIn(handle, lock.owner, lock.start, lock.end, lock.kind, pid, how)


def test_lock(ask: Callable[..., Reply], inode: int, handle: int, lock: Lock) -> Lock | None:
    """What is in the way of a lock."""
    (found,) = ask("GETLK", inode, _asked(handle, lock)).records
    assert isinstance(found, LkOut)
    return None if found.type == F_UNLCK else Lock(found.type, found.start, found.end, pid=found.pid)


def set_lock(asking: Asking, inode: int, handle: int, lock: Lock, *, waits: bool) -> None:
    """Set a lock, or take it away.

    Who is killed while he waits for it may get it after all, and gives it back then.
    """
    free = LkIn(handle, lock.owner, lock.start, lock.end, F_UNLCK, 0, LK_FLOCK if lock.whole else 0)

    def give_back(_done: Reply) -> None:
        asking.post("SETLK", inode, free)

    name = "SETLKW" if waits and lock.kind != F_UNLCK else "SETLK"
    asking.ask(name, inode, _asked(handle, lock), late=give_back if waits else None)
