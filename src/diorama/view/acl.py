"""Acl: access control lists, acl(5): who besides owner, group and others may do what with a file.

The value of the attribute `system.posix_acl_access` is the list of a file, that of `system.posix_acl_default`
what is made in a directory begins with.  An entry is a tag, permissions, and the user or group that it names.
They stand in the order of their tags, which is the order in which they are asked.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, NamedTuple, Self

__all__ = ["ACCESS", "DEFAULT", "NOBODY", "Acl", "Entry", "begin", "minimal"]

ACCESS: Final = b"system.posix_acl_access"
DEFAULT: Final = b"system.posix_acl_default"

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 0x10, 0x20
_TAGS: Final = (USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER)
_NAMED: Final = (USER, GROUP)
_VERSION: Final = 2
_HEADER: Final = struct.Struct("<I")
_ENTRY: Final = struct.Struct("<HHI")
NOBODY: Final = 0xFFFFFFFF
_ALL: Final = 7


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class Entry(NamedTuple):
    """What somebody may do, in bits of R_OK, W_OK and X_OK; `id` is nobody's unless the tag names one."""

    tag: int
    permissions: int
    id: int = NOBODY


@dataclass(frozen=True, slots=True)
class Acl:
    """A list; `check` says whether it is as it must be."""

    entries: tuple[Entry, ...]

    @classmethod
    def unpack(cls, value: bytes) -> Self | None:
        """From the value of an attribute; None for the empty list, which is none; EINVAL, EOPNOTSUPP."""
        if len(value) < _HEADER.size:
            raise _error(errno.EINVAL)
        if _HEADER.unpack_from(value)[0] != _VERSION:
            raise _error(errno.EOPNOTSUPP)
        rest = value[_HEADER.size :]
        if len(rest) % _ENTRY.size:
            raise _error(errno.EINVAL)
        if not rest:
            return None
        entries = tuple([
            Entry(tag, permissions, id if tag in _NAMED else NOBODY)
            for tag, permissions, id in _ENTRY.iter_unpack(rest)
        ])  # fmt: skip
        if any(entry.tag not in _TAGS or (entry.tag in _NAMED and entry.id == NOBODY) for entry in entries):
            raise _error(errno.EINVAL)
        return cls(entries)

    def check(self) -> None:
        """EINVAL unless each entry is where it belongs, and nothing is missing; posix_acl_valid()."""
        tags = [entry.tag for entry in self.entries]
        single = [tag for tag in tags if tag not in _NAMED]
        needed = {USER_OBJ, GROUP_OBJ, OTHER} | ({MASK} if len(tags) > len(single) else set[int]())
        in_order = all(one <= other for one, other in pairwise(tags))
        has_bits = all(not entry.permissions & ~_ALL for entry in self.entries)
        if not (has_bits and in_order and len(set(single)) == len(single) and needed <= set(single)):
            raise _error(errno.EINVAL)

    @classmethod
    def known(cls, value: bytes | None) -> Self | None:
        """From a value that has been set; None if there is none, or if it cannot be read."""
        try:
            return None if value is None else cls.unpack(value)
        except OSError:
            return None

    def pack(self) -> bytes:
        """The value of the attribute."""
        return _HEADER.pack(_VERSION) + b"".join([_ENTRY.pack(*entry) for entry in self.entries])

    @property
    def mode(self) -> int:
        """The permission bits that tell of it: those of the group are the mask, if there is one."""
        group = self._of(GROUP_OBJ) if self._mask is None else self._mask
        return self._of(USER_OBJ) << 6 | group << 3 | self._of(OTHER)

    @property
    def is_mode(self) -> bool:
        """Whether permission bits say all that it says."""
        return len(self.entries) == 3

    def permits(self, wanted: int, uid: int, is_in_group: Callable[[int], bool]) -> bool:
        """Whether a user who is not the owner is granted the bits; the group `NOBODY` is the file's own."""
        mask = _ALL if self._mask is None else self._mask
        in_group = False
        for entry in self.entries:
            if entry.tag == USER and entry.id == uid:
                return not wanted & ~(entry.permissions & mask)
            if entry.tag in (GROUP_OBJ, GROUP) and is_in_group(entry.id):
                in_group = True
                if not wanted & ~entry.permissions:
                    return not wanted & ~(entry.permissions & mask)
        return not in_group and not wanted & ~self._of(OTHER)

    def changed(self, mode: int) -> Acl:
        """What chmod(2) makes of it."""
        bits = {USER_OBJ: mode >> 6, OTHER: mode, GROUP_OBJ if self._mask is None else MASK: mode >> 3}
        return self._with(lambda entry: bits.get(entry.tag, entry.permissions) & _ALL)

    def masked(self, mode: int) -> Acl:
        """What a file begins with that is made with this mode where this is the default."""
        bits = {USER_OBJ: mode >> 6, OTHER: mode, GROUP_OBJ if self._mask is None else MASK: mode >> 3}
        return self._with(lambda entry: bits.get(entry.tag, _ALL) & entry.permissions)

    def _with(self, permissions: Callable[[Entry], int]) -> Acl:
        return replace(
            self, entries=tuple([entry._replace(permissions=permissions(entry)) for entry in self.entries])
        )

    @property
    def _mask(self) -> int | None:
        return next((entry.permissions for entry in self.entries if entry.tag == MASK), None)

    def _of(self, tag: int) -> int:
        return next(entry.permissions for entry in self.entries if entry.tag == tag)


def minimal(acl: Acl | None) -> Acl | None:
    """The list of a file, or none if permission bits say all of it."""
    return None if acl is None or acl.is_mode else acl


def begin(default: Acl | None, mode: int) -> tuple[int, Acl | None, Acl | None]:
    """Mode, list and default list of what is made with this mode and type where there is this default."""
    if default is None or stat.S_ISLNK(mode):
        return mode, None, None
    made = default.masked(mode)
    return mode & ~0o777 | made.mode, minimal(made), default if stat.S_ISDIR(mode) else None
