"""Changes: what a layer has made of the directory below it.

Found by comparing: a copy that is as the original is no change, whatever it was copied for.  Times count for
files only; those of a directory tell when names in it changed, which the names tell themselves.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from diorama.modules.filesystems.layers.copying import attributes, wanted_owner
from diorama.modules.filesystems.layers.layer import Layer
from diorama.modules.filesystems.layers.marks import Owner, is_opaque, is_whiteout

__all__ = ["ADDED", "CHANGED", "REMOVED", "Change", "find_changes"]

ADDED: Final = "added"
CHANGED: Final = "changed"
REMOVED: Final = "removed"

_KINDS: Final = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Change:
    """One name that is not as below.

    `path` is the path in the tree, `kind` the type in words, of what is there now (of what was there, if it
    was removed), `what` names what is different of something changed: `type`, `content`, `mode`, `owner`,
    `attributes`, `times`.
    """

    how: str
    path: bytes
    kind: str
    owner: Owner
    what: tuple[str, ...] = ()
    real: bytes = field(default=b"", compare=False, repr=False)

    def as_json(self, lower: bytes) -> dict[str, Any]:
        """For programs; the path is that on the host."""
        return {
            "change": self.how,
            "path": os.fsdecode(lower.rstrip(b"/") + self.path),
            "type": self.kind,
            "mode": f"{self.owner.mode:04o}",
            "uid": self.owner.uid,
            "gid": self.owner.gid,
            "what": list(self.what),
        }


def find_changes(layer: Layer) -> Iterator[Change]:
    """What a layer changes in the directory below; names before what is in them."""
    pair = _Pair(layer.upper.tree, layer.lower.rstrip(b"/"), layer.maker)
    yield from _compare_directories(pair, b"", merged=True)


@dataclass(frozen=True, slots=True)
class _Pair:
    """The writable tree, the directory below, and who made the copies in the one of the other."""

    tree: bytes
    lower: bytes
    maker: int

    def without_lower(self) -> _Pair:
        return replace(self, lower=b"\0")


def _kind(status: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(status.st_mode), "unknown")


def _look(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path or b"/")
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _names(directory: bytes) -> list[bytes]:
    try:
        return sorted(os.listdir(directory or b"/"))
    except (FileNotFoundError, NotADirectoryError, PermissionError, ValueError):
        return []  # what could not be read could not be changed


def _compare_directories(pair: _Pair, path: bytes, *, merged: bool) -> Iterator[Change]:
    """What is different in a directory; not `merged`, nothing of the one below is to be seen."""
    tree, lower = pair.tree, pair.lower
    mine = _names(tree + path)
    below = [] if merged else [name for name in _names(lower + path) if name not in set(mine)]
    for name in sorted([*mine, *below]):
        inner = path + b"/" + name
        status, original = _look(tree + inner), _look(lower + inner)
        if status is None or is_whiteout(status, tree + inner):
            if original is not None:
                yield from _removed(lower, inner, original)
        else:
            yield from _compare(pair, inner, status, original)


def _compare(
    pair: _Pair, path: bytes, status: os.stat_result, original: os.stat_result | None
) -> Iterator[Change]:
    real, lower = pair.tree + path, pair.lower
    owner = wanted_owner(real, status)
    same_type = original is not None and stat.S_IFMT(original.st_mode) == stat.S_IFMT(status.st_mode)
    if original is None:
        yield Change(ADDED, path, _kind(status), owner, real=real)
    elif not same_type:
        if stat.S_ISDIR(original.st_mode):
            yield from (one for one in _removed(lower, path, original) if one.path != path)
        yield Change(CHANGED, path, _kind(status), owner, ("type",), real=real)
    else:
        what = tuple(_differences(pair, path, status, original, owner))
        if what:
            yield Change(CHANGED, path, _kind(status), owner, what, real=real)
    if stat.S_ISDIR(status.st_mode):
        merged = same_type and not is_opaque(real)
        yield from _compare_directories(pair if same_type else pair.without_lower(), path, merged=merged)


def _removed(lower: bytes, path: bytes, status: os.stat_result) -> Iterator[Change]:
    owner = wanted_owner(lower + path, status)
    yield Change(REMOVED, path, _kind(status), owner)
    if stat.S_ISDIR(status.st_mode):
        for name in _names(lower + path):
            inner = path + b"/" + name
            found = _look(lower + inner)
            if found is not None:
                yield from _removed(lower, inner, found)


def _differences(
    pair: _Pair, path: bytes, status: os.stat_result, original: os.stat_result | None, owner: Owner
) -> Iterator[str]:
    assert original is not None
    real, below = pair.tree + path, pair.lower + path
    is_link = stat.S_ISLNK(status.st_mode)
    if _content_differs(real, below, status, original):
        yield "content"
    if not is_link and owner.mode != stat.S_IMODE(original.st_mode):
        yield "mode"
    if (owner.uid, owner.gid) != (original.st_uid, original.st_gid) and not _is_unrecorded(
        status, pair.maker
    ):
        yield "owner"
    if attributes(real) != attributes(below):
        yield "attributes"
    if stat.S_ISREG(status.st_mode) and status.st_mtime_ns != original.st_mtime_ns:
        yield "times"


def _is_unrecorded(status: os.stat_result, maker: int) -> bool:
    """Whether it cannot have had its owner and is of a type that takes no note of it."""
    is_theirs = maker != 0 and status.st_uid == maker
    return is_theirs and not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode))


def _content_differs(real: bytes, below: bytes, status: os.stat_result, original: os.stat_result) -> bool:
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(real) != os.readlink(below)
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        return status.st_rdev != original.st_rdev
    if not stat.S_ISREG(status.st_mode):
        return False
    if status.st_size != original.st_size:
        return True
    with open(real, "rb") as one, open(below, "rb") as other:
        while data := one.read(_CHUNK):
            if data != other.read(_CHUNK):
                return True
    return False
