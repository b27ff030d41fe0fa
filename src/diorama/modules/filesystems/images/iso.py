"""Iso: ISO 9660 with Rock Ridge or Joliet, and UDF, found by pycdlib and read from the image itself.

All names are known when the image is opened.  The richest of the trees that an image has is the one that is
shown: Rock Ridge's, then Joliet's, UDF's, and plain ISO 9660's, whose names are shown in small letters and
without their version, as the kernel does.
"""

from __future__ import annotations

import calendar
import errno
import os
import stat
import threading
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

from diorama.interfaces.filesystem import Attributes
from diorama.interfaces.tree import Tree
from diorama.modules.backends import numbered_errors
from diorama.modules.filesystems.images.part import Part

__all__ = ["open_iso"]

_LAZY: Final = 4 << 20
_CHUNK: Final = 1 << 20
_MAX_DEPTH: Final = 256


def open_iso(part: Part) -> Tree:
    """The tree of an image; whatever pycdlib raises if it is damaged."""
    iso: Any = import_module("pycdlib").PyCdlib()
    iso.open_fp(part)
    tree = _Iso(part, iso)
    tree.fill()
    return tree


class _Iso(Tree):
    """Locks: `_lock` is held while pycdlib is asked."""

    def __init__(self, part: Part, iso: Any) -> None:
        super().__init__("iso9660")
        self.lazy_above = _LAZY
        self._part, self._iso = part, iso
        self._lock = threading.Lock()
        self._paths: dict[int, str] = {}
        self._kind = next((kind for kind in ("rr", "joliet", "udf") if _has(iso, kind)), "iso")

    def fill(self) -> None:
        """Enter all names."""
        self._fill("/", b"", frozenset())

    def _fill(self, path: str, name: bytes, above: frozenset[int]) -> None:
        if len(above) > _MAX_DEPTH:
            raise ValueError("its directories lead in a circle")
        for record in self._iso.list_children(**{f"{self._kind}_path": path}):
            if record is None or record.is_dot() or record.is_dotdot():
                continue
            theirs = self._name(record)
            inside = f"{path.rstrip('/')}/{theirs}"
            mine = b"/".join(filter(None, (name, self._shown(theirs))))
            attributes = self._attributes(record)
            if attributes.kind == stat.S_IFDIR:
                place = record.extent_location()
                if place in above:
                    raise ValueError("its directories lead in a circle")
                self.add_directory(mine, attributes)
                self._fill(inside, mine, above | {place})
            elif attributes.kind == stat.S_IFLNK:
                self.add_symlink(mine, record.rock_ridge.symlink_path(), attributes)
            else:
                self._paths[self.add(mine, attributes)] = inside

    def _name(self, record: Any) -> str:
        if self._kind == "rr":
            return os.fsdecode(record.rock_ridge.name())
        name: bytes = record.file_identifier()
        if self._kind == "joliet":
            return name.decode("utf-16-be", "surrogatepass")
        return os.fsdecode(name)

    def _shown(self, name: str) -> bytes:
        if self._kind == "iso":
            name = name.partition(";")[0].removesuffix(".").lower()
        elif self._kind == "joliet":
            name = name.partition(";")[0]
        return os.fsencode(name.replace("/", "_"))

    def _attributes(self, record: Any) -> Attributes:
        directory = record.is_dir()
        mode = stat.S_IFDIR | 0o555 if directory else stat.S_IFREG | 0o444
        size = 0 if directory else record.get_data_length()
        uid, gid = os.getuid(), os.getgid()
        links = 2 if directory else 1
        if self._kind == "rr":
            with suppress(AttributeError, TypeError):
                mode = record.rock_ridge.get_file_mode() or mode
                told = _of_posix(record.rock_ridge)
                uid, gid = told.posix_user_id, told.posix_group_id
                links = told.posix_file_links or links
        return Attributes(mode, size, links=links, modified=_time(record), uid=uid, gid=gid)

    def copy_content(self, inode: int, fd: int) -> None:
        """Copy a file."""
        size, offset = self.attributes(inode).size, 0
        while offset < size:
            data = self.read(inode, offset, min(_CHUNK, size - offset))
            if not data:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            os.pwrite(fd, data, offset)
            offset += len(data)

    def read(self, inode: int, offset: int, size: int) -> bytes:
        """A piece of a file."""
        path = self._paths.get(inode)
        if path is None:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not self.attributes(inode).size:
            return b""
        with (
            self._lock,
            numbered_errors("image of type iso9660"),
            self._iso.open_file_from_iso(**{f"{self._kind}_path": path}) as file,
        ):
            file.seek(offset)
            data: bytes = file.read(size)
            return data

    def close(self) -> None:
        """Close the image."""
        self._part.close()


def _has(iso: Any, kind: str) -> bool:
    found: bool = {"rr": iso.has_rock_ridge, "joliet": iso.has_joliet, "udf": iso.has_udf}[kind]()
    return found


def _of_posix(rock_ridge: Any) -> Any:
    """The record of Rock Ridge with owner and links, which may stand in either of two places."""
    entries = rock_ridge.dr_entries.px_record, rock_ridge.ce_entries.px_record
    return next(entry for entry in entries if entry is not None)


def _time(record: Any) -> int:
    """When a file was changed: by its entry in the directory, in nanoseconds."""
    with suppress(AttributeError, ValueError, OverflowError):
        date = record.date
        day = (1900 + date.years_since_1900, date.month, date.day_of_month)
        seconds: int = calendar.timegm((*day, date.hour, date.minute, date.second)) - date.gmtoffset * 900
        return seconds * 10**9
    return 0
