"""File status: modes, `struct stat` in its many layouts, statx, and statfs."""

from __future__ import annotations

from diorama.abi.record import Record, record

__all__ = ["Stat", "StatFs", "StatX", "make_device", "split_device"]

S_IFMT = 0o170000
S_IFSOCK = 0o140000
S_IFLNK = 0o120000
S_IFREG = 0o100000
S_IFBLK = 0o060000
S_IFDIR = 0o040000
S_IFCHR = 0o020000
S_IFIFO = 0o010000
S_ISUID = 0o4000
S_ISGID = 0o2000
S_ISVTX = 0o1000

STATX_TYPE = 0x1
STATX_MODE = 0x2
STATX_NLINK = 0x4
STATX_UID = 0x8
STATX_GID = 0x10
STATX_ATIME = 0x20
STATX_MTIME = 0x40
STATX_CTIME = 0x80
STATX_INO = 0x100
STATX_SIZE = 0x200
STATX_BLOCKS = 0x400
STATX_BASIC_STATS = 0x7FF
STATX_BTIME = 0x800
STATX_MNT_ID = 0x1000
STATX_DIOALIGN = 0x2000
STATX_MNT_ID_UNIQUE = 0x4000
STATX_SUBVOL = 0x8000
STATX_WRITE_ATOMIC = 0x10000
STATX_DIO_READ_ALIGN = 0x20000

STATX_ATTR_COMPRESSED = 0x4
STATX_ATTR_IMMUTABLE = 0x10
STATX_ATTR_APPEND = 0x20
STATX_ATTR_NODUMP = 0x40
STATX_ATTR_ENCRYPTED = 0x800
STATX_ATTR_AUTOMOUNT = 0x1000
STATX_ATTR_MOUNT_ROOT = 0x2000
STATX_ATTR_VERITY = 0x100000
STATX_ATTR_DAX = 0x200000

ST_RDONLY = 0x1
ST_NOSUID = 0x2
ST_NODEV = 0x4
ST_NOEXEC = 0x8
ST_SYNCHRONOUS = 0x10
ST_VALID = 0x20
ST_MANDLOCK = 0x40
ST_NOATIME = 0x400
ST_NODIRATIME = 0x800
ST_RELATIME = 0x1000
ST_NOSYMFOLLOW = 0x2000


def make_device(major: int, minor: int) -> int:
    """A device number as `struct stat` holds it."""
    return (minor & 0xFF) | (major & 0xFFF) << 8 | (minor & ~0xFF) << 12


def split_device(device: int) -> tuple[int, int]:
    """The major and minor number of a device number of `struct stat`."""
    return device >> 8 & 0xFFF, (device & 0xFF) | (device >> 12 & ~0xFF)


_TIMES = (
    "long st_atime, ulong st_atime_nsec, long st_mtime, ulong st_mtime_nsec, long st_ctime,"
    " ulong st_ctime_nsec"
)
_TIMES_32 = (
    "time32 st_atime, u32 st_atime_nsec, time32 st_mtime, u32 st_mtime_nsec, time32 st_ctime,"
    " u32 st_ctime_nsec"
)
_GENERIC = (
    "ulong st_dev, ulong st_ino, u32 st_mode, u32 st_nlink, u32 st_uid, u32 st_gid, ulong st_rdev, ulong _,"
    f" long st_size, s32 st_blksize, s32 _, long st_blocks, {_TIMES}, u32[2] _"
)


@record({
    "stat": (
        "ulong st_dev, ulong st_ino, ulong st_nlink, u32 st_mode, u32 st_uid, u32 st_gid, u32 _,"
        f" ulong st_rdev, long st_size, long st_blksize, long st_blocks, {_TIMES}, long[3] _"
    ),
    "stat@i386": (
        "u32 st_dev, u32 st_ino, u16 st_mode, u16 st_nlink, uid16 st_uid, uid16 st_gid, u32 st_rdev,"
        f" u32 st_size, u32 st_blksize, u32 st_blocks, {_TIMES_32}, u32[2] _"
    ),
    "stat@aarch64": _GENERIC,
    "stat@riscv64": _GENERIC,
    "stat64": (
        "u64 st_dev, u8[4] _, low32 st_ino, u32 st_mode, u32 st_nlink, u32 st_uid, u32 st_gid, u64 st_rdev,"
        f" u8[4] _, s64 st_size, u32 st_blksize, u64 st_blocks, {_TIMES_32}, u64 st_ino"
    ),
    "oldstat": (
        "u16 st_dev, u16 st_ino, u16 st_mode, u16 st_nlink, uid16 st_uid, uid16 st_gid, u16 st_rdev,"
        " u32 st_size, u32 st_atime, u32 st_mtime, u32 st_ctime"
    ),
})
class Stat(Record):
    """The status of a file, stat(3type); `st_dev` and `st_rdev` as `make_device` makes them."""

    st_dev: int = 0
    st_ino: int = 0
    st_mode: int = 0
    st_nlink: int = 1
    st_uid: int = 0
    st_gid: int = 0
    st_rdev: int = 0
    st_size: int = 0
    st_blksize: int = 4096
    st_blocks: int = 0
    st_atime: int = 0
    st_atime_nsec: int = 0
    st_mtime: int = 0
    st_mtime_nsec: int = 0
    st_ctime: int = 0
    st_ctime_nsec: int = 0


@record({
    "statx": (
        "u32 stx_mask, u32 stx_blksize, u64 stx_attributes, u32 stx_nlink, u32 stx_uid, u32 stx_gid,"
        " u16 stx_mode, u16 _, u64 stx_ino, u64 stx_size, u64 stx_blocks, u64 stx_attributes_mask,"
        " s64 stx_atime, u32 stx_atime_nsec, s32 _, s64 stx_btime, u32 stx_btime_nsec, s32 _,"
        " s64 stx_ctime, u32 stx_ctime_nsec, s32 _, s64 stx_mtime, u32 stx_mtime_nsec, s32 _,"
        " u32 stx_rdev_major, u32 stx_rdev_minor, u32 stx_dev_major, u32 stx_dev_minor,"
        " u64 stx_mnt_id, u32 stx_dio_mem_align, u32 stx_dio_offset_align, u64 stx_subvol, u8[88] _"
    )
})
class StatX(Record):
    """The extended status of a file, statx(2); `stx_mask` says which fields are filled."""

    stx_mask: int = STATX_BASIC_STATS
    stx_blksize: int = 4096
    stx_attributes: int = 0
    stx_nlink: int = 1
    stx_uid: int = 0
    stx_gid: int = 0
    stx_mode: int = 0
    stx_ino: int = 0
    stx_size: int = 0
    stx_blocks: int = 0
    stx_attributes_mask: int = 0
    stx_atime: int = 0
    stx_atime_nsec: int = 0
    stx_btime: int = 0
    stx_btime_nsec: int = 0
    stx_ctime: int = 0
    stx_ctime_nsec: int = 0
    stx_mtime: int = 0
    stx_mtime_nsec: int = 0
    stx_rdev_major: int = 0
    stx_rdev_minor: int = 0
    stx_dev_major: int = 0
    stx_dev_minor: int = 0
    stx_mnt_id: int = 0
    stx_dio_mem_align: int = 0
    stx_dio_offset_align: int = 0
    stx_subvol: int = 0


@record({
    "statfs": (
        "long f_type, long f_bsize, ulong f_blocks, ulong f_bfree, ulong f_bavail, ulong f_files,"
        " ulong f_ffree, s32 f_fsid, s32 f_fsid_high, long f_namelen, long f_frsize, long f_flags, long[4] _"
    ),
    "statfs64": (
        "packed u32 f_type, u32 f_bsize, u64 f_blocks, u64 f_bfree, u64 f_bavail, u64 f_files, u64 f_ffree,"
        " s32 f_fsid, s32 f_fsid_high, u32 f_namelen, u32 f_frsize, u32 f_flags, u32[4] _"
    ),
})
class StatFs(Record):
    """The status of a file system, statfs(2)."""

    f_type: int = 0
    f_bsize: int = 4096
    f_blocks: int = 0
    f_bfree: int = 0
    f_bavail: int = 0
    f_files: int = 0
    f_ffree: int = 0
    f_fsid: int = 0
    f_fsid_high: int = 0
    f_namelen: int = 255
    f_frsize: int = 4096
    f_flags: int = 0
