"""Notices: the records of what a server tells without being asked."""

from __future__ import annotations

from diorama.fuse.wire import Wire, record

__all__ = [
    "NotifyDelete",
    "NotifyInvalEntry",
    "NotifyInvalInode",
    "NotifyPollWakeup",
    "NotifyPrune",
    "NotifyRetrieve",
    "NotifyRetrieveIn",
    "NotifyStore",
]



@record({"fuse_notify_poll_wakeup_out": "u64 kh"})
class NotifyPollWakeup(Wire):
    """Ask again by POLL."""

    kh: int = 0


@record({"fuse_notify_inval_inode_out": "u64 ino, s64 off, s64 len"})
class NotifyInvalInode(Wire):
    """Attributes are no longer true, nor the content from `off` on; with a negative `off` only attributes."""

    ino: int = 0
    off: int = 0
    len: int = 0


@record({"fuse_notify_inval_entry_out": "u64 parent, u32 namelen, u32 flags"})
class NotifyInvalEntry(Wire):
    """A name is no longer true."""

    parent: int = 0
    namelen: int = 0
    flags: int = 0


@record({"fuse_notify_delete_out": "u64 parent, u64 child, u32 namelen, u32 _"})
class NotifyDelete(Wire):
    """A name was removed."""

    parent: int = 0
    child: int = 0
    namelen: int = 0


@record({"fuse_notify_prune_out": "u32 count, u32 _, u64 _"})
class NotifyPrune(Wire):
    """Nodes of which nobody need know any more, before their numbers."""

    count: int = 0


@record({"fuse_notify_store_out": "u64 nodeid, u64 offset, u32 size, u32 _"})
class NotifyStore(Wire):
    """Content for the cache, before its bytes."""

    nodeid: int = 0
    offset: int = 0
    size: int = 0


@record({"fuse_notify_retrieve_out": "u64 notify_unique, u64 nodeid, u64 offset, u32 size, u32 _"})
class NotifyRetrieve(Wire):
    """What the cache has is wanted."""

    notify_unique: int = 0
    nodeid: int = 0
    offset: int = 0
    size: int = 0


@record({"fuse_notify_retrieve_in": "u64 _, u64 offset, u32 size, u32 _, u64 _, u64 _"})
class NotifyRetrieveIn(Wire):
    """What the cache has, before its bytes; sent as NOTIFY_REPLY."""

    offset: int = 0
    size: int = 0
