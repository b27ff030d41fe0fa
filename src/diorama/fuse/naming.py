"""Naming: the records of requests that make, move and remove names."""

from __future__ import annotations

from diorama.fuse.wire import Wire, record

__all__ = [
    "LinkIn",
    "MkdirIn",
    "MknodIn",
    "Rename2In",
    "RenameIn",
]



@record({"fuse_mknod_in": "u32 mode, u32 rdev, u32 umask, u32 _"})
class MknodIn(Wire):
    """A new file of any type."""

    mode: int = 0
    rdev: int = 0
    umask: int = 0


@record({"fuse_mkdir_in": "u32 mode, u32 umask"})
class MkdirIn(Wire):
    """A new directory."""

    mode: int = 0
    umask: int = 0


@record({"fuse_rename_in": "u64 newdir"})
class RenameIn(Wire):
    """Where to, before the old and the new name."""

    newdir: int = 0


@record({"fuse_rename2_in": "u64 newdir, u32 flags, u32 _"})
class Rename2In(Wire):
    """As `RenameIn`, with the flags of renameat2(2)."""

    newdir: int = 0
    flags: int = 0


@record({"fuse_link_in": "u64 oldnodeid"})
class LinkIn(Wire):
    """What gets another name."""

    oldnodeid: int = 0
