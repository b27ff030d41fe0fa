"""Operations: what a server can be asked, each declared once.

    LOOKUP  one name in, an entry out
    WRITE   a record and bytes in, a record out

A request is records, then names (each ended by a zero byte), then bytes; a reply is records, then bytes.
From this `diorama.fuse.connection` makes requests and checks replies: the sizes of a reply must be exactly
these, as the kernel has it, and of what may be long, at most what was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from diorama.fuse import attributes, handles, naming, notices, wire
from diorama.fuse.wire import Wire

__all__ = ["NOTICES", "OPERATIONS", "Notice", "Operation"]


@dataclass(frozen=True, slots=True)
class Operation:
    """A request: its name and number, the minor version that has it, and what stands in it and its reply.

    `names` counts the strings of a request, `data` says that bytes follow.  `reply_data` says that bytes may
    follow the records of a reply.  `reply` is None where there is none.  `optional`: a server that
    does not know it answers ENOSYS, once and for all.
    """

    name: str
    number: int
    request: tuple[type[Wire], ...] = ()
    names: int = 0
    data: bool = False
    reply: tuple[type[Wire], ...] | None = ()
    reply_data: bool = False
    since: int = 0
    optional: bool = False


_ENTRY: Final = (wire.EntryOut, wire.Attr)
_ATTR: Final = (wire.AttrOut, wire.Attr)

_ALL: Final = (
    Operation("LOOKUP", 1, names=1, reply=_ENTRY),
    Operation("FORGET", 2, (wire.ForgetIn,), reply=None),
    Operation("GETATTR", 3, (attributes.GetAttrIn,), reply=_ATTR),
    Operation("SETATTR", 4, (attributes.SetAttrIn,), reply=_ATTR),
    Operation("READLINK", 5, reply_data=True),
    Operation("SYMLINK", 6, names=2, reply=_ENTRY),
    Operation("MKNOD", 8, (naming.MknodIn,), names=1, data=True, reply=_ENTRY),
    Operation("MKDIR", 9, (naming.MkdirIn,), names=1, data=True, reply=_ENTRY),
    Operation("UNLINK", 10, names=1),
    Operation("RMDIR", 11, names=1),
    Operation("RENAME", 12, (naming.RenameIn,), names=2),
    Operation("LINK", 13, (naming.LinkIn,), names=1, reply=_ENTRY),
    Operation("OPEN", 14, (handles.OpenIn,), reply=(handles.OpenOut,), optional=True),
    Operation("READ", 15, (handles.ReadIn,), reply_data=True),
    Operation("WRITE", 16, (handles.WriteIn,), data=True, reply=(handles.WriteOut,)),
    Operation("STATFS", 17, reply=(attributes.StatFsOut,)),
    Operation("RELEASE", 18, (handles.ReleaseIn,)),
    Operation("FSYNC", 20, (handles.FsyncIn,), optional=True),
    Operation("SETXATTR", 21, (attributes.SetXattrIn,), names=1, data=True, optional=True),
    Operation("GETXATTR", 22, (attributes.GetXattrIn,), names=1, reply_data=True, optional=True),
    Operation("LISTXATTR", 23, (attributes.GetXattrIn,), reply_data=True, optional=True),
    Operation("REMOVEXATTR", 24, names=1, optional=True),
    Operation("FLUSH", 25, (handles.FlushIn,), optional=True),
    Operation("INIT", 26, (wire.InitIn,), reply=(wire.InitOut,)),
    Operation("OPENDIR", 27, (handles.OpenIn,), reply=(handles.OpenOut,), optional=True),
    Operation("READDIR", 28, (handles.ReadIn,), reply_data=True),
    Operation("RELEASEDIR", 29, (handles.ReleaseIn,)),
    Operation("FSYNCDIR", 30, (handles.FsyncIn,), optional=True),
    Operation("GETLK", 31, (handles.LkIn,), reply=(handles.LkOut,), optional=True),
    Operation("SETLK", 32, (handles.LkIn,), optional=True),
    Operation("SETLKW", 33, (handles.LkIn,), optional=True),
    Operation("ACCESS", 34, (attributes.AccessIn,), optional=True),
    Operation(
        "CREATE", 35, (handles.CreateIn,), names=1, data=True, reply=(*_ENTRY, handles.OpenOut), optional=True
    ),
    Operation("INTERRUPT", 36, (wire.InterruptIn,), reply=None),
    Operation("BMAP", 37, (handles.BmapIn,), reply=(handles.BmapOut,), optional=True),
    Operation("DESTROY", 38),
    Operation(
        "IOCTL", 39, (handles.IoctlIn,), data=True, reply=(handles.IoctlOut,), reply_data=True, since=11
    ),
    Operation("POLL", 40, (handles.PollIn,), reply=(handles.PollOut,), since=11, optional=True),
    Operation("NOTIFY_REPLY", 41, (notices.NotifyRetrieveIn,), data=True, reply=None, since=15),
    Operation("BATCH_FORGET", 42, (wire.BatchForgetIn,), data=True, reply=None, since=16),
    Operation("FALLOCATE", 43, (handles.FAllocateIn,), since=19, optional=True),
    Operation("READDIRPLUS", 44, (handles.ReadIn,), reply_data=True, since=21, optional=True),
    Operation("RENAME2", 45, (naming.Rename2In,), names=2, since=23, optional=True),
    Operation("LSEEK", 46, (handles.LSeekIn,), reply=(handles.LSeekOut,), since=24, optional=True),
    Operation(
        "COPY_FILE_RANGE", 47, (handles.CopyFileRangeIn,), reply=(handles.WriteOut,), since=28, optional=True
    ),
    Operation("SYNCFS", 50, (handles.SyncFsIn,), since=34, optional=True),
    Operation(
        "TMPFILE", 51, (handles.CreateIn,), names=1, reply=(*_ENTRY, handles.OpenOut), since=37, optional=True
    ),
    Operation("STATX", 52, (attributes.StatxIn,), reply=(attributes.StatxOut,), since=39, optional=True),
    Operation(
        "COPY_FILE_RANGE_64",
        53,
        (handles.CopyFileRangeIn,),
        reply=(handles.CopyFileRangeOut,),
        since=45,
        optional=True,
    ),
)

OPERATIONS: Final = {operation.name: operation for operation in _ALL}
"""By name.  Without SETUPMAPPING and REMOVEMAPPING: they are about memory shared with a virtual machine."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification: its code, its record, and what follows: a name, or items of `each` bytes.

    Their number is in the record.
    """

    name: str
    code: int
    record: type[Wire] | None
    length: str | None = None
    is_name: bool = False
    since: int = 0
    each: int = 1


NOTICES: Final = {
    notice.code: notice
    for notice in (
        Notice("POLL", 1, notices.NotifyPollWakeup, since=11),
        Notice("INVAL_INODE", 2, notices.NotifyInvalInode, since=12),
        Notice("INVAL_ENTRY", 3, notices.NotifyInvalEntry, "namelen", is_name=True, since=12),
        Notice("STORE", 4, notices.NotifyStore, "size", since=15),
        Notice("RETRIEVE", 5, notices.NotifyRetrieve, since=15),
        Notice("DELETE", 6, notices.NotifyDelete, "namelen", is_name=True, since=18),
        Notice("RESEND", 7, None, since=40),
        Notice("INC_EPOCH", 8, None, since=44),
        Notice("PRUNE", 9, notices.NotifyPrune, "count", since=45, each=8),
    )
}
"""By code."""
