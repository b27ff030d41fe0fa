"""Filesystem: folders as a file system, whose content is made anew for whoever opens a file.

Who looks may matter: the root asks for a *scope* (the network of the task that asks), and what is below
belongs to that.  An inode number belongs to a path in a scope for ever.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Final, NamedTuple

from diorama.interfaces.filesystem import Attributes, Entry, FileSystem, Statistics
from diorama.modules.filesystems.sysfs.nodes import File, Folder, Link, Node

__all__ = ["SystemFiles"]

_SYSFS_MAGIC: Final = 0x62656572
_FIRST: Final = 0xE0000000
_INODES: Final = 1 << 20
_numbers: Final = itertools.count()


class _Where(NamedTuple):
    scope: Hashable
    path: tuple[bytes, ...]


class _Told(NamedTuple):
    content: bytes
    since: int


class SystemFiles(FileSystem):
    """The file system.  Any thread.

    `root` tells who looks what there is, and for which scope: the folder is kept for that.
    """

    title = "sysfs"
    magic = _SYSFS_MAGIC

    def __init__(self, root: Callable[[], tuple[Hashable, Folder]]) -> None:
        # Far from those of the host's sysfs, as it has the same device number.
        self.root = _FIRST + next(_numbers) % 256 * _INODES
        self._root = root
        self._since = time.time_ns()
        self._lock = threading.Lock()
        self._places: list[_Where] = [_Where(None, ())]
        self._inodes: dict[_Where, int] = {}
        self._folders: dict[Hashable, Folder] = {}
        self._told: dict[int, _Told] = {}

    # -- finding ------------------------------------------------------------------------------

    def _at(self, inode: int) -> tuple[Hashable, tuple[bytes, ...], Node]:
        scope, path = self._places[inode - self.root]
        if not path:
            scope, folder = self._root()
            self._folders.setdefault(scope, folder)
            return scope, path, folder
        node: Node | None = self._folders[scope]
        for name in path:
            node = node.find(name) if isinstance(node, Folder) else None
        if node is None:
            raise _fail(errno.ENOENT)
        return scope, path, node

    def _inode(self, where: _Where) -> int:
        with self._lock:
            inode = self._inodes.get(where)
            if inode is None:
                inode = self._inodes[where] = self.root + len(self._places)
                self._places.append(where)
            return inode

    def lookup(self, directory: int, name: bytes) -> int:
        scope, path, node = self._at(directory)
        if not isinstance(node, Folder):
            raise _fail(errno.ENOTDIR)
        if node.find(name) is None:
            raise _fail(errno.ENOENT)
        return self._inode(_Where(scope, (*path, name)))

    def walked(self, inode: int) -> Attributes:
        return self._status(self._at(inode)[2], 0, self._since)

    def attributes(self, inode: int) -> Attributes:
        node = self._at(inode)[2]
        if not isinstance(node, File):
            size = len(node.target) if isinstance(node, Link) else 0
            return self._status(node, size, self._since)
        told = self._now(inode, node)
        return self._status(node, len(told.content), told.since)

    @staticmethod
    def _status(node: Node, size: int, modified: int) -> Attributes:
        if isinstance(node, File):
            mode = stat.S_IFREG | node.mode
        else:
            mode = stat.S_IFLNK | 0o777 if isinstance(node, Link) else stat.S_IFDIR | 0o755
        links = 2 if isinstance(node, Folder) else 1
        return Attributes(mode, size, links, modified, uid=0, gid=0, allocated=0)

    def entries(self, directory: int) -> Sequence[Entry]:
        scope, path, node = self._at(directory)
        if not isinstance(node, Folder):
            raise _fail(errno.ENOTDIR)
        found: list[Entry] = []
        for name in node.names():
            there = node.find(name)
            if there is not None:
                kind = stat.S_IFMT(self._status(there, 0, 0).mode)
                found.append(Entry(name, self._inode(_Where(scope, (*path, name))), kind))
        return found

    # -- reading ------------------------------------------------------------------------------

    def _now(self, inode: int, node: File) -> _Told:
        """What it has now, and since when; nothing where it cannot be read."""
        try:
            content = node.read()
        except OSError:
            content = b""
        with self._lock:
            told = self._told.get(inode)
            if told is None or told.content != content:
                since = max(time.time_ns(), 0 if told is None else told.since + 1)
                told = self._told[inode] = _Told(content, since)
            return told

    def copy_content(self, inode: int, fd: int) -> None:
        """What its status has told of."""
        node = self._at(inode)[2]
        told = self._told.get(inode)
        if isinstance(node, File) and (told is None or not told.content):
            node.read()  # which may be an error
        os.write(fd, b"" if told is None else told.content)

    def readlink(self, inode: int) -> bytes:
        node = self._at(inode)[2]
        if not isinstance(node, Link):
            raise _fail(errno.EINVAL)
        return node.target

    def statistics(self) -> Statistics:
        return Statistics(blocks=0, free=0)


def _fail(code: int) -> OSError:
    return OSError(code, os.strerror(code))
