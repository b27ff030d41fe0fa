"""Attributes: the records of requests about the status of an inode and its extended attributes."""

from __future__ import annotations

from diorama.fuse.wire import Wire, record

__all__ = [
    "AccessIn",
    "GetAttrIn",
    "GetXattrIn",
    "GetXattrOut",
    "SetAttrIn",
    "SetXattrIn",
    "StatFsOut",
    "StatxIn",
    "StatxOut",
]



@record({"fuse_getattr_in": "u32 getattr_flags, u32 _, u64 fh"})
class GetAttrIn(Wire):
    """Whose attributes: with GETATTR_FH those of an open file."""

    getattr_flags: int = 0
    fh: int = 0


@record({
    "fuse_setattr_in": "u32 valid, u32 _, u64 fh, u64 size, u64 lock_owner, u64 atime, u64 mtime, u64 ctime, "
    "u32 atimensec, u32 mtimensec, u32 ctimensec, u32 mode, u32 _, u32 uid, u32 gid, u32 _"
})
class SetAttrIn(Wire):
    """New attributes; `valid` holds `FAttr` bits."""

    valid: int = 0
    fh: int = 0
    size: int = 0
    lock_owner: int = 0
    atime: int = 0
    mtime: int = 0
    ctime: int = 0
    atimensec: int = 0
    mtimensec: int = 0
    ctimensec: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0


@record({"fuse_statx_in": "u32 getattr_flags, u32 _, u64 fh, u32 sx_flags, u32 sx_mask"})
class StatxIn(Wire):
    """As `GetAttrIn`, with the flags and the mask of statx(2)."""

    getattr_flags: int = 0
    fh: int = 0
    sx_flags: int = 0
    sx_mask: int = 0


@record({
    "fuse_statx_out": "u64 attr_valid, u32 attr_valid_nsec, u32 flags, u64[2] _, "
    "u32 mask, u32 blksize, u64 attributes, u32 nlink, u32 uid, u32 gid, u16 mode, u16 _, u64 ino, u64 size, "
    "u64 blocks, u64 attributes_mask, s64 atime, u32 atimensec, s32 _, s64 btime, u32 btimensec, s32 _, "
    "s64 ctime, u32 ctimensec, s32 _, s64 mtime, u32 mtimensec, s32 _, u32 rdev_major, u32 rdev_minor, "
    "u32 dev_major, u32 dev_minor, u64[14] _"
})
class StatxOut(Wire):
    """Extended attributes of an inode, statx(2)."""

    attr_valid: int = 0
    attr_valid_nsec: int = 0
    flags: int = 0
    mask: int = 0
    blksize: int = 0
    attributes: int = 0
    nlink: int = 0
    uid: int = 0
    gid: int = 0
    mode: int = 0
    ino: int = 0
    size: int = 0
    blocks: int = 0
    attributes_mask: int = 0
    atime: int = 0
    atimensec: int = 0
    btime: int = 0
    btimensec: int = 0
    ctime: int = 0
    ctimensec: int = 0
    mtime: int = 0
    mtimensec: int = 0
    rdev_major: int = 0
    rdev_minor: int = 0
    dev_major: int = 0
    dev_minor: int = 0


@record({"fuse_access_in": "u32 mask, u32 _"})
class AccessIn(Wire):
    """The bits of access(2)."""

    mask: int = 0


@record({
    "fuse_setxattr_in": "u32 size, u32 flags, u32 setxattr_flags, u32 _",
    "short": "u32 size, u32 flags",
})
class SetXattrIn(Wire):
    """A value's size, before name and value; `short` unless SETXATTR_EXT was agreed upon."""

    size: int = 0
    flags: int = 0
    setxattr_flags: int = 0


@record({"fuse_getxattr_in": "u32 size, u32 _"})
class GetXattrIn(Wire):
    """The room that there is; 0 asks for the size."""

    size: int = 0


@record({"fuse_getxattr_out": "u32 size, u32 _"})
class GetXattrOut(Wire):
    """The size, when that was asked."""

    size: int = 0


@record({
    "fuse_statfs_out": "u64 blocks, u64 bfree, u64 bavail, u64 files, u64 ffree, u32 bsize, u32 namelen, "
    "u32 frsize, u32 _, u32[6] _"
})
class StatFsOut(Wire):
    """The status of the file system."""

    blocks: int = 0
    bfree: int = 0
    bavail: int = 0
    files: int = 0
    ffree: int = 0
    bsize: int = 0
    namelen: int = 0
    frsize: int = 0
