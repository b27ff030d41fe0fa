"""Zip: the files of a ZIP archive.

Of each member only the place of its record in the archive is kept.  A small member is unpacked when a program
first opens it.  Of a large one that is stored as it is, pieces are read as they are asked for; a compressed
one is unpacked into an unnamed temporary file as far as it is read, since there is no way into its middle.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import threading
from array import array
from collections.abc import Iterator
from typing import IO, Final

from diorama.interfaces.filesystem import Attributes
from diorama.interfaces.tree import Tree
from diorama.modules.opening import open_source, usage_errors
from diorama.modules.zipformat import (
    STORED,
    BadArchive,
    Member,
    Source,
    data_of,
    member_at,
    members_of,
    shift_of,
    unpacked,
)

__all__ = ["open_zip"]

_LAZY: Final = 16 << 20
_LONGEST_LINK: Final = 4096
_SPOOLS: Final = 4


def open_zip(source: str) -> Tree:
    """The archive at a path or URL; `UsageError` if it is missing or corrupt."""
    with usage_errors(f"zip:{source}", BadArchive):
        file = open_source(source)
        try:
            archive = _Zip(Source(file))
            archive.index()
        except BaseException:
            file.close()
            raise
        return archive


class _Zip(Tree):
    """Locks: `_lock` guards the spools, each of which has one of its own for unpacking."""

    def __init__(self, source: Source) -> None:
        super().__init__("zip")
        self._source = source
        self._shift = shift_of(source)
        self._records = array("Q", [0] * len(self._modes))
        self._spools: dict[int, _Spool] = {}
        self._lock = threading.Lock()

    def index(self) -> None:
        """Enter all members; one that comes again replaces the former, as in unzip(1)."""
        for member in members_of(self._source):
            attributes = Attributes(member.mode, member.size, modified=member.modified)
            if attributes.kind == stat.S_IFDIR:
                self.add_directory(member.name, attributes)
            elif attributes.kind == stat.S_IFLNK and member.size < _LONGEST_LINK:
                self.add_symlink(member.name, b"".join(unpacked(self._source, member)), attributes)
            elif member.name.strip(b"/"):
                self._enter_member(member, attributes)

    def _enter_member(self, member: Member, attributes: Attributes) -> None:
        inode = self.add(member.name, attributes)
        self._records.extend([0] * (inode + 1 - len(self._records)))
        self._records[inode] = member.at
        if member.size > _LAZY:
            self.lazy_above = _LAZY

    def close(self) -> None:
        """Close the archive."""
        for spool in self._spools.values():
            spool.close()
        self._source.file.close()

    def copy_content(self, inode: int, fd: int) -> None:
        """Unpack a member."""
        member = self._member(inode)
        with open(fd, "wb", closefd=False) as file:
            file.writelines(unpacked(self._source, member))

    def read(self, inode: int, offset: int, size: int) -> bytes:
        """A piece of a large member."""
        member = self._member(inode)
        size = min(size, member.size - offset)
        if member.method == STORED and not member.encrypted:
            return self._source.read(data_of(self._source, member) + offset, size)
        return self._spool(inode, member).read(offset, size)

    def _member(self, inode: int) -> Member:
        at = self._records[inode] if inode < len(self._records) else 0
        if inode in self._children or not at:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        return member_at(self._source, at, self._shift)

    def _spool(self, inode: int, member: Member) -> _Spool:
        with self._lock:
            spool = self._spools.pop(inode, None) or _Spool(unpacked(self._source, member))
            self._spools[inode] = spool
            if len(self._spools) > _SPOOLS:
                self._spools.pop(next(iter(self._spools)))
            return spool


class _Spool:
    """A member that is being unpacked: its content as far as anybody has read, on disk."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="diorama-")  # noqa: SIM115 (lives as long)
        self._done = 0
        self._error: OSError | None = None
        self._lock = threading.Lock()

    def read(self, offset: int, size: int) -> bytes:
        """Unpack up to the end of a piece, and read it."""
        with self._lock:
            if self._error is None and self._done < offset + size:
                self._unpack(offset + size)
            if self._error is not None and self._done < offset + size:
                raise self._error
            return os.pread(self._file.fileno(), size, offset)

    def _unpack(self, end: int) -> None:
        try:
            for piece in self._pieces:
                self._file.write(piece)
                self._done += len(piece)
                if self._done >= end:
                    break
            self._file.flush()
        except OSError as error:
            self._error = error

    def close(self) -> None:
        """Drop it."""
        self._file.close()
