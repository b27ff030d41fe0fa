"""Reading: file systems of images that the libraries of dissect.target read, without any server.

They are read-only: NTFS, XFS, btrfs and others without a server here, and those whose server is not there.
The libraries have no locks, so they are asked by one thread at a time; whatever they raise is EIO.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, Final

from diorama.interfaces.filesystem import Attributes, Statistics
from diorama.interfaces.paths import PathFileSystem
from diorama.modules.backends import numbered_errors
from diorama.modules.filesystems.images.part import Part

__all__ = ["LIBRARIES", "DissectFileSystem"]

LIBRARIES: Final[dict[str, tuple[str, str]]] = {
    "apfs": ("apfs", "ApfsFilesystem"),
    "btrfs": ("btrfs", "BtrfsFilesystem"),
    "cramfs": ("cramfs", "CramfsFilesystem"),
    "ext2": ("extfs", "ExtFilesystem"),
    "ext3": ("extfs", "ExtFilesystem"),
    "ext4": ("extfs", "ExtFilesystem"),
    "ntfs": ("ntfs", "NtfsFilesystem"),
    "squashfs": ("squashfs", "SquashFSFilesystem"),
    "vfat": ("fat", "FatFilesystem"),
    "xfs": ("xfs", "XfsFilesystem"),
}
"""Types, and the module and class of dissect.target.filesystems for each."""
_CHUNK: Final = 1 << 20
_LAZY: Final = 4 << 20
_MAX_ENTRIES: Final = 10_000


class DissectFileSystem(PathFileSystem):
    """What a library finds in a part of an image.  `owner` is whose it all is, where nobody is said to be.

    Locks: `_lock` is held while the library is asked.
    """

    def __init__(self, part: Part, type: str, owner: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.title = type
        self.lazy_above = _LAZY
        self._part = part
        self._owner = owner
        self._lock = threading.RLock()
        self._entries: OrderedDict[str, Any] = OrderedDict()
        self._filesystem: Any = None
        self._read_again()

    # -- looking ------------------------------------------------------------------------------

    def stat(self, path: str) -> Attributes:
        """Status, without following links."""
        with self._asking():
            found = self._entry(path).lstat()
            kind = stat.S_IFMT(found.st_mode)
            return Attributes(
                kind | self._permissions(found),
                found.st_size if kind in (stat.S_IFREG, stat.S_IFLNK) else 0,
                links=found.st_nlink or 1,
                modified=_nanoseconds(found, "mtime"),
                accessed=_nanoseconds(found, "atime"),
                changed=_nanoseconds(found, "ctime"),
                device=getattr(found, "st_rdev", 0) or 0,
                uid=found.st_uid if self._owner is None else self._owner[0],
                gid=found.st_gid if self._owner is None else self._owner[1],
            )

    def names(self, path: str) -> Iterable[str]:
        """The names in a directory."""
        with self._asking():
            found = [self._name(entry) for entry in self._entry(path).scandir()]
            return [name for name in found if name not in (".", "..")]

    def target(self, path: str) -> str:
        """What a symbolic link leads to."""
        with self._asking():
            return str(self._entry(path).readlink())

    def load_part(self, path: str, offset: int, size: int) -> bytes:
        """A piece of a file."""
        with self._asking(), self._entry(path).open() as file:
            file.seek(offset)
            data: bytes = file.read(size)
            return data

    def download(self, path: str, fd: int) -> None:
        """The content of a file."""
        end, offset = self.stat(path).size, 0
        while offset < end:
            data = self.load_part(path, offset, min(_CHUNK, end - offset))
            if not data:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            os.pwrite(fd, data, offset)
            offset += len(data)

    def statistics(self) -> Statistics:
        """Its size; what of it is free, nobody says."""
        return Statistics(blocks=self._part.size // 4096)

    def close(self) -> None:
        """Close the image."""
        self._part.close()

    # -- details ------------------------------------------------------------------------------

    @contextmanager
    def _asking(self) -> Generator[None, None, None]:
        """One thread asks, and errors get a number."""
        with self._lock, numbered_errors(f"image of type {self.title}"):
            yield

    def _name(self, entry: Any) -> str:
        """The name of what a directory has."""
        name: str = entry.name
        return name

    def _permissions(self, found: Any) -> int:
        return stat.S_IMODE(found.st_mode)

    def _read_again(self) -> None:
        """Forget what the library knows: the image has been changed."""
        module, name = LIBRARIES[self.title]
        with self._lock:
            self._entries.clear()
            kind: Any = getattr(import_module(f"dissect.target.filesystems.{module}"), name)
            self._filesystem = kind(self._part)

    def _entry(self, path: str) -> Any:
        entry = self._entries.get(path)
        if entry is None:
            entry = self._found(path)
            self._entries[path] = entry
            if len(self._entries) > _MAX_ENTRIES:
                self._entries.popitem(last=False)
        return entry

    def _found(self, path: str) -> Any:
        """By its exact name: some libraries don't tell capitals from others, which would be two files."""
        if not path:
            return self._filesystem.get("/")
        above, _, name = path.rpartition("/")
        for one in self._entry(above).scandir():
            if self._name(one) == name:
                return one.get()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _nanoseconds(found: Any, name: str) -> int:
    with suppress(AttributeError, TypeError):
        return int(getattr(found, f"st_{name}_ns"))
    return int(getattr(found, f"st_{name}", 0) * 10**9)
