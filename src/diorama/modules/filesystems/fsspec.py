"""Fsspec: any file system that fsspec knows, read-only: `memory:`, `github:`, `https:`, `s3:`.

Fsspec knows paths, the view inode numbers: a path gets its number when it is first seen and keeps it.
Listings and status come from fsspec each time, which caches as far as the protocol allows.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from typing import Any

from diorama.errors import UsageError
from diorama.interfaces.filesystem import Attributes, Entry, FileSystem
from diorama.modules.opening import usage_errors

__all__ = ["FsspecFileSystem", "is_known", "open_fsspec"]

_CHUNK = 1 << 20
_ERRNOS = {
    FileNotFoundError: errno.ENOENT,
    PermissionError: errno.EACCES,
    NotADirectoryError: errno.ENOTDIR,
    IsADirectoryError: errno.EISDIR,
}
_TIMES = ("mtime", "modified", "last_modified", "LastModified", "created")


def is_known(scheme: str) -> bool:
    """Whether fsspec has a protocol of that name, installed or not."""
    fsspec: Any = import_module("fsspec")
    return scheme in fsspec.available_protocols()


def open_fsspec(scheme: str, rest: str) -> FsspecFileSystem:
    """The file system that `scheme://rest` names; `UsageError` if it cannot be reached."""
    core: Any = import_module("fsspec.core")
    rest = rest.removeprefix("//")
    if scheme in ("file", "local"):
        rest = os.path.abspath(rest)
    what = f"{scheme}:{rest}"
    try:
        with usage_errors(what):
            filesystem, path = core.url_to_fs(f"{scheme}://{rest}")
            mounted = FsspecFileSystem(filesystem, path, title=scheme)
            mounted.attributes(mounted.root)
            return mounted
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"cannot mount {what}: {' '.join(str(error).split())}") from error


class FsspecFileSystem(FileSystem):
    """A directory or file of an fsspec file system.

    Locks: `_lock` guards the numbering only; fsspec is called without it, from any thread.
    """

    def __init__(self, filesystem: Any, path: str = "", title: str = "fsspec") -> None:
        self.title = title
        self._filesystem = filesystem
        self._paths = ["", path.rstrip("/")]
        self._inodes = {self._paths[1]: self.root}
        self._lock = threading.Lock()

    def lookup(self, directory: int, name: bytes) -> int:
        """The inode of a name."""
        path = f"{self._paths[directory]}/{os.fsdecode(name)}"
        with _numbered_errors():
            self._filesystem.info(path)
        return self._number(path)

    def attributes(self, inode: int) -> Attributes:
        """Status, as far as the protocol tells."""
        return _attributes(self._info(inode))

    def entries(self, directory: int) -> Sequence[Entry]:
        """The names in a directory."""
        path = self._paths[directory]
        entries: list[Entry] = []
        with _numbered_errors():
            listing = self._filesystem.ls(path, detail=True)
        for info in listing:
            name = str(info["name"]).rstrip("/").rpartition("/")[2]
            if name and str(info["name"]).strip("/") != path.strip("/"):
                inode = self._number(f"{path}/{name}")
                entries.append(Entry(os.fsencode(name), inode, _attributes(info).kind))
        return sorted(entries, key=lambda entry: entry.name)

    def readlink(self, inode: int) -> bytes:
        """The target of a link, where the protocol has links."""
        info = self._info(inode)
        if "destination" not in info:
            return super().readlink(inode)
        target = info["destination"]
        return target if isinstance(target, bytes) else os.fsencode(target)

    def copy_content(self, inode: int, fd: int) -> None:
        """Fetch a file."""
        with (
            _numbered_errors(),
            self._filesystem.open(self._paths[inode], "rb") as source,
            open(fd, "wb", closefd=False) as file,
        ):
            while chunk := source.read(_CHUNK):
                file.write(chunk)

    def _info(self, inode: int) -> dict[str, Any]:
        with _numbered_errors():
            found: dict[str, Any] = self._filesystem.info(self._paths[inode])
        return found

    def _number(self, path: str) -> int:
        with self._lock:
            inode = self._inodes.setdefault(path, len(self._paths))
            if inode == len(self._paths):
                self._paths.append(path)
            return inode


@contextmanager
def _numbered_errors() -> Generator[None, None, None]:
    """Give an errno to the OSErrors that Python code raises without one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        code = next((code for kind, code in _ERRNOS.items() if isinstance(error, kind)), errno.EIO)
        raise OSError(code, os.strerror(code), str(error)) from error


def _attributes(info: dict[str, Any]) -> Attributes:
    is_link = bool(info.get("islink"))
    is_directory = info.get("type") == "directory" and not is_link
    kind = stat.S_IFLNK if is_link else stat.S_IFDIR if is_directory else stat.S_IFREG
    default = 0o777 if is_link else 0o755 if is_directory else 0o644
    permissions = stat.S_IMODE(info["mode"]) if isinstance(info.get("mode"), int) else default
    links = info.get("nlink") or (2 if is_directory else 1)
    return Attributes(kind | permissions, int(info.get("size") or 0), links=links, modified=_modified(info))


def _modified(info: dict[str, Any]) -> int:
    for name in _TIMES:
        value = info.get(name)
        if isinstance(value, datetime):
            return int(value.timestamp() * 10**9)
        if isinstance(value, int | float):
            return int(value * 10**9)
    return 0
