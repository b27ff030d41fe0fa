"""Lookup: what is seen at a path of several directories that lie one upon another.

A directory that several layers have is merged: its *parts* are those of all layers down to the first that
hides the rest, by being opaque or by being no directory.  Everything else is what the topmost layer has.

The parts of directories are remembered.  What the upper layer has changes by this process or, where nothing
lies below, by programs; both keep what is remembered true, or `forget` it.  Lower layers are other people's:
what is remembered of them are paths, so a file that appears there is seen.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from diorama.modules.filesystems.layers.marks import has_marked_files, is_opaque, is_whiteout

__all__ = ["Found", "Lookup", "Name", "Part"]

_REMEMBERED: Final = 8192


class Found(NamedTuple):
    """What is seen at a path: its host path, its status, and the index of the layer that has it."""

    real: bytes
    status: os.stat_result
    layer: int


class Part(NamedTuple):
    """A directory of one layer, by the index of that; `real` is empty for the host's root."""

    layer: int
    real: bytes


class Name(NamedTuple):
    """One name in a merged directory; `kind` as `Attributes.kind`."""

    name: bytes
    inode: int
    kind: int
    layer: int


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class Lookup:
    """The layers, topmost first.  Any thread.

    `hidden` are host paths that are not seen: the directory of the layer itself.  `short` makes a host path
    short enough for a system call.
    """

    def __init__(
        self,
        layers: Sequence[bytes],
        hidden: frozenset[bytes] = frozenset(),
        short: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self.layers: Final = tuple(layer.rstrip(b"/") for layer in layers)
        self.hidden = hidden
        self._short = short
        self._parts: dict[bytes, tuple[Part, ...]] = {}
        self._age = 0

    def forget(self) -> None:
        """Directories were made, removed or hidden."""
        self._age += 1
        self._parts = {}

    def find(self, path: bytes) -> Found:
        """What is seen at a path; ENOENT, ENOTDIR, EACCES."""
        if not path:
            top = self.layers[0] or b"/"
            return Found(top, os.lstat(top), 0)
        cut = path.rindex(b"/")
        found, _ = self._seek(self.parts(path[:cut]), path[cut:])
        if found is None:
            raise _error(errno.ENOENT)
        return found

    def parts(self, path: bytes) -> tuple[Part, ...]:
        """The parts of a directory, topmost first; ENOENT, ENOTDIR."""
        known = self._parts.get(path)
        if known is not None:
            return known
        age = self._age
        if not path:
            parts = tuple([Part(at, layer) for at, layer in enumerate(self.layers)])
        else:
            cut = path.rindex(b"/")
            found, parts = self._seek(self.parts(path[:cut]), path[cut:])
            if found is None:
                raise _error(errno.ENOENT)
            if not parts:
                raise _error(errno.ENOTDIR)
        if age == self._age:
            if len(self._parts) >= _REMEMBERED:
                self._parts = {}
            self._parts[path] = parts
        return parts

    def below(self, path: bytes) -> Found | None:
        """What would be seen at a path if the topmost layer had nothing there."""
        if not path:
            return None
        cut = path.rindex(b"/")
        parts = self.parts(path[:cut])
        return self._seek(parts[1:] if parts[0].layer == 0 else parts, path[cut:])[0]

    def names(self, path: bytes) -> list[Name]:
        """The names in a directory, without `.` and `..`."""
        seen: dict[bytes, Name | None] = {}
        hidden = self.hidden
        for part in self.parts(path):
            marked = has_marked_files(part.real or b"/")
            with os.scandir(part.real or b"/") as entries:
                for entry in entries:
                    if entry.name not in seen and part.real + b"/" + entry.name not in hidden:
                        seen[entry.name] = _name(entry, part, marked=marked)
        return [name for name in seen.values() if name is not None]

    def is_plain(self, path: bytes) -> bool:
        """Whether the listing of a directory is that of its one part."""
        part, *more = self.parts(path)
        if more:
            return False
        if any(os.path.dirname(hidden) == (part.real or b"/") for hidden in self.hidden):
            return False
        if part.layer == len(self.layers) - 1 and part.layer:
            return True
        marked = has_marked_files(part.real or b"/")
        with os.scandir(part.real or b"/") as entries:
            return all(_name(entry, part, marked=marked) is not None for entry in entries)

    def _seek(self, parts: tuple[Part, ...], name: bytes) -> tuple[Found | None, tuple[Part, ...]]:
        """What is seen by a name (with a slash before it), and its parts if that is a directory."""
        found: Found | None = None
        directories: list[Part] = []
        for part in parts:
            real = self._short(part.real + name)
            try:
                status = os.lstat(real)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if real in self.hidden:
                continue
            if not stat.S_ISDIR(status.st_mode):
                if found is None and not is_whiteout(status, real):
                    found = Found(real, status, part.layer)
                break
            if found is None:
                found = Found(real, status, part.layer)
            directories.append(Part(part.layer, real))
            if part.layer < len(self.layers) - 1 and is_opaque(real):
                break
        return found, tuple(directories)


def _name(entry: os.DirEntry[bytes], part: Part, *, marked: bool) -> Name | None:
    """A name of a listing; None for a whiteout.  `marked`: files may be whiteouts there."""
    # The type alone settles nearly all.
    if entry.is_dir(follow_symlinks=False):
        return Name(entry.name, entry.inode(), stat.S_IFDIR, part.layer)
    if entry.is_symlink():
        return Name(entry.name, entry.inode(), stat.S_IFLNK, part.layer)
    if not marked and entry.is_file(follow_symlinks=False):
        return Name(entry.name, entry.inode(), stat.S_IFREG, part.layer)
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    if is_whiteout(status, part.real + b"/" + entry.name):
        return None
    return Name(entry.name, entry.inode(), stat.S_IFMT(status.st_mode), part.layer)
