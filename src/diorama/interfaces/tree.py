"""Tree: a file system whose names are all known beforehand, such as an archive.

    tree = Tree("example")
    tree.add_file(b"doc/readme", b"hello\n")
    tree.add_symlink(b"readme", b"doc/readme")
    view.mount(tree, "/mnt")

Directories above a name are made as needed; adding one later only sets its attributes.  A name that is added
again replaces what it was, as unpacking an archive would.  Fill it before it is mounted.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from diorama.interfaces.filesystem import Attributes, Entry, FileSystem, Statistics

__all__ = ["Copy", "Tree"]

Copy = Callable[[int], None]
_BLOCK = 4096


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@dataclass(slots=True)
class _Node:
    attributes: Attributes
    children: dict[bytes, int] = field(default_factory=dict[bytes, int])
    target: bytes = b""
    copy: Copy | None = None


class Tree(FileSystem):
    """The tree; paths are relative to its root, `.`, `..` and empty names in them are dropped."""

    def __init__(self, title: str, attributes: Attributes | None = None) -> None:
        self.title = title
        self._nodes: list[_Node] = [_Node(Attributes(stat.S_IFDIR))]
        self._nodes.append(_Node(attributes or Attributes(stat.S_IFDIR | 0o755, links=2)))

    # -- filling it ---------------------------------------------------------------------------

    def add_directory(self, path: bytes, attributes: Attributes | None = None) -> int:
        """Make a directory, or set the attributes of one that is there; its inode."""
        inode = self.root
        for name in _names(path):
            inode = self._directory(inode, name)
        if attributes is not None:
            node = self._nodes[inode]
            node.attributes = replace(attributes, links=node.attributes.links)
        return inode

    def add_file(self, path: bytes, content: bytes | Copy, attributes: Attributes | None = None) -> int:
        """Make a regular file of bytes, or of a function that writes them to a descriptor; its inode.

        With a function, `attributes` must be there and tell the size.  A device, FIFO or socket is a file
        without content.
        """
        if isinstance(content, bytes):
            attributes = replace(attributes or Attributes(stat.S_IFREG | 0o644), size=len(content))
            return self._add(path, _Node(attributes, copy=_writer(content)))
        if attributes is None:
            raise ValueError(f"{path!r}: a file made by a function needs attributes")
        return self._add(path, _Node(attributes, copy=content))

    def add_symlink(self, path: bytes, target: bytes, attributes: Attributes | None = None) -> int:
        """Make a symbolic link; its inode."""
        attributes = attributes or Attributes(stat.S_IFLNK | 0o777)
        return self._add(path, _Node(replace(attributes, size=len(target)), target=target))

    def add_link(self, path: bytes, existing: bytes) -> int:
        """Give something that is there a second name; its inode.  ENOENT, EPERM for a directory."""
        inode = self.find(existing)
        node = self._nodes[inode]
        if stat.S_ISDIR(node.attributes.mode):
            raise _error(errno.EPERM)
        self._enter(path, inode)
        node.attributes = replace(node.attributes, links=node.attributes.links + 1)
        return inode

    def find(self, path: bytes) -> int:
        """The inode of a path, links not followed; ENOENT, ENOTDIR."""
        inode = self.root
        for name in _names(path):
            inode = self.lookup(inode, name)
        return inode

    def _add(self, path: bytes, node: _Node) -> int:
        self._nodes.append(node)
        inode = len(self._nodes) - 1
        self._enter(path, inode)
        return inode

    def _enter(self, path: bytes, inode: int) -> None:
        names = _names(path)
        if not names:
            raise _error(errno.EISDIR)
        parent = self.add_directory(b"/".join(names[:-1]))
        self._drop(parent, names[-1])
        self._nodes[parent].children[names[-1]] = inode

    def _directory(self, parent: int, name: bytes) -> int:
        children = self._nodes[parent].children
        inode = children.get(name)
        if inode is not None and stat.S_ISDIR(self._nodes[inode].attributes.mode):
            return inode
        self._drop(parent, name)
        above = self._nodes[parent].attributes
        self._nodes.append(_Node(Attributes(stat.S_IFDIR | 0o755, links=2, uid=above.uid, gid=above.gid)))
        children[name] = len(self._nodes) - 1
        self._relink(parent, 1)
        return children[name]

    def _drop(self, parent: int, name: bytes) -> None:
        inode = self._nodes[parent].children.pop(name, None)
        if inode is None:
            return
        self._relink(inode, -1)
        if stat.S_ISDIR(self._nodes[inode].attributes.mode):
            self._relink(parent, -1)

    def _relink(self, inode: int, by: int) -> None:
        node = self._nodes[inode]
        node.attributes = replace(node.attributes, links=node.attributes.links + by)

    # -- the file system ----------------------------------------------------------------------

    def lookup(self, directory: int, name: bytes) -> int:
        """The inode of a name."""
        node = self._nodes[directory]
        inode = node.children.get(name)
        if inode is None:
            raise _error(errno.ENOENT if stat.S_ISDIR(node.attributes.mode) else errno.ENOTDIR)
        return inode

    def attributes(self, inode: int) -> Attributes:
        """Its status."""
        return self._nodes[inode].attributes

    def entries(self, directory: int) -> Sequence[Entry]:
        """The names, in the order in which they were added."""
        return [
            Entry(name, inode, self._nodes[inode].attributes.kind)
            for name, inode in self._nodes[directory].children.items()
        ]

    def copy_content(self, inode: int, fd: int) -> None:
        """Write the content of a file."""
        copy = self._nodes[inode].copy
        if copy is None:
            raise _error(errno.EISDIR)
        copy(fd)

    def readlink(self, inode: int) -> bytes:
        """The target of a link."""
        node = self._nodes[inode]
        if not stat.S_ISLNK(node.attributes.mode):
            raise _error(errno.EINVAL)
        return node.target

    def statistics(self) -> Statistics:
        """Block and file counts, nothing free."""
        sizes = (node.attributes.size for node in self._nodes)
        return Statistics(blocks=sum(-(-size // _BLOCK) for size in sizes), files=len(self._nodes) - 1)


def _names(path: bytes) -> list[bytes]:
    return [name for name in path.split(b"/") if name not in (b"", b".", b"..")]


def _writer(content: bytes) -> Copy:
    def copy(fd: int) -> None:
        with open(fd, "wb", closefd=False) as file:
            file.write(content)

    return copy
