"""Filesystem: what a module implements to be mounted.

Derive from `FileSystem`, or fill a `Tree` (`diorama.interfaces.tree`) if everything is known beforehand:

    class Clock(FileSystem):
        title = "clock"

        def lookup(self, directory, name):
            if name != b"now":
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return 2

        def attributes(self, inode):
            return Attributes(S_IFDIR | 0o755) if inode == 1 else Attributes(S_IFREG | 0o444, size=20)

        def entries(self, directory):
            return [Entry(b"now", 2, S_IFREG)]

        def copy_content(self, inode, fd):
            os.write(fd, b"%19d\n" % time.time_ns())

That is a read-only one.  A writable one sets `writable = True` and has `make`, `remove`, `rename`,
`set_attributes` and `save_content` besides; `link`, extended attributes and the rest as far as it can.

The view does what is alike for all file systems, in the order in which Linux does it: it resolves paths,
checks names, types, permissions and sticky bits with the identity of the program, and keeps open files.
What a file system is asked has passed these checks.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence

from diorama.view.filesystem import (
    Attributes,
    Changes,
    ContentCache,
    Entry,
    Lock,
    OpenFile,
    Statistics,
    Told,
)
from diorama.view.formats import Formats
from diorama.view.special import Argument, OpenSpecial

__all__ = [
    "Argument", "Attributes", "Changes", "ContentCache", "Entry", "FileSystem", "Lock", "OpenFile",
    "Statistics",
]  # fmt: skip


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class FileSystem(ABC):
    """A file system of inodes.

    Methods are called by several guardians at once, each while its program waits: lock what is shared.  An
    `OSError` is the program's errno.  Inode numbers must stay what they are, and not be used again.
    """

    title = "synthetic"
    magic = 0x44494F52
    """What statfs(2) calls its type."""
    root = 1
    writable = False
    """Whether the methods under "changing it" are there."""
    saves_late = False
    """Whether what was written need be saved only when the view drops it from memory: nobody else would see
    it before."""
    lasts = True
    """Whether what is saved is of use after `close`."""
    lazy_above: int | None = None
    """Of regular files with more bytes than this, pieces are asked by `read`: they are never copied whole."""
    large_above: int | None = None
    """As `lazy_above`, of files that are only read, where it `tells_at_close`: they get large descriptors,
    and what is done with others is not slowed down."""
    has_acls = False
    """Whether it keeps access control lists, acl(5): those of `Attributes` when a file is made, and the
    attributes `system.posix_acl_access` and `system.posix_acl_default`, which follow when a mode changes."""
    judges_xattrs = False
    """Whether it says itself which names extended attributes may have, and whether there is one to remove."""
    tells_at_close = False
    """Whether close(2) waits until what was written is saved, and tells what went wrong; if not, it is saved
    soon after."""

    takes_writes = False
    """Whether its open files take what is written, one by one (`OpenFile.write`), also where it is cached."""

    progress: int | None = None
    """Changes as long as what it was asked to do goes on; None if that is not known."""
    locks_ranges = False
    """Whether locks by fcntl(2) are for it: `set_lock` and `test_lock` of its open files."""
    locks_files = False
    """Whether locks by flock(2) are for it."""

    devid = False
    """Of one special file: whether all special files of its type and number are that."""

    told: Told | None = None
    """What it has told of names and attributes, and how long that holds: then not all is asked."""
    reopens = 0
    """How much of a file is read at once where it is opened by `told` alone; 0: it is not."""
    formats: Formats | None = None
    """By what files are run in a namespace that has it mounted (`diorama.modules.filesystems.binfmt`)."""

    # -- looking at it ------------------------------------------------------------------------

    @abstractmethod
    def lookup(self, directory: int, name: bytes) -> int:
        """The inode of a name in a directory, never of `.` or `..`; ENOENT if there is none."""

    @abstractmethod
    def attributes(self, inode: int) -> Attributes:
        """Its status.  The size of a regular file must be that of its content.

        While programs have a regular file open, its size and times are those of what they hold.
        """

    def check_access(self, inode: int, mode: int) -> None:
        """EACCES unless who asks may do what these R_OK, W_OK and X_OK bits say.

        Asked by access(2), and by who makes a directory his own (X_OK), of what is `unchecked` alone.
        """
        return

    def walked(self, inode: int) -> Attributes:
        """What who walks through it must know: its type, and who may search it."""
        return self.attributes(inode)

    @abstractmethod
    def entries(self, directory: int) -> Sequence[Entry]:
        """The names in a directory, without `.` and `..`, always in the same order."""

    @abstractmethod
    def copy_content(self, inode: int, fd: int) -> None:
        """Write the content of a regular file to the empty open file `fd`; holes may be left out.

        Asked when a program opens it, and again only if size or time of modification changed.
        """

    def read(self, inode: int, offset: int, size: int) -> bytes:
        """A piece of a regular file; shorter only at its end.  Needed with `lazy_above`."""
        raise _error(errno.EOPNOTSUPP)

    def readlink(self, inode: int) -> bytes:
        """The target of a symbolic link; EINVAL for what is none."""
        raise _error(errno.EINVAL)

    def get_xattr(self, inode: int, name: bytes) -> bytes:
        """The value of an extended attribute, by its full name (`user.mime_type`); ENODATA, EOPNOTSUPP."""
        raise _error(errno.EOPNOTSUPP)

    def list_xattrs(self, inode: int) -> Sequence[bytes]:
        """The names of the extended attributes."""
        return ()

    def open_file(self, inode: int, flags: int) -> OpenFile | None:
        """A regular file is being opened, with these flags of open(2), of which O_TRUNC is done here.

        None if the file system need not know of it.
        """
        return None

    def reopened(self, inode: int, handle: int, flags: int, how: int) -> OpenFile:
        """A file was opened by `told` alone, with these flags, and with this answer."""
        raise NotImplementedError

    def parted(self, opened: Sequence[OpenFile]) -> list[tuple[int, int, int]] | None:
        """Leave what is open of one file to `told`: what `reopened` takes of each.

        None, and all stays, if that is not all that there is to know, or somebody asks by one just now.
        """
        raise NotImplementedError

    def open_special(self, inode: int, flags: int) -> OpenSpecial | None:
        """A device special file is being opened, of which each read and write is for us (`devicefile`).

        None for one of which a program gets a descriptor, by `open_device`.
        """
        return None

    def open_device(self, inode: int, flags: int) -> int:
        """A descriptor, which is given away, for a program that opens a device special file; ENXIO."""
        raise _error(errno.ENXIO)

    def control_device(self, inode: int, command: int, argument: Argument) -> int | None:
        """What ioctl(2) does with the descriptor that `open_device` gave; None for what it does of itself."""
        return None

    def statistics(self) -> Statistics:
        """Its size, for statfs(2)."""
        return Statistics()

    # -- changing it --------------------------------------------------------------------------

    def make(self, directory: int, name: bytes, attributes: Attributes, target: bytes = b"") -> int:
        """Make a file of any type, with this status, under a name that is free; its inode.

        `attributes.kind` tells the type; a regular file is empty, a directory too; `target` is that of a
        symbolic link.  Attributes that it can't keep are not an error.
        """
        raise _error(errno.EROFS)

    def create(
        self, directory: int, name: bytes, attributes: Attributes, flags: int
    ) -> tuple[int, OpenFile | None]:
        """Make a regular file, as `make`, and open it, as `open_file`."""
        inode = self.make(directory, name, attributes)
        return inode, self.open_file(inode, flags)

    def make_unnamed(self, directory: int, attributes: Attributes) -> int:
        """Make a regular file without a name, which may get one by `link`, for O_TMPFILE; its inode.

        `directory` is where it was asked for.  EOPNOTSUPP if that can't be done: programs do without.
        """
        raise _error(errno.EOPNOTSUPP)

    def create_unnamed(
        self, directory: int, attributes: Attributes, flags: int
    ) -> tuple[int, OpenFile | None]:
        """Make a regular file without a name, as `make_unnamed`, and open it, as `open_file`."""
        inode = self.make_unnamed(directory, attributes)
        return inode, self.open_file(inode, flags)

    def link(self, inode: int, directory: int, name: bytes) -> None:
        """Give what is no directory another name, which is free; EPERM if the file system has no links."""
        raise _error(errno.EPERM)

    def remove(self, directory: int, name: bytes) -> None:
        """Remove a name.  ENOTEMPTY for a directory with names in it.

        An inode without names stays what it is until `forget`: programs may have it open.
        """
        raise _error(errno.EROFS)

    def rename(self, directory: int, name: bytes, to_directory: int, to_name: bytes) -> None:
        """Give a name to another place; what has that name there is removed, at a stroke.  ENOTEMPTY."""
        raise _error(errno.EROFS)

    def rename_apart(self, directory: int, name: bytes, to_directory: int, to_name: bytes) -> None:
        """As `rename`, to a name that is free as far as is known; EEXIST if others have made it since.

        EINVAL if that can't be seen to.
        """
        self.rename(directory, name, to_directory, to_name)

    def exchange(self, directory: int, name: bytes, other_directory: int, other_name: bytes) -> None:
        """Exchange two names, at a stroke; EINVAL if that can't be done."""
        raise _error(errno.EINVAL)

    def set_attributes(self, inode: int, changes: Changes) -> None:
        """Change its status.  EPERM for what it can't keep.  A size is set for what nobody has open."""
        raise _error(errno.EROFS)

    def save_content(self, inode: int, fd: int) -> None:
        """Keep what programs have written: the content of a regular file is that of the open file `fd` now.

        Asked when the last program that could write has closed it, at fsync(2) and at the end of the view.
        An error is told to the program that asked, or by the view.
        """
        raise _error(errno.EROFS)

    def set_xattr(self, inode: int, name: bytes, value: bytes) -> None:
        """Set an extended attribute."""
        raise _error(errno.EOPNOTSUPP)

    def remove_xattr(self, inode: int, name: bytes) -> None:
        """Remove an extended attribute that is there."""
        raise _error(errno.EOPNOTSUPP)

    # -- its life -----------------------------------------------------------------------------

    def attach(self, cache: ContentCache) -> None:
        """Content of its files is kept by `cache` from now on, which may be told when it has changed."""
        return

    def differs(self, inode: int, *, does: bool) -> None:
        """Whether the view knows better about an inode than `told`: it is being written, or has no name."""
        return

    def forget(self, inode: int) -> None:
        """An inode without a name is no longer open anywhere: nobody will ask for it again."""
        return

    def unlock(self, owner: int) -> None:
        """A process is gone: all locks that it had by `set_lock` are free."""
        return

    def sync_file(self, inode: int, *, data_only: bool = False) -> None:
        """Make lasting what has been saved of one file, for fsync(2); `data_only`: for fdatasync(2)."""
        self.sync()

    def await_closed(self, inode: int) -> None:
        """A name of a file is about to go: who has closed it is to have done so then.  `tells_at_close`."""
        return

    def sync(self) -> None:
        """Make lasting what has been saved, for syncfs(2)."""
        return

    def close(self) -> None:
        """Release what it holds.  Nothing is asked afterwards."""
        return
