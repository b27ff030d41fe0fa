"""Memory: a file system that is nowhere but here, `memory:`; a base for your own.

Everything that Linux keeps of files is kept: hard links, owners, permissions, times in nanoseconds, extended
attributes, holes.  What programs have open is in the view's memfds; the bytes come here when the view drops
those, and are kept as extents, so that a hole costs nothing.

Locks: one, for all of it.  Nothing in it waits.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from diorama.errors import UsageError
from diorama.interfaces.filesystem import Attributes, Changes, Entry, FileSystem, Statistics
from diorama.modules.options import Options
from diorama.view.acl import ACCESS, DEFAULT, Acl
from diorama.view.asking import now
from diorama.view.mounts import Mount

__all__ = ["MemoryFileSystem", "Node", "make_memory"]

_BLOCK: Final = 4096
_CHUNK: Final = 1 << 20
_MAX_LINKS: Final = 65000
_FILES: Final = 1 << 20


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@dataclass(slots=True)
class Node:
    """An inode; `extents` are what is not a hole, by offset and in order."""

    mode: int
    uid: int
    gid: int
    links: int
    accessed: int
    modified: int
    changed: int
    created: int
    device: int = 0
    size: int = 0
    target: bytes = b""
    names: dict[bytes, int] = field(default_factory=dict[bytes, int])
    extents: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])
    xattrs: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return stat.S_ISDIR(self.mode)

    @property
    def attributes(self) -> Attributes:
        """Its status."""
        size = self.size or len(self.target)
        taken = sum(-(-len(data) // _BLOCK) * _BLOCK for _, data in self.extents)
        return Attributes(
            self.mode,
            size,
            self.links,
            self.modified,
            self.device,
            self.uid,
            self.gid,
            self.accessed,
            self.changed,
            self.created,
            taken,
            acl=Acl.known(self.xattrs.get(ACCESS)),
            default_acl=Acl.known(self.xattrs.get(DEFAULT)),
        )


class MemoryFileSystem(FileSystem):
    """The file system; `mode` are the permissions of its root, which is the caller's."""

    title = "memory"
    writable = True
    saves_late = True
    lasts = False
    has_acls = True

    def __init__(self, mode: int = 0o755) -> None:
        self.lock = threading.RLock()
        self.nodes: dict[int, Node] = {}
        self._next = self.root
        self._enter(Attributes(stat.S_IFDIR | mode, links=2, modified=now()))

    # -- looking at it ------------------------------------------------------------------------

    def lookup(self, directory: int, name: bytes) -> int:
        """The inode of a name."""
        node = self.node(directory)
        inode = node.names.get(name)
        if inode is None:
            raise _error(errno.ENOENT if node.is_directory else errno.ENOTDIR)
        return inode

    def attributes(self, inode: int) -> Attributes:
        """Its status."""
        return self.node(inode).attributes

    def entries(self, directory: int) -> Sequence[Entry]:
        """The names in a directory, in the order in which they were made."""
        with self.lock:
            return [
                Entry(name, inode, stat.S_IFMT(self.nodes[inode].mode))
                for name, inode in self.node(directory).names.items()
            ]

    def copy_content(self, inode: int, fd: int) -> None:
        """Write what is not a hole."""
        node = self.node(inode)
        for offset, data in node.extents:
            _write_all(fd, data, offset)
        os.ftruncate(fd, node.size)

    def readlink(self, inode: int) -> bytes:
        """The target of a symbolic link."""
        node = self.node(inode)
        if not stat.S_ISLNK(node.mode):
            raise _error(errno.EINVAL)
        return node.target

    def statistics(self) -> Statistics:
        """The memory of this machine."""
        blocks, free = (os.sysconf(name) for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
        used = len(self.nodes)
        return Statistics(_BLOCK, blocks, free, files=_FILES + used, free_files=_FILES)

    # -- changing it --------------------------------------------------------------------------

    def make(self, directory: int, name: bytes, attributes: Attributes, target: bytes = b"") -> int:
        """Make a file."""
        with self.lock:
            above = self._free(directory, name)
            if stat.S_ISDIR(attributes.mode) and above.links >= _MAX_LINKS:
                raise _error(errno.EMLINK)
            inode = self._enter(attributes, target)
            above.names[name] = inode
            if stat.S_ISDIR(attributes.mode):
                above.links += 1
            _touch(above)
            return inode

    def make_unnamed(self, directory: int, attributes: Attributes) -> int:
        """Make a regular file without a name."""
        with self.lock:
            inode = self._enter(attributes)
            self.nodes[inode].links = 0
            return inode

    def link(self, inode: int, directory: int, name: bytes) -> None:
        """Give a file another name."""
        with self.lock:
            node = self.node(inode)
            above = self._free(directory, name)
            if node.links >= _MAX_LINKS:
                raise _error(errno.EMLINK)
            above.names[name] = inode
            node.links += 1
            node.changed = now()
            _touch(above)

    def remove(self, directory: int, name: bytes) -> None:
        """Remove a name."""
        with self.lock:
            above = self.node(directory)
            node = self.node(self.lookup(directory, name))
            if node.names:
                raise _error(errno.ENOTEMPTY)
            del above.names[name]
            self._lose(above, node)
            _touch(above)

    def rename(self, directory: int, name: bytes, to_directory: int, to_name: bytes) -> None:
        """Give a name to another place."""
        with self.lock:
            source, target = self.node(directory), self.node(to_directory)
            inode = self.lookup(directory, name)
            node, replaced = self.nodes[inode], target.names.get(to_name)
            if replaced is not None and self.nodes[replaced].names:
                raise _error(errno.ENOTEMPTY)
            if node.is_directory and replaced is None and source is not target and target.links >= _MAX_LINKS:
                raise _error(errno.EMLINK)
            if replaced is not None:
                del target.names[to_name]
                self._lose(target, self.nodes[replaced])
            del source.names[name]
            target.names[to_name] = inode
            if node.is_directory:
                source.links -= 1
                target.links += 1
            node.changed = now()
            _touch(source)
            _touch(target)

    def exchange(self, directory: int, name: bytes, other_directory: int, other_name: bytes) -> None:
        """Exchange two names."""
        with self.lock:
            one, other = self.node(directory), self.node(other_directory)
            first, second = self.lookup(directory, name), self.lookup(other_directory, other_name)
            one.names[name], other.names[other_name] = second, first
            moved = self.nodes[first].is_directory - self.nodes[second].is_directory
            one.links -= moved
            other.links += moved
            for node in (self.nodes[first], self.nodes[second]):
                node.changed = now()
            _touch(one)
            _touch(other)

    def set_attributes(self, inode: int, changes: Changes) -> None:
        """Change its status."""
        with self.lock:
            node = self.node(inode)
            if changes.mode is not None:
                node.mode = stat.S_IFMT(node.mode) | changes.mode
                acl = Acl.known(node.xattrs.get(ACCESS))
                if acl is not None:
                    node.xattrs[ACCESS] = acl.changed(changes.mode).pack()
            node.uid = node.uid if changes.uid is None else changes.uid
            node.gid = node.gid if changes.gid is None else changes.gid
            if changes.size is not None:
                _resize(node, changes.size)
            node.accessed = node.accessed if changes.accessed is None else changes.accessed
            node.modified = node.modified if changes.modified is None else changes.modified
            node.changed = now() if changes.changed is None else changes.changed

    def save_content(self, inode: int, fd: int) -> None:
        """Keep what is not a hole."""
        size = os.fstat(fd).st_size
        extents = list(_extents(fd, size))
        with self.lock:
            node = self.node(inode)
            node.extents, node.size = extents, size

    def get_xattr(self, inode: int, name: bytes) -> bytes:
        """The value of an extended attribute."""
        value = self.node(inode).xattrs.get(name)
        if value is None:
            raise _error(errno.ENODATA)
        return value

    def list_xattrs(self, inode: int) -> Sequence[bytes]:
        """The names of the extended attributes."""
        return list(self.node(inode).xattrs)

    def set_xattr(self, inode: int, name: bytes, value: bytes) -> None:
        """Set an extended attribute."""
        with self.lock:
            node = self.node(inode)
            node.xattrs[name] = value
            node.changed = now()

    def remove_xattr(self, inode: int, name: bytes) -> None:
        """Remove an extended attribute."""
        with self.lock:
            node = self.node(inode)
            if node.xattrs.pop(name, None) is None:
                raise _error(errno.ENODATA)
            node.changed = now()

    def forget(self, inode: int) -> None:
        """Nobody will ask for it again."""
        with self.lock:
            self.nodes.pop(inode, None)

    # -- for those who derive from it ---------------------------------------------------------

    def node(self, inode: int) -> Node:
        """What is known of an inode; ESTALE if it is gone."""
        node = self.nodes.get(inode)
        if node is None:
            raise _error(errno.ESTALE)
        return node

    def _enter(self, attributes: Attributes, target: bytes = b"") -> int:
        inode, self._next = self._next, self._next + 1
        modified = attributes.modified
        self.nodes[inode] = Node(
            mode=attributes.mode,
            uid=attributes.uid,
            gid=attributes.gid,
            links=attributes.links,
            accessed=modified if attributes.accessed is None else attributes.accessed,
            modified=modified,
            changed=modified if attributes.changed is None else attributes.changed,
            created=modified if attributes.created is None else attributes.created,
            device=attributes.device,
            target=target,
            xattrs={
                name: acl.pack()
                for name, acl in ((ACCESS, attributes.acl), (DEFAULT, attributes.default_acl))
                if acl is not None
            },
        )
        return inode

    def _free(self, directory: int, name: bytes) -> Node:
        """A directory that does not have a name."""
        above = self.node(directory)
        if name in above.names:
            raise _error(errno.EEXIST)
        if not above.links:
            raise _error(errno.ENOENT)
        return above

    def _lose(self, above: Node, node: Node) -> None:
        """A name of a file in a directory is gone."""
        node.changed = now()
        if node.is_directory:
            node.links = 0
            above.links -= 1
        else:
            node.links -= 1


def make_memory(rest: str, options: Options) -> Mount:
    """`memory:`, a new one each time; the option `mode` is of its root, in octal."""
    if rest:
        raise UsageError(f"cannot mount memory:{rest}: write memory: alone, or fsspec+memory: for fsspec's")
    mode = options.take("mode") or "755"
    if not re.fullmatch("[0-7]{3,4}", mode):
        raise UsageError(f"cannot mount memory:: mode={mode} is not octal, such as 1777")
    options.finish("memory:")
    return Mount(
        filesystem=MemoryFileSystem(int(mode, 8)),
        read_only=options.read_only,
        source="memory:",
        type="memory",
        options=options.shown,
    )


def _touch(directory: Node) -> None:
    directory.modified = directory.changed = now()


def _resize(node: Node, size: int) -> None:
    node.extents = [(at, data[: max(0, size - at)]) for at, data in node.extents if at < size]
    node.size = size


def _extents(fd: int, size: int) -> list[tuple[int, bytes]]:
    """What is not a hole, in pieces."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break
        end = min(os.lseek(fd, at, os.SEEK_HOLE), size)
        while at < end:
            data = os.pread(fd, min(end - at, _CHUNK), at)
            if not data:
                break
            found.append((at, data))
            at += len(data)
    return found


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done
