"""Files: opening and closing, and what is known of a file."""

from typing import Annotated, Any, NamedTuple

from diorama.abi import fcntl, stat
from diorama.abi.fcntl import (
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    O_ACCMODE,
    O_CREAT,
    O_EXCL,
    O_NOFOLLOW,
    O_PATH,
    O_TRUNC,
    O_WRONLY,
    OpenHow,
)
from diorama.abi.io import Number
from diorama.abi.stat import Stat, StatX
from diorama.abi.time import Times
from diorama.catalogue.handles import In, InOut, Out
from diorama.catalogue.kinds import (
    AtFlags,
    AtPath,
    DirFd,
    Fd,
    Flags,
    Gid,
    Mode,
    Offset,
    OpenFlags,
    OpenMode,
    Path,
    PathKind,
    Size,
    Uid,
    UInt,
    always,
    given,
    lacking,
)
from diorama.catalogue.model import Request, request
from diorama.catalogue.names import Names
from diorama.catalogue.pointers import InBuffer, OutBuffer

AccessMode = Annotated[int, Flags(Names(fcntl, "F_OK", "R_OK", "W_OK", "X_OK"))]
AccessFlags = Annotated[
    int, Flags(Names(fcntl, "AT_", without=("AT_FDCWD", "AT_REMOVEDIR", "AT_RECURSIVE")))
]
StatXMask = Annotated[int, Flags(Names(stat, "STATX_", without=("STATX_TYPE",)))]
CloseRangeFlags = Annotated[int, Flags(Names(fcntl, "CLOSE_RANGE_"))]
DupFlags = Annotated[int, Flags(Names(fcntl, "O_CLOEXEC"))]


def _follows(flags: int) -> bool:
    return not (flags & O_NOFOLLOW or (flags & O_CREAT and flags & O_EXCL))


class OpenFollows(NamedTuple):
    """A test whether open(2), with the flags in a field, follows a symbolic link in the last component."""

    field: str

    def __call__(self, request: Any) -> bool:
        return _follows(getattr(request, self.field))


def _writes(flags: int) -> bool:
    return not flags & O_PATH and bool(flags & (O_ACCMODE | O_CREAT | O_TRUNC))


OpenPath = Annotated[bytes, PathKind(follow=OpenFollows("flags"), missing=given("flags", O_CREAT))]
OpenHowPath = Annotated[
    bytes,
    PathKind(
        follow=lambda call: _follows(call.how.read().flags),
        missing=lambda call: bool(call.how.read().flags & O_CREAT),
    ),
]


@request(man="openat(2)", returns="fd", writes=lambda call: _writes(call.flags), forms={
    "openat(dirfd, path, flags, mode)": {},
    "open(path, flags, mode)": {"dirfd": AT_FDCWD},
    "creat(path, mode)": {"dirfd": AT_FDCWD, "flags": O_CREAT | O_WRONLY | O_TRUNC},
})
class OpenAt(Request):
    """Open a file, creating it first when the flags say so."""

    dirfd: DirFd
    path: OpenPath
    flags: OpenFlags
    mode: OpenMode


@request(man="openat2(2)", returns="fd", writes=lambda call: _writes(call.how.read().flags), forms={
    "openat2(dirfd, path, how, size)": {},
})
class OpenAt2(Request):
    """Open a file, with rules for the resolution of its path."""

    dirfd: DirFd
    path: OpenHowPath
    how: In[OpenHow]
    size: Size


@request(man="close(2)", forms={"close(fd)": {}})
class Close(Request):
    """Close a descriptor."""

    fd: Fd


@request(man="close_range(2)", classes="desc", forms={"close_range(first, last, flags)": {}})
class CloseRange(Request):
    """Close all descriptors of a range."""

    first: UInt
    last: UInt
    flags: CloseRangeFlags


@request(man="dup(2)", returns="fd", forms={"dup(fd)": {}})
class Dup(Request):
    """Make another descriptor for the same open file description, the lowest that is free."""

    fd: Fd


@request(man="dup(2)", returns="fd", forms={"dup3(fd, newfd, flags)": {}})
class Dup3(Request):
    """Make a certain other descriptor refer to the same open file description."""

    fd: Fd
    newfd: Fd
    flags: DupFlags


@request(man="dup(2)", returns="fd", forms={"dup2(fd, newfd)": {}})
class Dup2(Request):
    """As dup3 without flags, except that a descriptor may be made into itself."""

    fd: Fd
    newfd: Fd


@request(man="stat(2)", forms={
    "newfstatat(dirfd, path, status, flags)": {},
    "fstatat64(dirfd, path, status:stat64, flags)": {},
    "stat(path, status)": {"dirfd": AT_FDCWD, "flags": 0},
    "lstat(path, status)": {"dirfd": AT_FDCWD, "flags": AT_SYMLINK_NOFOLLOW},
    "stat64(path, status:stat64)": {"dirfd": AT_FDCWD, "flags": 0},
    "lstat64(path, status:stat64)": {"dirfd": AT_FDCWD, "flags": AT_SYMLINK_NOFOLLOW},
    "oldstat(path, status:oldstat)": {"dirfd": AT_FDCWD, "flags": 0},
    "oldlstat(path, status:oldstat)": {"dirfd": AT_FDCWD, "flags": AT_SYMLINK_NOFOLLOW},
})
class FStatAt(Request):
    """Get the status of a file by its path."""

    dirfd: DirFd
    path: AtPath
    status: Out[Stat]
    flags: AtFlags


@request(man="stat(2)", forms={
    "fstat(fd, status)": {},
    "fstat64(fd, status:stat64)": {},
    "oldfstat(fd, status:oldstat)": {},
})
class FStat(Request):
    """Get the status of an open file."""

    fd: Fd
    status: Out[Stat]


@request(man="statx(2)", forms={"statx(dirfd, path, flags, mask, status)": {}})
class Statx(Request):
    """Get the extended status of a file."""

    dirfd: DirFd
    path: AtPath
    flags: AtFlags
    mask: StatXMask
    status: Out[StatX]


@request(man="access(2)", writes=lambda call: bool(call.mode & fcntl.W_OK), forms={
    "faccessat2(dirfd, path, mode, flags)": {},
    "faccessat(dirfd, path, mode)": {"flags": 0},
    "access(path, mode)": {"dirfd": AT_FDCWD, "flags": 0},
})
class FAccessAt2(Request):
    """Ask whether a file may be read, written or executed."""

    dirfd: DirFd
    path: AtPath
    mode: AccessMode
    flags: AccessFlags


@request(man="chmod(2)", writes=always, forms={
    "fchmodat2(dirfd, path, mode, flags)": {},
    "fchmodat(dirfd, path, mode)": {"flags": 0},
    "chmod(path, mode)": {"dirfd": AT_FDCWD, "flags": 0},
})
class FChModAt2(Request):
    """Change the permission bits of a file."""

    dirfd: DirFd
    path: AtPath
    mode: Mode
    flags: AtFlags


@request(man="chmod(2)", writes=always, forms={"fchmod(fd, mode)": {}})
class FChMod(Request):
    """Change the permission bits of an open file."""

    fd: Fd
    mode: Mode


@request(man="chown(2)", classes="creds", writes=always, forms={
    "fchownat(dirfd, path, owner, group, flags)": {},
    "chown(path, owner, group)": {"dirfd": AT_FDCWD, "flags": 0},
    "lchown(path, owner, group)": {"dirfd": AT_FDCWD, "flags": AT_SYMLINK_NOFOLLOW},
    "chown@i386(path, owner:16, group:16)": {"dirfd": AT_FDCWD, "flags": 0},
    "lchown@i386(path, owner:16, group:16)": {"dirfd": AT_FDCWD, "flags": AT_SYMLINK_NOFOLLOW},
    "chown32(path, owner, group)": {"dirfd": AT_FDCWD, "flags": 0},
    "lchown32(path, owner, group)": {"dirfd": AT_FDCWD, "flags": AT_SYMLINK_NOFOLLOW},
})
class FChOwnAt(Request):
    """Change the owner and group of a file."""

    dirfd: DirFd
    path: AtPath
    owner: Uid
    group: Gid
    flags: AtFlags


@request(man="chown(2)", classes="creds", writes=always, forms={
    "fchown(fd, owner, group)": {},
    "fchown@i386(fd, owner:16, group:16)": {},
    "fchown32(fd, owner, group)": {},
})
class FChOwn(Request):
    """Change the owner and group of an open file."""

    fd: Fd
    owner: Uid
    group: Gid


TimesPath = Annotated[
    bytes | None,
    PathKind(
        follow=lacking("flags", AT_SYMLINK_NOFOLLOW),
        empty=given("flags", fcntl.AT_EMPTY_PATH),
        nullable=True,
    ),
]


@request(man="utimensat(2)", writes=always, forms={
    "utimensat(dirfd, path, times, flags)": {},
    "utimensat_time64(dirfd, path, times:timespec64, flags)": {},
    "futimesat(dirfd, path, times:timeval)": {"flags": 0},
    "utimes(path, times:timeval)": {"dirfd": AT_FDCWD, "flags": 0},
    "utime(path, times:utimbuf)": {"dirfd": AT_FDCWD, "flags": 0},
})
class UTimeNsAt(Request):
    """Set the access and modification times of a file; a NULL path means what the descriptor refers to."""

    dirfd: DirFd
    path: TimesPath
    times: In[Times]
    flags: AtFlags


@request(man="truncate(2)", writes=always, forms={
    "truncate(path, length)": {},
    "truncate64(path, length:64)": {},
})
class Truncate(Request):
    """Set the length of a file."""

    path: Path
    length: Offset


@request(man="truncate(2)", writes=always, forms={
    "ftruncate(fd, length)": {},
    "ftruncate64(fd, length:64)": {},
})
class FTruncate(Request):
    """Set the length of an open file."""

    fd: Fd
    length: Offset


HandlePath = Annotated[
    bytes,
    PathKind(
        follow=given("flags", fcntl.AT_SYMLINK_FOLLOW), empty=given("flags", fcntl.AT_EMPTY_PATH)
    ),
]


@request(man="name_to_handle_at(2)", forms={
    "name_to_handle_at(dirfd, path, handle, mount_id, flags)": {},
})
class NameToHandleAt(Request):
    """Get a handle by which a file can be opened later."""

    dirfd: DirFd
    path: HandlePath
    handle: InOut[Number]
    mount_id: Out[Number]
    flags: AtFlags


@request(man="open_by_handle_at(2)", returns="fd", writes=lambda call: _writes(call.flags), forms={
    "open_by_handle_at(mount_fd, handle, flags)": {},
})
class OpenByHandleAt(Request):
    """Open a file by its handle."""

    mount_fd: Fd
    handle: In[Number]
    flags: OpenFlags


@request(man="file_getattr(2)", forms={"file_getattr(dirfd, path, attributes, size, flags)": {}})
class FileGetAttr(Request):
    """Get the inode attributes of a file."""

    dirfd: DirFd
    path: AtPath
    attributes: OutBuffer
    size: Size
    flags: AtFlags


@request(man="file_setattr(2)", writes=always, forms={
    "file_setattr(dirfd, path, attributes, size, flags)": {},
})
class FileSetAttr(Request):
    """Set the inode attributes of a file."""

    dirfd: DirFd
    path: AtPath
    attributes: InBuffer
    size: Size
    flags: AtFlags


@request(man="umask(2)", forms={"umask(mask)": {}})
class UMask(Request):
    """Set the permission bits that new files do not get."""

    mask: Mode


