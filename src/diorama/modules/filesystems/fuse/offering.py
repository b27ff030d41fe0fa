"""Offering: what a server is offered at INIT; `docs/howto/fuse.md` says why the rest is not."""

from __future__ import annotations

from typing import Final

from diorama.fuse.flags import Init

__all__ = ["OFFERED"]

OFFERED: Final = (
    Init.ASYNC_READ
    | Init.POSIX_LOCKS
    | Init.FLOCK_LOCKS
    | Init.ATOMIC_O_TRUNC
    | Init.BIG_WRITES
    | Init.DONT_MASK
    | Init.AUTO_INVAL_DATA
    | Init.WRITEBACK_CACHE
    | Init.DO_READDIRPLUS
    | Init.READDIRPLUS_AUTO
    | Init.PARALLEL_DIROPS
    | Init.NO_OPEN_SUPPORT
    | Init.NO_OPENDIR_SUPPORT
    | Init.CACHE_SYMLINKS
    | Init.HANDLE_KILLPRIV
    | Init.EXPLICIT_INVAL_DATA
    | Init.HAS_EXPIRE_ONLY
    | Init.PASSTHROUGH
    | Init.NO_EXPORT_SUPPORT
    | Init.REQUEST_TIMEOUT
)
