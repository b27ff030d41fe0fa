"""Handles: the records of requests about open files."""

from __future__ import annotations

from diorama.fuse.wire import Wire, record

__all__ = [
    "BackingMap",
    "BmapIn",
    "BmapOut",
    "CopyFileRangeIn",
    "CopyFileRangeOut",
    "CreateIn",
    "FAllocateIn",
    "FlushIn",
    "FsyncIn",
    "IoctlIn",
    "IoctlIovec",
    "IoctlOut",
    "LSeekIn",
    "LSeekOut",
    "LkIn",
    "LkOut",
    "OpenIn",
    "OpenOut",
    "PollIn",
    "PollOut",
    "ReadIn",
    "ReleaseIn",
    "SyncFsIn",
    "WriteIn",
    "WriteOut",
]



@record({"fuse_open_in": "u32 flags, u32 open_flags"})
class OpenIn(Wire):
    """The flags of open(2)."""

    flags: int = 0
    open_flags: int = 0


@record({"fuse_create_in": "u32 flags, u32 mode, u32 umask, u32 open_flags"})
class CreateIn(Wire):
    """A new regular file, opened."""

    flags: int = 0
    mode: int = 0
    umask: int = 0
    open_flags: int = 0


@record({"fuse_open_out": "u64 fh, u32 open_flags, s32 backing_id"})
class OpenOut(Wire):
    """The server's handle, `FOpen` bits and, with PASSTHROUGH, what has the content."""

    fh: int = 0
    open_flags: int = 0
    backing_id: int = 0


@record({"fuse_release_in": "u64 fh, u32 flags, u32 release_flags, u64 lock_owner"})
class ReleaseIn(Wire):
    """The last descriptor of an open file was closed."""

    fh: int = 0
    flags: int = 0
    release_flags: int = 0
    lock_owner: int = 0


@record({"fuse_flush_in": "u64 fh, u32 _, u32 _, u64 lock_owner"})
class FlushIn(Wire):
    """A descriptor was closed."""

    fh: int = 0
    lock_owner: int = 0


@record({"fuse_fsync_in": "u64 fh, u32 fsync_flags, u32 _"})
class FsyncIn(Wire):
    """Make an open file lasting."""

    fh: int = 0
    fsync_flags: int = 0


@record({
    "fuse_read_in": "u64 fh, u64 offset, u32 size, u32 read_flags, u64 lock_owner, u32 flags, u32 _",
})
class ReadIn(Wire):
    """Which bytes, or which entries from which offset on."""

    fh: int = 0
    offset: int = 0
    size: int = 0
    read_flags: int = 0
    lock_owner: int = 0
    flags: int = 0


@record({
    "fuse_write_in": "u64 fh, u64 offset, u32 size, u32 write_flags, u64 lock_owner, u32 flags, u32 _",
})
class WriteIn(Wire):
    """Where the bytes behind it go."""

    fh: int = 0
    offset: int = 0
    size: int = 0
    write_flags: int = 0
    lock_owner: int = 0
    flags: int = 0


@record({"fuse_write_out": "u32 size, u32 _"})
class WriteOut(Wire):
    """How many bytes were written."""

    size: int = 0


@record({
    "fuse_lk_in": "u64 fh, u64 owner, u64 start, u64 end, u32 type, u32 pid, u32 lk_flags, u32 _",
})
class LkIn(Wire):
    """A lock to be tested or set; `end` is included."""

    fh: int = 0
    owner: int = 0
    start: int = 0
    end: int = 0
    type: int = 0
    pid: int = 0
    lk_flags: int = 0


@record({"fuse_lk_out": "u64 start, u64 end, u32 type, u32 pid"})
class LkOut(Wire):
    """The lock that is in the way."""

    start: int = 0
    end: int = 0
    type: int = 0
    pid: int = 0


@record({"fuse_fallocate_in": "u64 fh, u64 offset, u64 length, u32 mode, u32 _"})
class FAllocateIn(Wire):
    """fallocate(2)."""

    fh: int = 0
    offset: int = 0
    length: int = 0
    mode: int = 0


@record({"fuse_lseek_in": "u64 fh, u64 offset, u32 whence, u32 _"})
class LSeekIn(Wire):
    """SEEK_DATA or SEEK_HOLE."""

    fh: int = 0
    offset: int = 0
    whence: int = 0


@record({"fuse_lseek_out": "u64 offset"})
class LSeekOut(Wire):
    """Where it is."""

    offset: int = 0


@record({
    "fuse_copy_file_range_in": "u64 fh_in, u64 off_in, u64 nodeid_out, u64 fh_out, u64 off_out, u64 len, "
    "u64 flags"
})
class CopyFileRangeIn(Wire):
    """copy_file_range(2); the reply is a `CopyFileRangeOut`, before 7.45 a `WriteOut`."""

    fh_in: int = 0
    off_in: int = 0
    nodeid_out: int = 0
    fh_out: int = 0
    off_out: int = 0
    len: int = 0
    flags: int = 0


@record({"fuse_copy_file_range_out": "u64 bytes_copied"})
class CopyFileRangeOut(Wire):
    """How many bytes were copied."""

    bytes_copied: int = 0


@record({"fuse_backing_map": "s32 fd, u32 flags, u64 padding"})
class BackingMap(Wire):
    """What a server lends by ioctl(2) of its device: an open file of its own."""

    fd: int = 0
    flags: int = 0
    padding: int = 0


@record({"fuse_bmap_in": "u64 block, u32 blocksize, u32 _"})
class BmapIn(Wire):
    """A block of a file."""

    block: int = 0
    blocksize: int = 0


@record({"fuse_bmap_out": "u64 block"})
class BmapOut(Wire):
    """Its block on the device."""

    block: int = 0


@record({"fuse_ioctl_in": "u64 fh, u32 flags, u32 cmd, u64 arg, u32 in_size, u32 out_size"})
class IoctlIn(Wire):
    """ioctl(2), before `in_size` bytes."""

    fh: int = 0
    flags: int = 0
    cmd: int = 0
    arg: int = 0
    in_size: int = 0
    out_size: int = 0


@record({"fuse_ioctl_iovec": "u64 base, u64 len"})
class IoctlIovec(Wire):
    """Memory of the program that an ioctl wants to see."""

    base: int = 0
    len: int = 0


@record({"fuse_ioctl_out": "s32 result, u32 flags, u32 in_iovs, u32 out_iovs"})
class IoctlOut(Wire):
    """The result, before its data; with IOCTL_RETRY, before `IoctlIovec`s."""

    result: int = 0
    flags: int = 0
    in_iovs: int = 0
    out_iovs: int = 0


@record({"fuse_poll_in": "u64 fh, u64 kh, u32 flags, u32 events"})
class PollIn(Wire):
    """poll(2); `kh` comes back in the notification."""

    fh: int = 0
    kh: int = 0
    flags: int = 0
    events: int = 0


@record({"fuse_poll_out": "u32 revents, u32 _"})
class PollOut(Wire):
    """What is ready."""

    revents: int = 0


@record({"fuse_syncfs_in": "u64 _"})
class SyncFsIn(Wire):
    """Make everything lasting."""
