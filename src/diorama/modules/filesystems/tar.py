"""Tar: the files of a tar archive, plain or compressed with gzip, bzip2 or xz.

The archive is read through once, when it is mounted; then there is the offset of each member, and pieces of
large ones are read where they stand.  A compressed one is unpacked into an unnamed temporary
file on the way, because going back in a compressed stream means reading it again from its start.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
from array import array
from collections.abc import Callable, Iterator
from typing import IO, Any, Final, cast

from diorama.errors import warn_once
from diorama.interfaces.filesystem import Attributes
from diorama.interfaces.tree import Tree
from diorama.modules.opening import open_source, usage_errors

__all__ = ["open_tar"]

_COMPRESSIONS: Final[tuple[tuple[bytes, Callable[[IO[bytes]], IO[bytes]]], ...]] = (
    (b"\x1f\x8b", lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file))),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\0", lzma.LZMAFile),
)
_LAZY: Final = 16 << 20
_KINDS: Final = {
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


def open_tar(source: str) -> Tree:
    """The archive at a path or URL; `UsageError` if it is missing or corrupt."""
    with usage_errors(f"tar:{source}", tarfile.TarError, lzma.LZMAError):
        archive = _Tar(_plain(open_source(source)))
        archive.index()
        return archive


def _plain(file: IO[bytes]) -> IO[bytes]:
    """The uncompressed archive, as a file of this machine."""
    magic = file.read(6)
    file.seek(0)
    opener = next((opener for start, opener in _COMPRESSIONS if magic.startswith(start)), None)
    if opener is None and hasattr(file, "fileno"):
        return file
    plain: IO[bytes] = tempfile.TemporaryFile(prefix="diorama-")  # noqa: SIM115 (the archive closes it)
    with file, opener(file) if opener else file as unpacked:
        shutil.copyfileobj(unpacked, plain, 1 << 20)
    plain.seek(0)
    return plain


class _Tar(Tree):
    """Content is copied by offset, so threads need no lock."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__("tar")
        self._file = file
        self._offsets = array("Q", [0] * len(self._modes))
        self._sparse: dict[int, list[tuple[int, int]]] = {}

    def index(self) -> None:
        """Enter all members; one that comes again replaces the former, as in tar(1)."""
        with tarfile.open(fileobj=self._file, mode="r:", errors="surrogateescape", encoding="utf-8") as tar:
            while (member := tar.next()) is not None:
                self._enter_member(member)
                cast("Any", tar).members.clear()  # a hundred thousand of them take 200 MB

    def close(self) -> None:
        """Close the archive."""
        self._file.close()

    def _enter_member(self, member: tarfile.TarInfo) -> None:
        name, target = _encode(member.name), _encode(member.linkname)
        kind = _KINDS.get(member.type, stat.S_IFREG)
        device = os.makedev(member.devmajor, member.devminor) if member.isdev() else 0
        attributes = Attributes(
            kind | stat.S_IMODE(member.mode), member.size, modified=int(member.mtime * 10**9), device=device
        )
        if member.islnk():
            self._link(name, target)
        elif kind == stat.S_IFDIR:
            self.add_directory(name, attributes)
        elif kind == stat.S_IFLNK:
            self.add_symlink(name, target, attributes)
        elif kind != stat.S_IFREG:
            self.add_file(name, b"", attributes)
        else:
            self._enter_file(name, member, attributes)

    def _enter_file(self, name: bytes, member: tarfile.TarInfo, attributes: Attributes) -> None:
        inode = self.add(name, attributes)
        self._offsets.extend([0] * (inode + 1 - len(self._offsets)))
        self._offsets[inode] = member.offset_data
        if member.issparse():
            self._sparse[inode] = cast("list[tuple[int, int]]", cast("Any", member).sparse)
        if member.size > _LAZY:
            self.lazy_above = _LAZY

    def _link(self, name: bytes, target: bytes) -> None:
        try:
            self.add_link(name, target)
        except OSError as error:
            warn_once(f"tar: {os.fsdecode(name)}", f"hard link to {os.fsdecode(target)}: {error.strerror}")

    def copy_content(self, inode: int, fd: int) -> None:
        """Copy a member."""
        size = self._sizes[inode]
        os.ftruncate(fd, size)
        for start, offset, length in self._parts(inode, 0, size):
            os.lseek(fd, start, os.SEEK_SET)
            _copy(self._file.fileno(), offset, length, fd)

    def read(self, inode: int, offset: int, size: int) -> bytes:
        """A piece of a large member."""
        size = min(size, self._sizes[inode] - offset)
        found = bytearray(size)
        for start, there, length in self._parts(inode, offset, size):
            found[start : start + length] = _exactly(self._file.fileno(), there, length)
        return bytes(found)

    def _parts(self, inode: int, offset: int, size: int) -> Iterator[tuple[int, int, int]]:
        """What of a piece stands in the archive: where in the piece, where there, how many bytes."""
        at = self._offsets[inode] if inode < len(self._offsets) else 0
        if inode in self._children or not at:
            if self._sizes[inode]:
                raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
            return
        for start, length in self._sparse.get(inode) or ((0, self._sizes[inode]),):
            begin, end = max(start, offset), min(start + length, offset + size)
            if begin < end:
                yield begin - offset, at + begin - start, end - begin
            at += length


def _copy(source: int, offset: int, size: int, fd: int) -> None:
    end = offset + size
    while offset < end:
        done = os.sendfile(fd, source, offset, end - offset)
        if not done:
            raise OSError(errno.EIO, f"{os.strerror(errno.EIO)}: the archive ends too early")
        offset += done


def _exactly(source: int, offset: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = os.pread(source, size - len(found), offset + len(found))
        if not more:
            raise OSError(errno.EIO, f"{os.strerror(errno.EIO)}: the archive ends too early")
        found += more
    return found


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
