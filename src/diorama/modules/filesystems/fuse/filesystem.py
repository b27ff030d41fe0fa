"""FuseFileSystem: a file system whose answers come from a FUSE server.

What it has told of names and attributes is kept while that holds (`known`), the content of open files by the
view.

Content is read and written through handles of its own, each opened for it: a server sees OPEN, READ or WRITE,
FLUSH, RELEASE, as from a program that copies the file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Final

from diorama.fuse.attributes import GetAttrIn, GetXattrIn, SetAttrIn, SetXattrIn, StatFsOut
from diorama.fuse.connection import Notification, Reply
from diorama.fuse.flags import FSYNC_FDATASYNC, WRITE_CACHE, FAttr, Init
from diorama.fuse.handles import (
    CreateIn,
    FlushIn,
    FsyncIn,
    OpenIn,
    OpenOut,
    ReadIn,
    ReleaseIn,
    SyncFsIn,
    WriteIn,
    WriteOut,
)
from diorama.fuse.naming import LinkIn, MkdirIn, MknodIn, Rename2In, RenameIn
from diorama.fuse.notices import NotifyDelete, NotifyInvalEntry, NotifyInvalInode
from diorama.fuse.wire import Attr, AttrOut
from diorama.interfaces.filesystem import Attributes, Changes, Entry, FileSystem, Statistics
from diorama.modules.filesystems.fuse.channel import Channel
from diorama.modules.filesystems.fuse.known import Known
from diorama.modules.filesystems.fuse.translation import segments, to_set, write_at

if TYPE_CHECKING:
    from diorama.engine.ending import Identity

__all__ = ["FuseFileSystem"]

_NSEC: Final = 10**9
_RENAME_EXCHANGE: Final = 2
_XATTR_MAX: Final = 1 << 16
_LISTING: Final = 32 << 10
_READ_MAX: Final = 60 << 10
"""Servers that splice their answers into the socket (vmsplice(2)) send at most 16 pages as one message."""
_WANTS: Final = (
    Init.ASYNC_READ
    | Init.ATOMIC_O_TRUNC
    | Init.BIG_WRITES
    | Init.DONT_MASK
    | Init.AUTO_INVAL_DATA
    | Init.DO_READDIRPLUS
    | Init.READDIRPLUS_AUTO
    | Init.PARALLEL_DIROPS
    | Init.NO_OPEN_SUPPORT
    | Init.NO_OPENDIR_SUPPORT
    | Init.CACHE_SYMLINKS
    | Init.HANDLE_KILLPRIV
    | Init.EXPLICIT_INVAL_DATA
    | Init.HAS_EXPIRE_ONLY
)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class FuseFileSystem(FileSystem):
    """The file system at the other end of a socket.

    Unless it is `checked`, who may do what is for the server to say.  `theirs` is the identity of the other
    end, if programs have it.
    """

    writable = True
    tells_at_close = True

    def __init__(
        self,
        sock: socket.socket,
        title: str,
        on_close: Callable[[], None] | None = None,
        *,
        checked: bool = True,
        theirs: Identity | None = None,
    ) -> None:
        self.title = title
        self._on_close = on_close
        self._known = Known(unchecked=not checked)
        self._channel = Channel(sock, _WANTS, title, self._notified, theirs)
        self._channel.start()

    # -- looking at it ------------------------------------------------------------------------

    def lookup(self, directory: int, name: bytes) -> int:
        """The inode of a name: as told before, while that holds."""
        inode = self._known.name(directory, name)
        if inode is None:
            inode = self._look_up(directory, name)
        if not inode:
            raise _error(errno.ENOENT)
        return inode

    def attributes(self, inode: int) -> Attributes:
        """Status: as told before, while that holds."""
        known = self._known.attributes(inode)
        if known is not None:
            self._channel.check()
            return known
        reply = self._ask("GETATTR", inode, GetAttrIn())
        return self._told(inode, reply)

    def entries(self, directory: int) -> Sequence[Entry]:
        """The names in a directory."""
        with self._opened(directory, "OPENDIR", "RELEASEDIR", OpenIn(os.O_DIRECTORY)) as handle:
            return list(self._listed(directory, handle))

    def readlink(self, inode: int) -> bytes:
        """The target of a link."""
        target = self._ask("READLINK", inode, room=os.pathconf("/", "PC_PATH_MAX")).data
        return target.partition(b"\0")[0]

    def copy_content(self, inode: int, fd: int) -> None:
        """Read all of it."""
        size = min(self._channel.connection.max_write, _READ_MAX)
        with self._opened(inode, "OPEN", "RELEASE", OpenIn(os.O_RDONLY)) as handle:
            offset = 0
            while data := self._read(inode, handle, offset, size):
                write_at(fd, data, offset)
                offset += len(data)

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
        """The value of an extended attribute."""
        with _unsupported():
            return self._ask("GETXATTR", inode, GetXattrIn(_XATTR_MAX), names=(name,), room=_XATTR_MAX).data

    def list_xattrs(self, inode: int) -> Sequence[bytes]:
        """The names of the extended attributes."""
        try:
            data = self._ask("LISTXATTR", inode, GetXattrIn(_XATTR_MAX), room=_XATTR_MAX).data
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
                return ()
            raise
        return [name for name in data.split(b"\0") if name]

    # -- changing it --------------------------------------------------------------------------

    def make(self, directory: int, name: bytes, attributes: Attributes, target: bytes = b"") -> int:
        """Make a file of any type."""
        kind, mode = attributes.kind, attributes.mode
        if kind == stat.S_IFDIR:
            reply = self._ask("MKDIR", directory, MkdirIn(mode), names=(name,))
        elif kind == stat.S_IFLNK:
            reply = self._ask("SYMLINK", directory, names=(name, target))
        elif kind == stat.S_IFREG:
            reply = self._make_regular(directory, name, mode)
        else:
            reply = self._ask("MKNOD", directory, MknodIn(mode, attributes.device), names=(name,))
        self._known.changed(directory)
        return self._known.entered(directory, name, *reply.entry)

    def link(self, inode: int, directory: int, name: bytes) -> None:
        """Give something another name."""
        try:
            reply = self._ask("LINK", directory, LinkIn(self._known.node(inode)), names=(name,))
        except OSError as error:
            raise _error(errno.EPERM) if error.errno == errno.ENOSYS else error from None
        self._known.changed(directory, inode)
        self._known.entered(directory, name, *reply.entry)

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

    def exchange(self, directory: int, name: bytes, other_directory: int, other_name: bytes) -> None:
        """Exchange two names."""
        target = self._known.node(other_directory)
        try:
            self._ask("RENAME2", directory, Rename2In(target, _RENAME_EXCHANGE), names=(name, other_name))
        except OSError as error:
            raise _error(errno.EINVAL) if error.errno == errno.ENOSYS else error from None
        self._known.renamed(directory, name, other_directory, other_name)

    def set_attributes(self, inode: int, changes: Changes) -> None:
        """Change its status."""
        self._told(inode, self._ask("SETATTR", inode, to_set(changes)))

    def save_content(self, inode: int, fd: int) -> None:
        """Write all of it, and have the server tell what became of it."""
        size = os.fstat(fd).st_size
        with self._opened_to_save(inode) as handle:
            for offset, length in segments(fd, size):
                self._write(inode, handle, fd, offset, length)
            valid = FAttr.SIZE | FAttr.FH
            self._told(inode, self._ask("SETATTR", inode, SetAttrIn(valid, fh=handle, size=size)))
            with _unless_unknown():
                self._ask("FLUSH", inode, FlushIn(fh=handle))
        self._known.changed(inode)

    def set_xattr(self, inode: int, name: bytes, value: bytes) -> None:
        """Set an extended attribute."""
        with _unsupported():
            self._ask("SETXATTR", inode, SetXattrIn(len(value)), names=(name,), data=value)
        self._known.changed(inode)

    def remove_xattr(self, inode: int, name: bytes) -> None:
        """Remove an extended attribute."""
        with _unsupported():
            self._ask("REMOVEXATTR", inode, names=(name,))
        self._known.changed(inode)

    # -- its life -----------------------------------------------------------------------------

    def forget(self, inode: int) -> None:
        """Give the references to a node back."""
        number = self._known.forget(inode)
        if number is not None:
            self._channel.tell(self._channel.connection.forget(number))

    def sync_file(self, inode: int, *, data_only: bool = False) -> None:
        """Have the server make a file, or a directory, lasting."""
        how = FSYNC_FDATASYNC if data_only else 0
        is_directory = self.attributes(inode).kind == stat.S_IFDIR
        if is_directory:
            opened = self._opened(inode, "OPENDIR", "RELEASEDIR", OpenIn(os.O_DIRECTORY))
        else:
            opened = self._opened_to_save(inode)
        with opened as handle, _unless_unknown():
            self._ask("FSYNCDIR" if is_directory else "FSYNC", inode, FsyncIn(handle, how))

    def sync(self) -> None:
        """Have the server make everything lasting, where it knows how."""
        with _unless_unknown():
            self._ask("SYNCFS", self.root, SyncFsIn())

    def close(self) -> None:
        """End the connection."""
        self._channel.close()
        if self._on_close is not None:
            self._on_close()

    # -- asking -------------------------------------------------------------------------------

    def _ask(
        self,
        name: str,
        inode: int,
        *records: object,
        names: tuple[bytes, ...] = (),
        data: bytes = b"",
        room: int = 0,
    ) -> Reply:
        node = self._known.node(inode)
        return self._channel.ask(name, node, *records, names=names, data=data, room=room)  # type: ignore[arg-type]

    def _look_up(self, directory: int, name: bytes) -> int:
        try:
            reply = self._ask("LOOKUP", directory, names=(name,))
        except OSError as error:
            if error.errno == errno.ENOENT:
                self._known.forget_name(directory, name)
            raise
        return self._known.entered(directory, name, *reply.entry)

    def _make_regular(self, directory: int, name: bytes, mode: int) -> Reply:
        try:
            wanted = CreateIn(os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
            reply = self._ask("CREATE", directory, wanted, names=(name,))
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            return self._ask("MKNOD", directory, MknodIn(mode), names=(name,))
        opened = reply.records[2]
        assert isinstance(opened, OpenOut)
        inode = self._known.entered(directory, name, *reply.entry)
        with _unless_unknown():
            self._ask("FLUSH", inode, FlushIn(fh=opened.fh))
        self._ask("RELEASE", inode, ReleaseIn(fh=opened.fh, flags=os.O_WRONLY))
        return reply

    @contextlib.contextmanager
    def _opened(self, inode: int, opening: str, closing: str, how: OpenIn) -> Generator[int, None, None]:
        """A handle; servers that know of none take 0."""
        try:
            (opened,) = self._ask(opening, inode, how).records
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            yield 0
            return
        assert isinstance(opened, OpenOut)
        try:
            yield opened.fh
        finally:
            with contextlib.suppress(OSError):
                self._ask(closing, inode, ReleaseIn(fh=opened.fh, flags=how.flags))

    @contextlib.contextmanager
    def _opened_to_save(self, inode: int) -> Generator[int, None, None]:
        """A handle to write by, also to what may not be written any more.

        Who has written may have opened the file before it was made read-only, or while it made it (git does).
        """
        mode = None
        opened = contextlib.ExitStack()
        try:
            handle = opened.enter_context(self._opened(inode, "OPEN", "RELEASE", OpenIn(os.O_WRONLY)))
        except PermissionError:
            mode = stat.S_IMODE(self.attributes(inode).mode)
            self.set_attributes(inode, Changes(mode=mode | stat.S_IWUSR))
            handle = opened.enter_context(self._opened(inode, "OPEN", "RELEASE", OpenIn(os.O_WRONLY)))
        with opened:
            try:
                yield handle
            finally:
                if mode is not None:
                    self.set_attributes(inode, Changes(mode=mode))

    def _listed(self, directory: int, handle: int) -> Generator[Entry, None, None]:
        connection = self._channel.connection
        offset = 0
        while True:
            plus = bool(connection.features & Init.DO_READDIRPLUS) and connection.knows("READDIRPLUS")
            request = ReadIn(fh=handle, offset=offset, size=_LISTING)
            reply = self._ask("READDIRPLUS" if plus else "READDIR", directory, request, room=_LISTING)
            listed = connection.listed(reply)
            if not listed:
                return
            for one in listed:
                offset = one.dirent.off
                if one.name in (b".", b".."):
                    continue
                if one.entry is not None and one.attributes is not None and one.entry.nodeid:
                    self._known.entered(directory, one.name, one.entry, one.attributes)
                yield Entry(one.name, one.dirent.ino, one.dirent.type << 12)

    def _read(self, inode: int, handle: int, offset: int, size: int) -> bytes:
        return self._ask("READ", inode, ReadIn(fh=handle, offset=offset, size=size), room=size).data

    def _write(self, inode: int, handle: int, fd: int, offset: int, length: int) -> None:
        most = self._channel.connection.max_write
        end = offset + length
        while offset < end:
            data = os.pread(fd, min(most, end - offset), offset)
            if not data:
                return
            request = WriteIn(fh=handle, offset=offset, size=len(data), write_flags=WRITE_CACHE)
            (written,) = self._ask("WRITE", inode, request, data=data).records
            assert isinstance(written, WriteOut)
            if not 0 < written.size <= len(data):
                raise _error(errno.EIO)
            offset += written.size

    # -- remembering --------------------------------------------------------------------------

    def _told(self, inode: int, reply: Reply) -> Attributes:
        out, attr = reply.records
        assert isinstance(out, AttrOut)
        assert isinstance(attr, Attr)
        return self._known.told(inode, out, attr)

    def _notified(self, told: Notification) -> None:
        record = told.record
        if isinstance(record, NotifyInvalInode):
            self._known.changed(self._known.inode(record.ino))
        elif isinstance(record, NotifyInvalEntry | NotifyDelete):
            directory = self._known.inode(record.parent)
            self._known.forget_name(directory, told.data)
            self._known.changed(directory)


@contextlib.contextmanager
def _unsupported() -> Generator[None, None, None]:
    """ENOSYS is EOPNOTSUPP where an extended attribute was asked for."""
    try:
        yield
    except OSError as error:
        raise _error(errno.EOPNOTSUPP) if error.errno == errno.ENOSYS else error from None


@contextlib.contextmanager
def _unless_unknown() -> Generator[None, None, None]:
    """What the server does not know needs not be done."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
