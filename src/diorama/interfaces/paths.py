"""Paths: a file system written in terms of paths, with a handful of methods.

    class Notes(PathFileSystem):
        title = "notes"

        def __init__(self):
            super().__init__()
            self.notes = {"today": b"buy milk\n"}

        def stat(self, path):
            if path in self.notes:
                return file_status(len(self.notes[path]))
            return directory_status() if path == "" else missing()

        def names(self, path):
            return self.notes

        def load(self, path):
            return self.notes[path]

That is a read-only one.  With `writable = True` it has `save`, `delete` and, if there are directories,
`make_directory` and `move` besides.  What knows inodes itself derives from `FileSystem`.

Paths are `str`, relative to the root, which is the empty one; bytes that are not UTF-8 are surrogates
(os.fsdecode).  Numbers of inodes are made here: that of a path which nobody has looked up is a hash, so a
listing leaves nothing behind; after that it belongs to the file, which keeps it when it is renamed.  They
have 31 bits, since more is an error for some programs of 32 bits; of two names with the same hash, which is
rare, one gets another number when it is looked up.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import blake2b
from typing import Final, NoReturn

from diorama.interfaces.filesystem import Attributes, Changes, Entry, FileSystem

__all__ = ["PathFileSystem", "directory_status", "file_status", "missing"]

_CHUNK: Final = 1 << 20
_LOOK, _CONTENT, _NAMES = range(3)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def missing() -> NoReturn:
    """Say that there is no such file: ENOENT."""
    raise _error(errno.ENOENT)


def file_status(size: int, *, mode: int = 0o644, modified: int = 0) -> Attributes:
    """The status of a regular file; `modified` in nanoseconds since the epoch."""
    return Attributes(stat.S_IFREG | mode, size, modified=modified)


def directory_status(*, mode: int = 0o755, modified: int = 0) -> Attributes:
    """The status of a directory."""
    return Attributes(stat.S_IFDIR | mode, links=2, modified=modified)


class PathFileSystem(FileSystem):
    """A file system of paths.  Derive from it, and call `super().__init__()`.

    As with `FileSystem`, methods are called by several threads at once, and what they are asked has been
    checked: `delete`, say, is not asked for a directory with names in it as long as `names` tells them.
    """

    def __init__(self) -> None:
        self._numbers = _Numbers()
        self._turns = _Turns()
        self._unlinked: dict[int, Attributes] = {}

    # -- what is to be written ----------------------------------------------------------------

    @abstractmethod
    def stat(self, path: str) -> Attributes:
        """The status of what is at a path; ENOENT (`missing()`) if there is nothing."""

    @abstractmethod
    def names(self, path: str) -> Iterable[str]:
        """The names in a directory."""

    def load(self, path: str) -> bytes:
        """The content of a regular file."""
        raise _error(errno.EIO)

    def load_part(self, path: str, offset: int, size: int) -> bytes:
        """A piece of it, with `lazy_above`; shorter only at the end of the file."""
        return self.load(path)[offset : offset + size]

    def target(self, path: str) -> str:
        """What a symbolic link leads to."""
        raise _error(errno.EINVAL)

    def save(self, path: str, content: bytes) -> None:
        """Make a regular file with this content, or replace that of one that is there."""
        raise _error(errno.EROFS)

    def delete(self, path: str) -> None:
        """Remove a file, or an empty directory."""
        raise _error(errno.EROFS)

    def make_directory(self, path: str) -> None:
        """Make a directory."""
        raise _error(errno.EPERM)

    def make_symlink(self, path: str, target: str) -> None:
        """Make a symbolic link."""
        raise _error(errno.EPERM)

    def move(self, path: str, to: str) -> None:
        """Give a file or directory another path, in the place of what is there (no directory with names).

        Without it a regular file is loaded, saved and deleted, and a directory is EXDEV: mv(1) copies then.
        """
        if self.stat(path).kind != stat.S_IFREG:
            raise _error(errno.EXDEV)
        self.save(to, self.load(path))
        self.delete(path)

    def change(self, path: str, changes: Changes) -> None:
        """Change permissions, owner or times; EPERM for what can't be kept."""
        raise _error(errno.EPERM)

    # -- for large files and directories ------------------------------------------------------

    def scan(self, path: str) -> Iterable[tuple[str, int]]:
        """The names in a directory with the type of each, if that is known without `stat`."""
        return [(name, self.stat(_join(path, name)).kind) for name in self.names(path)]

    def download(self, path: str, fd: int) -> None:
        """Write the content of a regular file to `fd`, if `load` would take too much memory."""
        with open(fd, "wb", closefd=False) as file:
            file.write(self.load(path))

    def upload(self, path: str, fd: int) -> None:
        """As `save`, with the content of the open file `fd`."""
        self.save(path, b"".join(chunks_of(fd)))

    # -- the file system of inodes ------------------------------------------------------------

    def lookup(self, directory: int, name: bytes) -> int:
        """The inode of a name."""
        with self._turns.of(_LOOK, lambda: (self._child(directory, name),)) as (path,):
            self.stat(path)
            return self._numbers.keep(path)

    def attributes(self, inode: int) -> Attributes:
        """Its status."""
        with self._turns.of(_LOOK, lambda: self._now(inode)) as paths:
            if paths:
                return self.stat(paths[0])
            if inode not in self._unlinked:
                raise _error(errno.ESTALE)
            return self._unlinked[inode]

    def entries(self, directory: int) -> Sequence[Entry]:
        """The names in a directory, in the order of their bytes."""
        with self._turns.of(_LOOK, lambda: (self._path(directory),)) as (path,):
            found = [
                Entry(os.fsencode(name), self._numbers.of(_join(path, name)), kind)
                for name, kind in self.scan(path)
            ]
        return sorted(found, key=lambda entry: entry.name)

    def readlink(self, inode: int) -> bytes:
        """The target of a link."""
        with self._turns.of(_LOOK, lambda: (self._path(inode),)) as (path,):
            return os.fsencode(self.target(path))

    def copy_content(self, inode: int, fd: int) -> None:
        """Write the content of a file."""
        with self._turns.of(_LOOK, lambda: (self._path(inode),)) as (path,):
            self.download(path, fd)

    def read(self, inode: int, offset: int, size: int) -> bytes:
        """A piece of a file."""
        with self._turns.of(_LOOK, lambda: (self._path(inode),)) as (path,):
            return self.load_part(path, offset, size)

    def make(self, directory: int, name: bytes, attributes: Attributes, target: bytes = b"") -> int:
        """Make a file, a directory or a symbolic link; the others can't be made."""
        with self._turns.of(_NAMES, lambda: (self._child(directory, name),)) as (path,):
            if attributes.kind == stat.S_IFREG:
                self.save(path, b"")
            elif attributes.kind == stat.S_IFDIR:
                self.make_directory(path)
            elif attributes.kind == stat.S_IFLNK:
                self.make_symlink(path, os.fsdecode(target))
            else:
                raise _error(errno.EPERM)
            if attributes.kind != stat.S_IFLNK:
                with suppress(OSError):
                    wanted = Changes(stat.S_IMODE(attributes.mode), attributes.uid, attributes.gid)
                    self._change(path, wanted)
            return self._numbers.keep(path)

    def remove(self, directory: int, name: bytes) -> None:
        """Remove a name; what is open stays known until it is forgotten."""
        with self._turns.of(_NAMES, lambda: (self._child(directory, name),)) as (path,):
            last = self.stat(path)
            if last.kind == stat.S_IFDIR and any(True for _ in self.names(path)):
                raise _error(errno.ENOTEMPTY)
            self.delete(path)
            self._unlink(path, last)

    def rename(self, directory: int, name: bytes, to_directory: int, to_name: bytes) -> None:
        """Give a file another path."""

        def both() -> tuple[str, str]:
            return self._child(directory, name), self._child(to_directory, to_name)

        with self._turns.of(_NAMES, both) as (path, to):
            if path == to:
                return
            replaced = self._replaced(to)
            self.move(path, to)
            if replaced is not None:
                self._unlink(to, replaced)
            self._numbers.move(path, to)

    def set_attributes(self, inode: int, changes: Changes) -> None:
        """Change what is not so already."""
        with self._turns.of(_CONTENT, lambda: self._now(inode)) as paths:
            for path in paths:
                if changes.size is not None:
                    self._resize(path, changes.size)
                self._change(path, changes)

    def save_content(self, inode: int, fd: int) -> None:
        """Keep the content of a file, unless it was removed meanwhile."""
        with self._turns.of(_CONTENT, lambda: self._now(inode)) as paths:
            for path in paths:
                self.upload(path, fd)

    def forget(self, inode: int) -> None:
        """Nobody has it open any more."""
        self._unlinked.pop(inode, None)
        self._numbers.forget(inode)

    # -- details ------------------------------------------------------------------------------

    def _now(self, inode: int) -> tuple[str, ...]:
        """Its path, if it has one."""
        path = self._numbers.path(inode)
        return () if path is None else (path,)

    def _path(self, inode: int) -> str:
        path = self._numbers.path(inode)
        if path is None:
            raise _error(errno.ESTALE)
        return path

    def _child(self, directory: int, name: bytes) -> str:
        path = self._numbers.path(directory)
        if path is None:
            missing()  # nothing is made or found in a directory that was removed
        return _join(path, os.fsdecode(name))

    def _replaced(self, path: str) -> Attributes | None:
        try:
            found = self.stat(path)
        except FileNotFoundError:
            return None
        if found.kind == stat.S_IFDIR:
            if any(True for _ in self.names(path)):
                raise _error(errno.ENOTEMPTY)
            self.delete(path)
        return found

    def _unlink(self, path: str, last: Attributes) -> None:
        inode = self._numbers.drop(path)
        if inode is not None:
            self._unlinked[inode] = replace(last, links=0)

    def _change(self, path: str, changes: Changes) -> None:
        wanted = _difference(changes, self.stat(path))
        if wanted != Changes():
            self.change(path, wanted)

    def _resize(self, path: str, size: int) -> None:
        if not size:
            self.save(path, b"")
            return
        fd = os.memfd_create("resized", os.MFD_CLOEXEC)
        try:
            self.download(path, fd)
            os.ftruncate(fd, size)
            self.upload(path, fd)
        finally:
            os.close(fd)


def chunks_of(fd: int) -> Iterable[bytes]:
    """The content of an open file from its beginning, wherever its offset is."""
    offset = 0
    while chunk := os.pread(fd, _CHUNK, offset):
        yield chunk
        offset += len(chunk)


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _difference(changes: Changes, now: Attributes) -> Changes:
    """What of the changes is not so already; a size is not a matter of status here."""
    return Changes(
        mode=None if changes.mode == stat.S_IMODE(now.mode) else changes.mode,
        uid=None if changes.uid == now.uid else changes.uid,
        gid=None if changes.gid == now.gid else changes.gid,
        accessed=None if changes.accessed in (now.accessed, now.modified) else changes.accessed,
        modified=None if changes.modified == now.modified else changes.modified,
    )


class _Turns:
    """Who uses a path while others may give it to something else.  Any thread.

    Content takes its time on the way to its path, and must not arrive where another file is by then.  So a
    name is changed only when nobody uses that path or one below it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken: list[tuple[int, tuple[str, ...]]] = []

    @contextmanager
    def of(self, use: int, find: Callable[[], tuple[str, ...]]) -> Generator[tuple[str, ...], None, None]:
        """What `find` says are the paths, which they are as long as the context lasts."""
        with self._changed:
            while self._is_taken(use, paths := find()):
                self._changed.wait()
            mine = (use, paths)
            self._taken.append(mine)
        try:
            yield paths
        finally:
            with self._changed:
                self._taken.remove(mine)
                self._changed.notify_all()

    def _is_taken(self, use: int, paths: tuple[str, ...]) -> bool:
        return any(
            _exclude(use, path, other, one) for other, taken in self._taken for one in taken for path in paths
        )


def _exclude(use: int, path: str, other_use: int, other: str) -> bool:
    if use == other_use == _CONTENT:
        return path == other
    changes = use == _NAMES and f"{other}/".startswith(f"{path}/")
    return changes or (other_use == _NAMES and f"{path}/".startswith(f"{other}/"))


class _Numbers:
    """Which inode number a path has, and which path a number.  Any thread.

    A number is given again only after its file was forgotten.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paths: dict[int, str] = {FileSystem.root: ""}
        self._inodes: dict[str, int] = {"": FileSystem.root}
        self._dropped: dict[int, str] = {}

    def of(self, path: str) -> int:
        """The number of a path, which is not remembered for it."""
        with self._lock:
            return self._of(path)

    def keep(self, path: str) -> int:
        """The number of a path, which it has from now on."""
        with self._lock:
            inode = self._of(path)
            self._inodes[path] = inode
            self._paths[inode] = path
            return inode

    def path(self, inode: int) -> str | None:
        """The path of a number; None if it has none any more."""
        return self._paths.get(inode)

    def drop(self, path: str) -> int | None:
        """A path is gone: the number that it had, if anybody may know it."""
        with self._lock:
            inode = self._inodes.pop(path, None)
            if inode is not None:
                del self._paths[inode]
                self._dropped[inode] = path
            return inode

    def move(self, path: str, to: str) -> None:
        """A path is another one now, and all that is below it."""
        with self._lock:
            below = path + "/"
            for old in [one for one in self._inodes if one == path or one.startswith(below)]:
                inode = self._inodes.pop(old)
                new = to + old[len(path) :]
                self._inodes[new] = inode
                self._paths[inode] = new

    def forget(self, inode: int) -> None:
        """A dropped number may be given again."""
        with self._lock:
            self._dropped.pop(inode, None)

    def _of(self, path: str) -> int:
        inode = self._inodes.get(path)
        salt = 0
        while inode is None:
            text = os.fsencode(path) + b"\0%d" % salt
            number = int.from_bytes(blake2b(text, digest_size=4).digest(), "little") >> 1
            free = number > FileSystem.root and number not in self._paths and number not in self._dropped
            inode, salt = (number if free else None), salt + 1
        return inode
