"""Files: a host that is a dictionary, and a small file system, for tests."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["FakeHost", "FakeStatus"]

_MAX_LINKS = 40


@dataclass(frozen=True, slots=True)
class FakeStatus:
    """What the view reads of a status."""

    st_mode: int
    st_dev: int = 1
    st_ino: int = 0


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class FakeHost:
    """A host of paths: None is a directory, bytes the target of a symbolic link, str a file.

    Directories above a path are made.  `links` are links of /proc: path to (text, status).
    """

    def __init__(
        self,
        tree: Mapping[str, bytes | str | None] | None = None,
        links: Mapping[str, tuple[bytes, FakeStatus]] | None = None,
    ) -> None:
        self.tree: dict[bytes, bytes | str | None] = {b"": None}
        self.links: dict[bytes, tuple[bytes, FakeStatus]] = {}
        self.asked: list[bytes] = []
        for path, node in (tree or {}).items():
            self.add(path.encode(), node)
        for path, link in (links or {}).items():
            self.link(path.encode(), *link)

    def add(self, path: bytes, node: bytes | str | None) -> None:
        """Put something at a path."""
        at = path.rstrip(b"/")
        self.tree[at] = node
        while at:
            at = at[: at.rfind(b"/")]
            self.tree.setdefault(at, None)

    def link(self, path: bytes, text: bytes, status: FakeStatus) -> None:
        """Put a link of /proc at a path: its text, and the object that it stands for."""
        self.add(path, text)
        self.links[path] = (text, status)

    def lstat(self, path: bytes) -> FakeStatus:
        """Status, of a symbolic link itself."""
        self.asked.append(path)
        at = path.rstrip(b"/")
        if at not in self.tree:
            above = self.tree.get(at[: at.rfind(b"/")], b"")
            raise _error(errno.ENOTDIR if isinstance(above, str) else errno.ENOENT)
        node = self.tree[at]
        kind = stat.S_IFDIR if node is None else stat.S_IFLNK if isinstance(node, bytes) else stat.S_IFREG
        return FakeStatus(kind | 0o755, 1, list(self.tree).index(at))

    def stat(self, path: bytes) -> FakeStatus:
        """Status, of what a link leads to."""
        for _ in range(_MAX_LINKS):
            if path in self.links:
                return self.links[path][1]
            status = self.lstat(path)
            if not stat.S_ISLNK(status.st_mode):
                return status
            path = os.path.join(os.path.dirname(path), self.readlink(path))
        raise _error(errno.ELOOP)

    def readlink(self, path: bytes) -> bytes:
        """The target of a symbolic link."""
        node = self.tree.get(path)
        if node is None:
            raise _error(errno.EINVAL if path in self.tree else errno.ENOENT)
        if isinstance(node, str):
            raise _error(errno.EINVAL)
        return node
