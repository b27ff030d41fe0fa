"""Zip: the files of a ZIP archive.

Read with `zipfile` itself, because fsspec's file system hides permissions, times and symbolic links (and
takes longer to import than most archives to index).  A member is unpacked when a program first opens it.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import struct
import threading
import time
import zipfile
import zlib
from functools import partial
from typing import IO, Final

from diorama.interfaces.filesystem import Attributes
from diorama.interfaces.tree import Tree
from diorama.modules.opening import open_source, usage_errors

__all__ = ["open_zip"]

_UNIX: Final = 3
_UTF8_NAME: Final = 0x800
_EXTENDED_TIMESTAMP: Final = 0x5455
_DAMAGE: Final = (zipfile.BadZipFile, zlib.error, EOFError, ValueError)


def open_zip(source: str) -> Tree:
    """The archive at a path or URL; `UsageError` if it is missing or corrupt."""
    with usage_errors(f"zip:{source}", zipfile.BadZipFile, NotImplementedError):
        archive = _Zip(_open(open_source(source)))
        archive.index()
        return archive


def _open(file: IO[bytes]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except BaseException:
        file.close()
        raise


class _Zip(Tree):
    """Locks: opening and closing members counts references in the `ZipFile`; reading locks itself."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        super().__init__("zip")
        self._archive = archive
        self._lock = threading.Lock()

    def index(self) -> None:
        """Enter all members; one that comes again replaces the former, as in unzip(1)."""
        for info in self._archive.infolist():
            name = _name_of(info)
            attributes = Attributes(_mode_of(info), info.file_size, modified=_modified(info))
            if attributes.kind == stat.S_IFDIR:
                self.add_directory(name, attributes)
            elif attributes.kind == stat.S_IFLNK:
                self.add_symlink(name, self._archive.read(info), attributes)
            elif name.strip(b"/"):
                self.add_file(name, partial(self._unpack, info), attributes)

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()
        if self._archive.fp is not None:
            self._archive.fp.close()

    def _unpack(self, info: zipfile.ZipInfo, fd: int) -> None:
        try:
            with self._lock:
                member = self._archive.open(info)
            try:
                with open(fd, "wb", closefd=False) as file:
                    shutil.copyfileobj(member, file, 1 << 20)
            finally:
                with self._lock:
                    member.close()
        except _DAMAGE as error:
            raise OSError(errno.EIO, f"{os.strerror(errno.EIO)}: {info.filename}: {error}") from error
        except NotImplementedError as error:
            raise OSError(errno.EOPNOTSUPP, f"{info.filename}: {error}") from error
        except RuntimeError as error:
            # zipfile's way of asking for a password.
            raise PermissionError(errno.EACCES, f"{info.filename}: {error}") from error


def _name_of(info: zipfile.ZipInfo) -> bytes:
    # Names that are not marked as UTF-8 were decoded with a code page that maps every byte; on this side
    # of the world they mostly were UTF-8 nevertheless.
    return info.filename.encode("utf-8" if info.flag_bits & _UTF8_NAME else "cp437")


def _mode_of(info: zipfile.ZipInfo) -> int:
    mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
    is_directory = info.filename.endswith("/")
    kind = stat.S_IFMT(mode) or (stat.S_IFDIR if is_directory else stat.S_IFREG)
    if is_directory:
        kind = stat.S_IFDIR
    elif kind not in (stat.S_IFREG, stat.S_IFLNK):
        kind = stat.S_IFREG
    return kind | (stat.S_IMODE(mode) or (0o755 if is_directory else 0o644))


def _modified(info: zipfile.ZipInfo) -> int:
    """Nanoseconds since the epoch: the exact time if the archive has one, else the local time of DOS."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == _EXTENDED_TIMESTAMP and size >= 5 and extra[4] & 1:
            seconds: int = struct.unpack_from("<i", extra, 5)[0]
            return seconds * 10**9
        extra = extra[4 + size :]
    try:
        return int(time.mktime((*info.date_time, 0, 0, -1))) * 10**9
    except (OverflowError, ValueError):
        return 0
