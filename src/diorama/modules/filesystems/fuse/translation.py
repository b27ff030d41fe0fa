"""Translation: between what the protocol says of a file and what the view does."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator
from typing import Final

from diorama.engine._told import ToldNode
from diorama.fuse.attributes import SetAttrIn
from diorama.fuse.flags import FAttr
from diorama.fuse.wire import Attr
from diorama.interfaces.filesystem import Attributes, Changes

__all__ = [
    "as_unsupported", "attributes_of", "attributes_told", "segments", "to_set", "unless_unknown", "write_at",
]  # fmt: skip

_NSEC: Final = 10**9
_SECTOR: Final = 512
_MOST: Final = (1 << 63) - 1
_TYPES: Final = frozenset(
    {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK}
)
_DEVICES: Final = (stat.S_IFCHR, stat.S_IFBLK)


def attributes_of(attr: Attr, *, unchecked: bool) -> Attributes:
    """The status of a node, as the server tells it; EIO for one that no file can have, as in the kernel."""
    if stat.S_IFMT(attr.mode) not in _TYPES or attr.size > _MOST:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return Attributes(
        mode=attr.mode,
        size=attr.size,
        links=attr.nlink,
        modified=_time(attr.mtime, attr.mtimensec),
        device=attr.rdev if stat.S_IFMT(attr.mode) in _DEVICES else 0,  # of others some servers tell any
        uid=attr.uid,
        gid=attr.gid,
        accessed=_time(attr.atime, attr.atimensec),
        changed=_time(attr.ctime, attr.ctimensec),
        allocated=attr.blocks * _SECTOR,
        unchecked=unchecked,
        number=attr.ino,
    )


def attributes_told(node: ToldNode) -> Attributes:
    """The same, as it was told natively."""
    return Attributes(
        mode=node.mode,
        size=node.size,
        links=node.links,
        modified=node.modified,
        device=node.device,
        uid=node.uid,
        gid=node.gid,
        accessed=node.accessed,
        changed=node.changed,
        allocated=node.blocks * _SECTOR,
        unchecked=bool(node.unchecked),
        number=node.number,
    )


def _time(seconds: int, nanoseconds: int) -> int:
    # Seconds are signed, although the header has them unsigned.
    return ((seconds + (1 << 63)) % (1 << 64) - (1 << 63)) * _NSEC + nanoseconds


def to_set(changes: Changes) -> SetAttrIn:
    """What the server is to change."""
    valid = FAttr(0)
    values: dict[str, int] = {}
    for name, flag, value in (
        ("mode", FAttr.MODE, changes.mode),
        ("uid", FAttr.UID, changes.uid),
        ("gid", FAttr.GID, changes.gid),
        ("size", FAttr.SIZE, changes.size),
    ):
        if value is not None:
            valid |= flag
            values[name] = value
    for name, flag, value in (
        ("atime", FAttr.ATIME, changes.accessed),
        ("mtime", FAttr.MTIME, changes.modified),
    ):
        if value is not None:
            valid |= flag
            seconds, values[f"{name}nsec"] = divmod(value, _NSEC)
            values[name] = seconds % (1 << 64)
    return SetAttrIn(valid, **values)


def segments(fd: int, size: int) -> Generator[tuple[int, int], None, None]:
    """Where a file has data: offsets and lengths."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        at = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, at - start


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Write all of some bytes."""
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        view, offset = view[count:], offset + count


@contextlib.contextmanager
def unless_unknown() -> Generator[None, None, None]:
    """What the server does not know needs not be done."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise


@contextlib.contextmanager
def as_unsupported(code: int = errno.EOPNOTSUPP) -> Generator[None, None, None]:
    """ENOSYS is another error where an extended attribute was asked for."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        raise OSError(code, os.strerror(code)) from None
