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
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace

from diorama.interfaces.filesystem import Attributes, Entry, FileSystem, Statistics

__all__ = ["Copy", "Tree"]

Copy = Callable[[int], None]
_BLOCK = 4096
_LATEST = (1 << 63) - 1


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class Tree(FileSystem):
    """The tree; paths are relative to its root, `.`, `..` and empty names in them are dropped.

    Archives have hundreds of thousands of names, so there is no object for each: an inode number is an index
    into columns, and what few inodes have stands in dictionaries.  Who derives from it may keep content in a
    column of its own, `add` with nothing, and override `copy_content` and `read`.
    """

    def __init__(self, title: str, attributes: Attributes | None = None) -> None:
        self.title = title
        self._modes, self._links = array("I"), array("I")
        self._sizes, self._times = array("Q"), array("q")
        self._unusual: dict[int, Attributes] = {}
        self._contents: dict[int, bytes | Copy] = {}
        self._children: dict[int, dict[bytes, int]] = {}
        self._owner = os.getuid(), os.getgid()
        self._counted: tuple[int, Statistics] | None = None
        self._append(Attributes(stat.S_IFDIR))
        self._append(attributes or Attributes(stat.S_IFDIR | 0o755, links=2))

    # -- filling it ---------------------------------------------------------------------------

    def add_directory(self, path: bytes, attributes: Attributes | None = None) -> int:
        """Make a directory, or set the attributes of one that is there; its inode."""
        inode = self.root
        for name in _names(path):
            inode = self._directory(inode, name)
        if attributes is not None:
            self._set(inode, attributes)
        return inode

    def add_file(self, path: bytes, content: bytes | Copy, attributes: Attributes | None = None) -> int:
        """Make a regular file of bytes, or of a function that writes them to a descriptor; its inode.

        With a function, `attributes` must be there and tell the size.  A device, FIFO or socket is a file
        without content.
        """
        if isinstance(content, bytes):
            attributes = replace(attributes or Attributes(stat.S_IFREG | 0o644), size=len(content))
        elif attributes is None:
            raise ValueError(f"{path!r}: a file made by a function needs attributes")
        inode = self.add(path, attributes)
        self._contents[inode] = content
        return inode

    def add_symlink(self, path: bytes, target: bytes, attributes: Attributes | None = None) -> int:
        """Make a symbolic link; its inode."""
        attributes = attributes or Attributes(stat.S_IFLNK | 0o777)
        inode = self.add(path, replace(attributes, size=len(target)))
        self._contents[inode] = target
        return inode

    def add_link(self, path: bytes, existing: bytes) -> int:
        """Give something that is there a second name; its inode.  ENOENT, EPERM for a directory."""
        inode = self.find(existing)
        if inode in self._children:
            raise _error(errno.EPERM)
        self._enter(path, inode)
        self._links[inode] += 1
        return inode

    def add(self, path: bytes, attributes: Attributes) -> int:
        """Make something with no content of its own here; its inode, which is the next number."""
        inode = self._append(attributes)
        self._enter(path, inode)
        return inode

    def find(self, path: bytes) -> int:
        """The inode of a path, links not followed; ENOENT, ENOTDIR."""
        inode = self.root
        for name in _names(path):
            inode = self.lookup(inode, name)
        return inode

    def _append(self, attributes: Attributes) -> int:
        inode = len(self._modes)
        for column in (self._modes, self._sizes, self._times):
            column.append(0)
        self._links.append(attributes.links)
        self._set(inode, attributes)
        if attributes.kind == stat.S_IFDIR:
            self._children[inode] = {}
        return inode

    def _set(self, inode: int, attributes: Attributes) -> None:
        """All but the number of links."""
        self._modes[inode] = attributes.mode
        self._sizes[inode] = attributes.size
        self._times[inode] = min(max(attributes.modified, -_LATEST), _LATEST)
        times = attributes.accessed, attributes.changed, attributes.created
        usual = not attributes.device and attributes.allocated is None and times == (None, None, None)
        if usual and (attributes.uid, attributes.gid) == self._owner:
            self._unusual.pop(inode, None)
        else:
            self._unusual[inode] = attributes

    def _usual(self, inode: int) -> Attributes:
        uid, gid = self._owner
        return Attributes(
            self._modes[inode], self._sizes[inode], self._links[inode], self._times[inode], uid=uid, gid=gid
        )

    def _enter(self, path: bytes, inode: int) -> None:
        names = _names(path)
        if not names:
            raise _error(errno.EISDIR)
        parent = self.root
        for name in names[:-1]:
            parent = self._directory(parent, name)
        self._drop(parent, names[-1])
        self._children[parent][names[-1]] = inode

    def _directory(self, parent: int, name: bytes) -> int:
        inode = self._children[parent].get(name)
        if inode is not None and inode in self._children:
            return inode
        self._drop(parent, name)
        above = self.attributes(parent)
        inode = self._append(Attributes(stat.S_IFDIR | 0o755, links=2, uid=above.uid, gid=above.gid))
        self._children[parent][name] = inode
        self._links[parent] += 1
        return inode

    def _drop(self, parent: int, name: bytes) -> None:
        inode = self._children[parent].pop(name, None)
        if inode is None:
            return
        self._links[inode] -= 1
        if inode in self._children:
            self._links[parent] -= 1

    # -- the file system ----------------------------------------------------------------------

    def lookup(self, directory: int, name: bytes) -> int:
        """The inode of a name."""
        children = self._children.get(directory)
        if children is None:
            raise _error(errno.ENOTDIR)
        inode = children.get(name)
        if inode is None:
            raise _error(errno.ENOENT)
        return inode

    def attributes(self, inode: int) -> Attributes:
        """Its status."""
        unusual = self._unusual.get(inode)
        return self._usual(inode) if unusual is None else replace(unusual, links=self._links[inode])

    def entries(self, directory: int) -> Sequence[Entry]:
        """The names, in the order in which they were added."""
        modes = self._modes
        return [
            Entry(name, inode, stat.S_IFMT(modes[inode])) for name, inode in self._children[directory].items()
        ]

    def copy_content(self, inode: int, fd: int) -> None:
        """Write the content of a file."""
        content = self._contents.get(inode)
        if content is None or inode in self._children:
            raise _error(errno.EISDIR)
        if not isinstance(content, bytes):
            content(fd)
            return
        with open(fd, "wb", closefd=False) as file:
            file.write(content)

    def readlink(self, inode: int) -> bytes:
        """The target of a link."""
        target = self._contents.get(inode)
        if not stat.S_ISLNK(self._modes[inode]) or not isinstance(target, bytes):
            raise _error(errno.EINVAL)
        return target

    def statistics(self) -> Statistics:
        """Block and file counts, nothing free."""
        count = len(self._modes)
        if self._counted is None or self._counted[0] != count:
            blocks = sum(-(-size // _BLOCK) for size in self._sizes)
            self._counted = count, Statistics(blocks=blocks, files=count - 1)
        return self._counted[1]


def _names(path: bytes) -> list[bytes]:
    return [name for name in path.split(b"/") if name not in (b"", b".", b"..")]

