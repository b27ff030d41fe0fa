"""Paths: directory entries, links, and the directories that a process stands in."""

from typing import Annotated

from diorama.abi import fcntl
from diorama.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, RENAME_EXCHANGE
from diorama.catalogue.kinds import (
    AtFlags,
    Device,
    DirFd,
    Fd,
    Flags,
    LinkPath,
    Mode,
    NewPath,
    Path,
    PathKind,
    Size,
    Text,
    always,
    given,
    lacking,
    never,
)
from diorama.catalogue.model import Request, request
from diorama.catalogue.names import Names
from diorama.catalogue.pointers import OutBuffer

RemoveFlags = Annotated[int, Flags(Names(fcntl, "AT_REMOVEDIR"))]
RenameFlags = Annotated[int, Flags(Names(fcntl, "RENAME_"))]
RenamePath = Annotated[bytes, PathKind(follow=never, missing=lacking("flags", RENAME_EXCHANGE))]
LinkedPath = Annotated[
    bytes, PathKind(follow=given("flags", AT_SYMLINK_FOLLOW), empty=given("flags", AT_EMPTY_PATH))
]


@request(man="mkdir(2)", writes=always, forms={
    "mkdirat(dirfd, path, mode)": {},
    "mkdir(path, mode)": {"dirfd": AT_FDCWD},
})
class MkDirAt(Request):
    """Make a directory."""

    dirfd: DirFd
    path: NewPath
    mode: Mode


@request(man="mknod(2)", writes=always, forms={
    "mknodat(dirfd, path, mode, device)": {},
    "mknod(path, mode, device)": {"dirfd": AT_FDCWD},
})
class MkNodAt(Request):
    """Make a file, a FIFO, a socket or a device node."""

    dirfd: DirFd
    path: NewPath
    mode: Mode
    device: Device


@request(man="unlink(2)", writes=always, forms={
    "unlinkat(dirfd, path, flags)": {},
    "unlink(path)": {"dirfd": AT_FDCWD, "flags": 0},
    "rmdir(path)": {"dirfd": AT_FDCWD, "flags": AT_REMOVEDIR},
})
class UnlinkAt(Request):
    """Remove a file, or with AT_REMOVEDIR an empty directory."""

    dirfd: DirFd
    path: LinkPath
    flags: RemoveFlags


@request(man="rename(2)", writes=always, forms={
    "renameat2(olddirfd, oldpath, newdirfd, newpath, flags)": {},
    "renameat(olddirfd, oldpath, newdirfd, newpath)": {"flags": 0},
    "rename(oldpath, newpath)": {"olddirfd": AT_FDCWD, "newdirfd": AT_FDCWD, "flags": 0},
})
class RenameAt2(Request):
    """Give a file another name."""

    olddirfd: DirFd
    oldpath: LinkPath
    newdirfd: DirFd
    newpath: RenamePath
    flags: RenameFlags


@request(man="link(2)", writes=always, forms={
    "linkat(olddirfd, oldpath, newdirfd, newpath, flags)": {},
    "link(oldpath, newpath)": {"olddirfd": AT_FDCWD, "newdirfd": AT_FDCWD, "flags": 0},
})
class LinkAt(Request):
    """Give a file one more name."""

    olddirfd: DirFd
    oldpath: LinkedPath
    newdirfd: DirFd
    newpath: NewPath
    flags: AtFlags


@request(man="symlink(2)", writes=always, forms={
    "symlinkat(target, dirfd, path)": {},
    "symlink(target, path)": {"dirfd": AT_FDCWD},
})
class SymlinkAt(Request):
    """Make a symbolic link; its target is text and need not exist."""

    target: Text
    dirfd: DirFd
    path: NewPath


@request(man="readlink(2)", forms={
    "readlinkat(dirfd, path, buffer, size)": {},
    "readlink(path, buffer, size)": {"dirfd": AT_FDCWD},
})
class ReadLinkAt(Request):
    """Read the target of a symbolic link; an empty path means the link that the descriptor refers to."""

    dirfd: DirFd
    path: Annotated[bytes, PathKind(follow=never, empty=always)]
    buffer: OutBuffer
    size: Size


@request(man="chdir(2)", forms={"chdir(path)": {}})
class ChDir(Request):
    """Change the current directory."""

    path: Path


@request(man="chdir(2)", forms={"fchdir(fd)": {}})
class FChDir(Request):
    """Change the current directory to an open one."""

    fd: Fd


@request(man="getcwd(2)", classes="file", forms={"getcwd(buffer, size)": {}})
class GetCwd(Request):
    """Get the path of the current directory; the result counts its final NUL."""

    buffer: OutBuffer
    size: Size


@request(man="chroot(2)", forms={"chroot(path)": {}})
class ChRoot(Request):
    """Change the root directory."""

    path: Path
