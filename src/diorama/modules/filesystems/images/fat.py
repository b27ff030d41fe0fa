"""Fat: FAT12, FAT16 and FAT32, read by dissect.fat and written by mtools.

As under the kernel's vfat, all belongs to who mounts, a file has one permission, to be written or not, and
times are even seconds.  A change is one run of a tool on the image, and what the library knew is forgotten
after it.  Names are found as they are written; one that differs in its capitals only can't be made.

The chains of clusters are followed here (`_runs`): dissect.fat 3.13 takes a cluster that lies before its
predecessor for one behind it, and never comes out of a circle.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Generator, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Final

from diorama.errors import warn_once
from diorama.interfaces.filesystem import Attributes, Changes, Statistics
from diorama.interfaces.paths import chunks_of
from diorama.modules.filesystems.images.part import Part
from diorama.modules.filesystems.images.reading import DissectFileSystem

__all__ = ["FatFileSystem"]

_PATIENCE: Final = 600.0
_SECTOR: Final = 512
_SMALL_BASE: Final = 0x08
_SMALL_EXTENSION: Final = 0x10
_FREE: Final = re.compile(r"([\d ]+) bytes free")
_ENVIRONMENT: Final = {"MTOOLS_SKIP_CHECK": "1", "MTOOLSRC": "/dev/null", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
_FORBIDDEN: Final = frozenset('"*:<>?\\|\x7f') | {chr(code) for code in range(32)}
_REASONS: Final = (
    ("disk full", errno.ENOSPC),
    ("directory slots", errno.ENOSPC),
    ("no free", errno.ENOSPC),
    ("read-only", errno.EROFS),
)


class FatFileSystem(DissectFileSystem):
    """The file system; `image` is the path of the image if it may be written."""

    def __init__(self, part: Part, image: str | None = None) -> None:
        self._image = image
        super().__init__(part, "vfat", (os.getuid(), os.getgid()))
        self.writable = image is not None

    def statistics(self) -> Statistics:
        """Its size, and what is free of it, where it can be written."""
        found = super().statistics()
        if self._image is None:
            return found
        with self._asking():
            told = _FREE.search(self._run("mdir", "::/"))
        free = int(told[1].replace(" ", "")) if told else 0
        return replace(found, block_size=_SECTOR, blocks=self._part.size // _SECTOR, free=free // _SECTOR)

    # -- changing -----------------------------------------------------------------------------

    def save(self, path: str, content: bytes) -> None:
        """Make or replace a file."""
        self._replace(path, (content,))

    def upload(self, path: str, fd: int) -> None:
        """Make or replace a file."""
        self._replace(path, chunks_of(fd), os.fstat(fd).st_mtime_ns)

    def delete(self, path: str) -> None:
        """Remove a file or an empty directory."""
        is_directory = self.stat(path).kind == stat.S_IFDIR
        self._change_image("mrd" if is_directory else "mdel", _quoted(path))

    def make_directory(self, path: str) -> None:
        """Make a directory."""
        self._check_name(path)
        self._change_image("mmd", _new(path))

    def move(self, path: str, to: str) -> None:
        """Rename; a file that is there is removed before."""
        self._check_name(to, path)
        if path.lower() == to.lower():
            # To mtools it is there already.
            beside = _beside(path)
            self._change_image("mren", _quoted(path), _new(beside))
            path = beside
        elif self._is_there(to):
            self.delete(to)
        above, _, name = path.rpartition("/")
        to_above = to.rpartition("/")[0]
        if above != to_above:
            self._change_image("mmove", _quoted(path), _quoted(to_above) + "/")
            path = f"{to_above}/{name}".lstrip("/")
        if path != to:
            self._rename(path, to)

    def change(self, path: str, changes: Changes) -> None:
        """What FAT can keep: whether a file may be written, and when it was."""
        now = self.stat(path)
        if changes.uid not in (None, now.uid) or changes.gid not in (None, now.gid):
            super().change(path, changes)
        if changes.mode is not None:
            if changes.mode & ~0o222 != 0o555 or now.kind == stat.S_IFDIR:
                super().change(path, changes)
            self._change_image("mattrib", "-r" if changes.mode & 0o222 else "+r", _quoted(path))
        if changes.modified is not None and now.kind == stat.S_IFREG:
            self._replace(path, (self.load_part(path, 0, now.size),), changes.modified)

    # -- details ------------------------------------------------------------------------------

    def _name(self, entry: Any) -> str:
        """The long name; a short one may have its two parts in small letters, as flags say."""
        raw = entry.entry
        if raw.ldirents:
            return super()._name(entry)
        flags: int = raw.dirent.DIR_NTRes
        base, dot, extension = raw.short_name.partition(".")
        base = base.lower() if flags & _SMALL_BASE else base
        return f"{base}{dot}{extension.lower() if flags & _SMALL_EXTENSION else extension}"

    def _permissions(self, found: Any) -> int:
        return 0o755

    def stat(self, path: str) -> Attributes:
        """Status, with the permission that FAT knows."""
        found = super().stat(path)
        if found.kind == stat.S_IFREG and self._entry(path).entry.is_readonly():
            return replace(found, mode=found.mode & ~0o222)
        return found

    def _read_again(self) -> None:
        super()._read_again()
        table: Any = self._filesystem.fatfs.fat
        table.runlist = partial(_runs, table)

    def _is_there(self, path: str) -> bool:
        try:
            self.stat(path)
        except FileNotFoundError:
            return False
        return True

    def _check_name(self, path: str, former: str = "") -> None:
        """Whether FAT can have such a name there: EINVAL, EEXIST."""
        above, _, name = path.rpartition("/")
        if _FORBIDDEN & set(name) or name.endswith((".", " ")) or not name.isprintable():
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        for other in self.names(above):
            if "[" in name and other != name and fnmatchcase(other.lower(), name.lower()):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
            if other.lower() == name.lower() and other != name and f"{above}/{other}".strip("/") != former:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)

    def _rename(self, path: str, to: str) -> None:
        """Rename in a directory.

        A short name keeps the flags for small letters that the former had (mtools 4.0.32): it is made anew.
        """
        self._change_image("mren", _quoted(path), _new(to))
        if self._is_there(to):
            return
        above, _, name = to.rpartition("/")
        wrong = next(other for other in self.names(above) if other.lower() == name.lower())
        wrong, beside = f"{above}/{wrong}".lstrip("/"), _beside(to)
        self._change_image("mren", _quoted(wrong), _new(beside))
        found = self.stat(beside)
        if found.kind == stat.S_IFREG:
            self._replace(to, (self.load_part(beside, 0, found.size),), found.modified)
            self._change_image("mdel", _quoted(beside))
            return
        self._change_image("mmd", _new(to))
        for inside in self.names(beside):
            self._change_image("mmove", _quoted(f"{beside}/{inside}"), _quoted(to) + "/")
        self._change_image("mrd", _quoted(beside))

    def _replace(self, path: str, chunks: Iterable[bytes], modified: int | None = None) -> None:
        self._check_name(path)
        read_only = self._is_there(path) and not self.stat(path).mode & 0o222
        if read_only:
            self._change_image("mattrib", "-r", _quoted(path))
        with tempfile.NamedTemporaryFile(prefix="diorama-") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            self._check_room(path, file.tell())
            if modified is not None:
                os.utime(file.fileno(), ns=(modified, modified))
            self._change_image("mcopy", "-o", "-m", "-Q", file.name, _new(path))
        if read_only:
            self._change_image("mattrib", "+r", _quoted(path))

    def _check_room(self, path: str, size: int) -> None:
        """ENOSPC before anything is changed: mcopy removes what it replaces first."""
        free = self.statistics()
        before = self.stat(path).size if self._is_there(path) else 0
        cluster: int = self._filesystem.fatfs.cluster_size
        if -(-size // cluster) * cluster > free.free * free.block_size + -(-before // cluster) * cluster:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _change_image(self, tool: str, *words: str) -> None:
        with self._asking():
            try:
                self._run(tool, *words)
            finally:
                self._read_again()

    def _run(self, tool: str, *words: str) -> str:
        if self._image is None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        done = subprocess.run(
            [tool, "-i", f"{self._image}@@{self._part.start}", *words], stdin=subprocess.DEVNULL, text=True,
            capture_output=True, check=False, timeout=_PATIENCE, env={**os.environ, **_ENVIRONMENT},
            errors="replace", start_new_session=True,
        )  # fmt: skip
        if done.returncode:
            raise _failed(tool, done.stderr)
        return done.stdout


def _failed(tool: str, told: str) -> OSError:
    said = " ".join(told.split())
    code = next((code for words, code in _REASONS if words in said.lower()), None)
    if code is None:
        code = errno.EIO
        warn_once(tool, said[:300])
    return OSError(code, os.strerror(code))


def _beside(path: str) -> str:
    """A name in the same directory that nobody has, and that has small and large letters."""
    above = path.rpartition("/")[0]
    return f"{above}/Diorama {os.urandom(4).hex()}".lstrip("/")


def _quoted(path: str) -> str:
    """A path for mtools, to which `[` begins a pattern in what is there, but not in a name that is made."""
    return "::/" + path.replace("[", "\\[")


def _new(path: str) -> str:
    above, slash, name = path.rpartition("/")
    return f"{_quoted(above)}{slash}{name}"


def _runs(table: Any, cluster: int) -> Generator[tuple[int, int], None, None]:
    """Clusters that lie side by side: the first one, counted from 2, and how many."""
    start = count = 0
    left = table.entry_count
    for one in table.chain(cluster):
        left -= 1
        if left < 0:
            raise OSError(errno.EIO, "clusters in a circle")
        if count and one == start + count:
            count += 1
            continue
        if count:
            yield start - 2, count
        start, count = one, 1
    if count:
        yield start - 2, count
