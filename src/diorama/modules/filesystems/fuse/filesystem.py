"""FuseFileSystem: a file system whose answers come from a FUSE server.

What it has told of names and attributes is kept while that holds (`known`), the content of open files by the
view.

What it means that a file is open is said in `opened`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import RENAME_EXCHANGE, RENAME_NOREPLACE
from diorama.engine.told import Told
from diorama.fuse.attributes import AccessIn, GetAttrIn, GetXattrIn, SetAttrIn, SetXattrIn, StatFsOut
from diorama.fuse.connection import Notification, Reply
from diorama.fuse.flags import FAttr, Init
from diorama.fuse.handles import CreateIn, OpenOut, ReleaseIn, SyncFsIn, WriteIn
from diorama.fuse.naming import LinkIn, MkdirIn, MknodIn, Rename2In, RenameIn
from diorama.fuse.wire import Attr, AttrOut, Wire
from diorama.interfaces.filesystem import Attributes, Changes, ContentCache, Entry, FileSystem, Statistics
from diorama.modules.filesystems.fuse.file import Asking, FuseFile
from diorama.modules.filesystems.fuse.hearing import Hearing
from diorama.modules.filesystems.fuse.known import Known
from diorama.modules.filesystems.fuse.lending import Lent
from diorama.modules.filesystems.fuse.listed import listed
from diorama.modules.filesystems.fuse.notices import Notices
from diorama.modules.filesystems.fuse.offering import OFFERED
from diorama.modules.filesystems.fuse.opened import OpenFiles
from diorama.modules.filesystems.fuse.translation import as_unsupported, to_set, unless_unknown
from diorama.modules.filesystems.fuse.writing import WritingChannel
from diorama.view.acl import ACCESS, DEFAULT

if TYPE_CHECKING:
    from diorama.engine.ending import Identity
    from diorama.interfaces.filesystem import OpenFile

__all__ = ["FuseFileSystem"]

_NSEC: Final = 10**9
_XATTR_MAX: Final = 1 << 16


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class FuseFileSystem(FileSystem):
    """The file system at the other end of a socket.

    Unless it is `checked`, who may do what is for the server to say.  `theirs` is the identity of the other
    end, if programs have it, and `max_read` as in mount.fuse3(8).  `owner` is who has mounted it.
    """

    magic = 0x65735546  # FUSE_SUPER_MAGIC
    writable = True
    judges_xattrs = True
    tells_at_close = True
    large_above = 64 << 20

    def __init__(
        self,
        sock: socket.socket,
        title: str,
        on_close: Callable[[], None] | None = None,
        *,
        checked: bool = True,
        theirs: Identity | None = None,
        max_read: int | None = None,
    ) -> None:
        self.title = title
        self.on_close = on_close
        self.theirs = theirs
        self.owner = os.getuid(), os.getgid()
        self.is_read_only = self.is_closed = False
        self._is_unchecked = not checked
        self._known = Known(Told(sock.fileno(), unchecked=not checked), unchecked=not checked)
        self.told = self._known.native
        self._notices = Notices()
        self._channel = WritingChannel(sock, OFFERED, title, self._notified, self._known.native, theirs)
        if max_read is not None:
            self._channel.connection.most_read = max_read
        asking = Asking(
            self._ask,
            self._post,
            self._write,
            self._channel.connection,
            self._known.changed,
            lambda inode: self.attributes(inode).size,
            self._known.node,
            self._known.ask_open,
        )
        self.lent = Lent(self._channel.connection)
        self._files = OpenFiles(asking, self.lent)
        self._hearing = Hearing(
            self, self._channel, self._known, self._files, self._notices, self._forget
        )
        self._channel.on_lost = lambda: self._hearing.look_again(self._files.polling.all())
        self._channel.on_ready = lambda: self._known.native.opens(self.reopens)
        self._channel.start()

    # -- looking at it ------------------------------------------------------------------------

    def lookup(self, directory: int, name: bytes) -> int:
        """The inode of a name: as told before, while that holds."""
        who = self._channel.check()
        inode = self._known.name(directory, name, who)
        if inode is None:
            inode = self._known.ask_name(directory, name, who)
        if inode is None:
            inode = self._look_up(directory, name)
        if not inode:
            raise _error(errno.ENOENT)
        return inode

    def attributes(self, inode: int) -> Attributes:
        """Status: as told before, while that holds."""
        who = self._channel.check()
        known = self._known.attributes(inode, who)
        if known is not None:
            return known
        asked = self._known.ask(inode, who)
        if asked is not None:
            return asked
        mark = self._known.mark()
        return self._told(inode, self._ask("GETATTR", inode, GetAttrIn()), mark)

    def check_access(self, inode: int, mode: int) -> None:
        """Ask the server; one that does not know has nothing against it."""
        with unless_unknown():
            self._ask("ACCESS", inode, AccessIn(mode))

    def walked(self, inode: int) -> Attributes:
        """Its type, as it came with its name; all of it where permissions are looked at here."""
        known = self._known.walked(inode) if self._is_unchecked else None
        return self.attributes(inode) if known is None else known

    def entries(self, directory: int) -> Sequence[Entry]:
        """The names in a directory."""
        with self._files.listing(directory) as handle:
            return list(listed(self._ask, self._channel, self._known, directory, handle))

    def readlink(self, inode: int) -> bytes:
        """The target of a link."""
        target = self._ask("READLINK", inode, room=os.pathconf("/", "PC_PATH_MAX")).data
        return target.partition(b"\0")[0]

    def copy_content(self, inode: int, fd: int) -> None:
        """Read all of it: nothing if it is empty and is no file of which the server alone knows the size."""
        if self.attributes(inode).size or self._files.is_direct(inode):
            self._files.copy(inode, fd)

    def read(self, inode: int, offset: int, size: int) -> bytes:
        """Read a piece of it."""
        return self._files.read(inode, offset, size)

    def open_file(self, inode: int, flags: int) -> FuseFile:
        """Have it opened for a program.  As from the kernel no handle truncates it: which may not write."""
        opened = self._files.open(inode, flags)
        if flags & os.O_TRUNC:
            self._known.changed(inode)
            if not self._channel.connection.features & Init.ATOMIC_O_TRUNC:
                try:
                    self.set_attributes(inode, Changes(size=0))
                except BaseException:
                    opened.close()
                    raise
        return opened

    @property
    def takes_writes(self) -> bool:  # type: ignore[override]
        """Whether it wants each write, as far as it can say so."""
        return not self._files.are_cached

    @property
    def reopens(self) -> int:  # type: ignore[override]
        """How much of a file is read at once where it is opened natively; 0 if the server opens nothing."""
        opens = self._channel.connection.knows("OPEN") and not self.lent.agreed
        return self._files.most_read if opens else 0

    def reopened(self, inode: int, handle: int, flags: int, how: int) -> FuseFile:
        """A file was opened natively."""
        return self._files.add(FuseFile(self._files, inode, flags, OpenOut(handle, how)))

    def parted(self, opened: Sequence[OpenFile]) -> list[tuple[int, int, int]] | None:
        """What is open of a file is known natively from now on."""
        return self._files.part([one for one in opened if isinstance(one, FuseFile)])

    def statistics(self) -> Statistics:
        """Its size."""
        (found,) = self._ask("STATFS", self.root).records
        assert isinstance(found, StatFsOut)
        return Statistics(
            block_size=found.frsize or found.bsize or 4096,
            blocks=found.blocks,
            free=found.bavail,
            files=found.files,
            free_files=found.ffree,
            name_max=found.namelen or 255,
        )

    def get_xattr(self, inode: int, name: bytes) -> bytes:
        """The value of an extended attribute; of a server without them there is no access control list."""
        with as_unsupported(errno.ENODATA if name in (ACCESS, DEFAULT) else errno.EOPNOTSUPP):
            return self._ask("GETXATTR", inode, GetXattrIn(_XATTR_MAX), names=(name,), room=_XATTR_MAX).data

    def list_xattrs(self, inode: int) -> Sequence[bytes]:
        """The names of the extended attributes."""
        with as_unsupported():
            data = self._ask("LISTXATTR", inode, GetXattrIn(_XATTR_MAX), room=_XATTR_MAX).data
        return [name for name in data.split(b"\0") if name]

    # -- changing it --------------------------------------------------------------------------

    def make(self, directory: int, name: bytes, attributes: Attributes, target: bytes = b"") -> int:
        """Make a file of any type."""
        kind, mode = attributes.kind, attributes.mode
        if kind == stat.S_IFDIR:
            # Linux leaves it to the server to hand on the set-group-ID bit of the directory above.
            reply = self._ask("MKDIR", directory, MkdirIn(mode & ~stat.S_ISGID), names=(name,))
        elif kind == stat.S_IFLNK:
            reply = self._ask("SYMLINK", directory, names=(name, target))
        elif kind == stat.S_IFREG:
            inode, opened = self.create(directory, name, attributes, os.O_WRONLY)
            opened.close()
            return inode
        else:
            reply = self._ask("MKNOD", directory, MknodIn(mode, attributes.device), names=(name,))
        self._known.changed(directory)
        inode = self._known.entered(directory, name, *reply.entry)
        if stat.S_IFMT(reply.entry[1].mode) != kind:
            raise _error(errno.EIO)  # rclone makes a regular file of all but directories
        return inode

    def create(
        self, directory: int, name: bytes, attributes: Attributes, flags: int
    ) -> tuple[int, FuseFile]:
        """Make a regular file and open it, at a stroke where the server knows how."""
        mode = attributes.mode
        try:
            wanted = CreateIn(flags & ~os.O_CLOEXEC | os.O_CREAT | os.O_EXCL, mode)
            reply = self._ask("CREATE", directory, wanted, names=(name,), late=self._close)
        except OSError as error:
            if error.errno == errno.EEXIST:
                self._known.forget_name(directory, name)
            if error.errno != errno.ENOSYS:
                raise
            reply = self._ask("MKNOD", directory, MknodIn(mode), names=(name,))
            self._known.changed(directory)
            inode = self._known.entered(directory, name, *reply.entry)
            return inode, self._files.open(inode, flags)
        self._known.changed(directory)
        opened = reply.records[2]
        assert isinstance(opened, OpenOut)
        inode = self._known.entered(directory, name, *reply.entry)
        return inode, self._files.add(FuseFile(self._files, inode, flags, opened))

    def create_unnamed(self, directory: int, attributes: Attributes, flags: int) -> tuple[int, FuseFile]:
        """Make a regular file that has no name, and open it."""
        wanted = CreateIn(flags & ~os.O_CLOEXEC, attributes.mode)
        try:
            reply = self._ask("TMPFILE", directory, wanted, names=(b"/",), late=self._close)
        except OSError as error:
            raise _error(errno.EOPNOTSUPP) if error.errno == errno.ENOSYS else error from None
        opened = reply.records[2]
        assert isinstance(opened, OpenOut)
        inode = self._known.unnamed(*reply.entry)
        return inode, self._files.add(FuseFile(self._files, inode, flags, opened))

    def _close(self, reply: Reply) -> None:
        """Of what was made for who is killed meanwhile."""
        opened = reply.records[2]
        assert isinstance(opened, OpenOut)
        self._channel.post("RELEASE", reply.entry[0].nodeid, ReleaseIn(fh=opened.fh))

    def link(self, inode: int, directory: int, name: bytes) -> None:
        """Give something another name."""
        try:
            reply = self._ask("LINK", directory, LinkIn(self._known.node(inode)), names=(name,))
        except OSError as error:
            raise _error(errno.EPERM) if error.errno == errno.ENOSYS else error from None
        self._known.changed(directory, inode)
        self._known.entered(directory, name, *reply.entry)

    def await_closed(self, inode: int) -> None:
        """Have the server take note of what was closed: of two requests it may do the later one first."""
        self._channel.await_posted(self._known.node(inode))

    def remove(self, directory: int, name: bytes) -> None:
        """Remove a name."""
        inode = self.lookup(directory, name)
        is_directory = self.attributes(inode).kind == stat.S_IFDIR
        self._ask("RMDIR" if is_directory else "UNLINK", directory, names=(name,))
        self._known.forget_name(directory, name)
        self._known.changed(directory, inode)

    def rename(self, directory: int, name: bytes, to_directory: int, to_name: bytes) -> None:
        """Give a name to another place."""
        target = self._known.node(to_directory)
        self._ask("RENAME", directory, RenameIn(target), names=(name, to_name))
        self._known.renamed(directory, name, to_directory, to_name)

    def rename_apart(self, directory: int, name: bytes, to_directory: int, to_name: bytes) -> None:
        """Give a name to another place, where the server sees to it that there is none."""
        self._rename_by(RENAME_NOREPLACE, directory, name, to_directory, to_name)

    def exchange(self, directory: int, name: bytes, other_directory: int, other_name: bytes) -> None:
        """Exchange two names."""
        self._rename_by(RENAME_EXCHANGE, directory, name, other_directory, other_name)

    def _rename_by(self, flags: int, directory: int, name: bytes, to_directory: int, to_name: bytes) -> None:
        target = self._known.node(to_directory)
        try:
            self._ask("RENAME2", directory, Rename2In(target, flags), names=(name, to_name))
        except OSError as error:
            raise _error(errno.EINVAL) if error.errno == errno.ENOSYS else error from None
        self._known.renamed(directory, name, to_directory, to_name)

    def set_attributes(self, inode: int, changes: Changes) -> None:
        """Change its status.  As from the kernel, a mode has the type of the file: some servers keep it."""
        if changes.mode is not None:
            changes = replace(changes, mode=changes.mode | self.attributes(inode).kind)
        self._told(inode, self._ask("SETATTR", inode, to_set(changes)))

    def save_content(self, inode: int, fd: int) -> None:
        """Write all of it, and have the server tell what became of it.

        Also what may not be written any more: who has written may have opened the file before it was made
        read-only, or while it made it.
        """
        size = os.fstat(fd).st_size
        try:
            self._files.save(inode, fd, lambda handle: self._settle_size(inode, handle, size))
        except PermissionError:
            mode = stat.S_IMODE(self.attributes(inode).mode)
            if mode & stat.S_IWUSR:
                raise
            self.set_attributes(inode, Changes(mode=mode | stat.S_IWUSR))
            try:
                self._files.save(inode, fd, lambda handle: self._settle_size(inode, handle, size))
            finally:
                self.set_attributes(inode, Changes(mode=mode))

    def _settle_size(self, inode: int, handle: int, size: int) -> None:
        """What was written has made it longer; shorter, or with a hole at the end, it must be made."""
        self._known.changed(inode)
        if self.attributes(inode).size != size:
            self._set_size(inode, handle, size)

    def _set_size(self, inode: int, handle: int, size: int) -> None:
        valid = FAttr.SIZE | FAttr.FH
        self._told(inode, self._ask("SETATTR", inode, SetAttrIn(valid, fh=handle, size=size)))

    def set_xattr(self, inode: int, name: bytes, value: bytes) -> None:
        """Set an extended attribute."""
        with as_unsupported():
            self._ask("SETXATTR", inode, SetXattrIn(len(value)), names=(name,), data=value)
        self._known.changed(inode)

    def remove_xattr(self, inode: int, name: bytes) -> None:
        """Remove an extended attribute."""
        with as_unsupported():
            self._ask("REMOVEXATTR", inode, names=(name,))
        self._known.changed(inode)

    # -- its life -----------------------------------------------------------------------------

    def attach(self, cache: ContentCache) -> None:
        """What the server tells of content is for that."""
        self._notices.cache = cache

    def differs(self, inode: int, *, does: bool) -> None:
        """What the view knows better is not answered by what was told."""
        self._known.native.differs(inode, does=does)

    def forget(self, inode: int) -> None:
        """Give the references to a node back, after all that was open of it."""
        self._files.when_closed(inode, lambda: self._forget(inode))

    def _forget(self, inode: int) -> None:
        forgotten = self._known.forget(inode)
        if forgotten is not None:
            self._channel.forget(*forgotten)

    @property
    def progress(self) -> int | None:  # type: ignore[override]
        """What the server was asked: while somebody waits for an answer, nothing more is asked."""
        return self._channel.connection.asked

    @property
    def locks_ranges(self) -> bool:  # type: ignore[override]
        """Whether the server wants to know of locks by fcntl(2)."""
        return bool(self._channel.connection.features & Init.POSIX_LOCKS)

    @property
    def locks_files(self) -> bool:  # type: ignore[override]
        """Whether the server wants to know of locks by flock(2)."""
        return bool(self._channel.connection.features & Init.FLOCK_LOCKS)

    def unlock(self, owner: int) -> None:
        """Tell the server of a process that had locks, and is gone."""
        self._files.unlock(owner)

    def sync_file(self, inode: int, *, data_only: bool = False) -> None:
        """Have the server make a file, or a directory, lasting."""
        is_directory = self.attributes(inode).kind == stat.S_IFDIR
        self._files.sync(inode, is_directory=is_directory, data_only=data_only)

    def sync(self) -> None:
        """Have the server make everything lasting, where it knows how."""
        with unless_unknown():
            self._ask("SYNCFS", self.root, SyncFsIn())

    def is_served_outside(self) -> None:
        """No call of the server comes from the view in which this is mounted."""
        self._known.native.is_outside()

    @property
    def waiting(self) -> int:
        """How many requests wait for their answers."""
        return len(self._channel.waiting)

    def abort(self) -> None:
        """Wait for the server no more, as if it had died; it is told as by unmounting."""
        self._known.native.end()
        self._channel.close()

    def close(self) -> None:
        """End the connection; twice is once."""
        self.is_closed = True
        self._known.native.end()
        self._channel.close()
        self._notices.close()
        self.lent.close()
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close()

    # -- asking -------------------------------------------------------------------------------

    def _ask(
        self,
        name: str,
        inode: int,
        *records: object,
        names: tuple[bytes, ...] = (),
        data: bytes = b"",
        room: int = 0,
        late: Callable[[Reply], None] | None = None,
    ) -> Reply:
        node = self._known.node(inode)
        return self._channel.ask(name, node, *records, names=names, data=data, room=room, late=late)  # type: ignore[arg-type]

    def _write(self, inode: int, request: WriteIn, fd: int, end: int) -> tuple[int, Reply | None]:
        return self._channel.write(self._known.node(inode), request, fd, end)

    def _post(self, name: str, inode: int, *records: Wire) -> None:
        with contextlib.suppress(OSError):  # it is forgotten, and so is all of it
            self._channel.post(name, self._known.node(inode), *records)

    def _look_up(self, directory: int, name: bytes) -> int:
        mark = self._known.mark()
        try:
            reply = self._ask("LOOKUP", directory, names=(name,))
        except OSError as error:
            if error.errno == errno.ENOENT:
                self._known.missing(directory, name, mark)
            raise
        return self._known.entered(directory, name, *reply.entry, mark=mark)

    # -- remembering --------------------------------------------------------------------------

    def _told(self, inode: int, reply: Reply, mark: int | None = None) -> Attributes:
        out, attr = reply.records
        assert isinstance(out, AttrOut)
        assert isinstance(attr, Attr)
        return self._known.told(inode, out, attr, mark)

    def _notified(self, told: Notification) -> None:
        self._hearing.notified(told)
