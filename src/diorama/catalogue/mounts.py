"""Mounts: the mount table, and the file systems behind it."""

from typing import Annotated

from diorama.abi import mount
from diorama.abi.mount import (
    FSPICK_EMPTY_PATH,
    FSPICK_SYMLINK_NOFOLLOW,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_F_SYMLINKS,
    MOVE_MOUNT_T_EMPTY_PATH,
    MOVE_MOUNT_T_SYMLINKS,
    MS_BIND,
    MS_MOVE,
    UMOUNT_NOFOLLOW,
)
from diorama.abi.stat import StatFs
from diorama.catalogue.handles import Out
from diorama.catalogue.kinds import (
    Address,
    AtFlags,
    AtPath,
    Choice,
    DirFd,
    Fd,
    Flags,
    Int,
    MaybeText,
    Path,
    PathKind,
    Size,
    Text,
    UInt,
    ULong,
    WideFlags,
    always,
    given,
    lacking,
)
from diorama.catalogue.model import Request, request
from diorama.catalogue.names import Names
from diorama.catalogue.pointers import InBuffer, OutBuffer

MountFlags = Annotated[int, WideFlags(Names(mount, "MS_"))]
UnmountFlags = Annotated[int, Flags(Names(mount, "MNT_", "UMOUNT_"))]
TreeFlags = Annotated[int, Flags(Names(mount, "OPEN_TREE_"))]
MoveFlags = Annotated[int, Flags(Names(mount, "MOVE_MOUNT_"))]
FsOpenFlags = Annotated[int, Flags(Names(mount, "FSOPEN_"))]
FsMountFlags = Annotated[int, Flags(Names(mount, "FSMOUNT_"))]
FsPickFlags = Annotated[int, Flags(Names(mount, "FSPICK_"))]
FsCommand = Annotated[int, Choice(Names(mount, "FSCONFIG_"))]
MountAttributes = Annotated[int, Flags(Names(mount, "MOUNT_ATTR_"))]
SwapFlags = Annotated[int, Flags(Names(mount, "SWAP_FLAG_"))]


@request(man="mount(2)", forms={"mount(source, target, type, flags, options)": {}})
class Mount(Request):
    """Mount a file system, or change or move a mount; to bind or move, the source is a path."""

    source: Annotated[bytes | None, PathKind(applies=given("flags", MS_BIND | MS_MOVE), nullable=True)]
    target: Path
    type: MaybeText
    flags: MountFlags
    options: Address


@request(man="umount(2)", forms={"umount2(target, flags)": {}, "umount(target)": {"flags": 0}})
class Umount2(Request):
    """Take a mount away."""

    target: Annotated[bytes, PathKind(follow=lacking("flags", UMOUNT_NOFOLLOW))]
    flags: UnmountFlags


@request(man="pivot_root(2)", forms={"pivot_root(new_root, put_old)": {}})
class PivotRoot(Request):
    """Make another mount the root."""

    new_root: Path
    put_old: Path


@request(man="open_tree(2)", returns="fd", forms={"open_tree(dirfd, path, flags)": {}})
class OpenTree(Request):
    """Get a descriptor of a mount, or of a copy of it."""

    dirfd: DirFd
    path: AtPath
    flags: TreeFlags


@request(man="open_tree(2)", returns="fd", forms={"open_tree_attr(dirfd, path, flags, attributes, size)": {}})
class OpenTreeAttr(Request):
    """Get a descriptor of a mount, or of a copy of it with other attributes."""

    dirfd: DirFd
    path: AtPath
    flags: TreeFlags
    attributes: InBuffer
    size: Size


@request(man="move_mount(2)", forms={"move_mount(olddirfd, oldpath, newdirfd, newpath, flags)": {}})
class MoveMount(Request):
    """Attach a mount to another place."""

    olddirfd: DirFd
    oldpath: Annotated[
        bytes,
        PathKind(follow=given("flags", MOVE_MOUNT_F_SYMLINKS), empty=given("flags", MOVE_MOUNT_F_EMPTY_PATH)),
    ]
    newdirfd: DirFd
    newpath: Annotated[
        bytes,
        PathKind(follow=given("flags", MOVE_MOUNT_T_SYMLINKS), empty=given("flags", MOVE_MOUNT_T_EMPTY_PATH)),
    ]
    flags: MoveFlags


@request(man="fsopen(2)", classes="file", returns="fd", forms={"fsopen(type, flags)": {}})
class FsOpen(Request):
    """Begin to configure a new file system."""

    type: Text
    flags: FsOpenFlags


@request(man="fsconfig(2)", classes="file", forms={"fsconfig(fd, command, key, value, auxiliary)": {}})
class FsConfig(Request):
    """Set a parameter of a file system that is being configured."""

    fd: Fd
    command: FsCommand
    key: MaybeText
    value: Address
    auxiliary: Int


@request(man="fsmount(2)", classes="file", returns="fd", forms={"fsmount(fd, flags, attributes)": {}})
class FsMount(Request):
    """Make a mount of a configured file system."""

    fd: Fd
    flags: FsMountFlags
    attributes: MountAttributes


@request(man="fspick(2)", returns="fd", forms={"fspick(dirfd, path, flags)": {}})
class FsPick(Request):
    """Begin to configure a mounted file system."""

    dirfd: DirFd
    path: Annotated[
        bytes,
        PathKind(follow=lacking("flags", FSPICK_SYMLINK_NOFOLLOW), empty=given("flags", FSPICK_EMPTY_PATH)),
    ]
    flags: FsPickFlags


@request(man="mount_setattr(2)", forms={"mount_setattr(dirfd, path, flags, attributes, size)": {}})
class MountSetAttr(Request):
    """Change the attributes of a mount."""

    dirfd: DirFd
    path: AtPath
    flags: AtFlags
    attributes: InBuffer
    size: Size


@request(man="statmount(2)", forms={"statmount(request, buffer, size, flags)": {}})
class StatMount(Request):
    """Get the properties of a mount by its id."""

    request: Address
    buffer: OutBuffer
    size: Size
    flags: UInt


@request(man="listmount(2)", forms={"listmount(request, ids, count, flags)": {}})
class ListMount(Request):
    """List the ids of the mounts below one."""

    request: Address
    ids: Address
    count: Size
    flags: UInt


@request(man="statfs(2)", forms={
    "statfs(path, status)": {},
})
class Statfs(Request):
    """Get the status of the file system of a file."""

    path: Path
    status: Out[StatFs]


@request(man="statfs(2)", forms={"statfs64(path, size, status:statfs64)": {}})
class Statfs64(Request):
    """Get the status of the file system of a file, in 64 bits. i386 only."""

    path: Path
    size: Size
    status: Out[StatFs]


@request(man="statfs(2)", forms={"fstatfs(fd, status)": {}})
class FStatfs(Request):
    """Get the status of the file system of an open file."""

    fd: Fd
    status: Out[StatFs]


@request(man="statfs(2)", forms={"fstatfs64(fd, size, status:statfs64)": {}})
class FStatfs64(Request):
    """Get the status of the file system of an open file, in 64 bits. i386 only."""

    fd: Fd
    size: Size
    status: Out[StatFs]


@request(man="ustat(2)", forms={"ustat(device, status)": {}})
class UStat(Request):
    """Get the status of a mounted file system by its device number."""

    device: UInt
    status: Address


@request(man="sysfs(2)", forms={"sysfs(option, first, second)": {}})
class SysFs(Request):
    """Translate between names and numbers of file system types."""

    option: Int
    first: ULong
    second: ULong


@request(man="quotactl(2)", forms={"quotactl(command, path, id, address)": {}})
class QuotaCtl(Request):
    """Ask about or set disk quotas; the path names a block device."""

    command: UInt
    path: Path
    id: UInt
    address: Address


@request(man="quotactl(2)", forms={"quotactl_fd(fd, command, id, address)": {}})
class QuotaCtlFd(Request):
    """Ask about or set disk quotas of the file system of an open file."""

    fd: Fd
    command: UInt
    id: UInt
    address: Address


@request(man="swapon(2)", writes=always, forms={"swapon(path, flags)": {}})
class SwapOn(Request):
    """Use a file or a device for swapping."""

    path: Path
    flags: SwapFlags


@request(man="swapon(2)", writes=always, forms={"swapoff(path)": {}})
class SwapOff(Request):
    """Stop swapping to a file or a device."""

    path: Path


@request(man="acct(2)", writes=always, forms={"acct(path)": {}})
class Acct(Request):
    """Write process accounting records to a file; NULL turns it off."""

    path: Annotated[bytes | None, PathKind(nullable=True)]
