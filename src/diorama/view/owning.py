"""Owning: what a tree of the host remembers of its files that the host cannot have.

An ordinary user cannot give a file to somebody else, make a device, or keep a file that he may not read.  In
a tree that *remembers* all of this is noted beside the file, and programs of the view are shown what was
noted.  The host keeps what the kernel needs: files that the supervisor can read and write, and execute if
anybody may.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Final, Protocol

from diorama.view.acl import Acl
from diorama.view.filesystem import Attributes

__all__ = ["HIDDEN_XATTRS", "Owned", "Owners", "host_mode"]

HIDDEN_XATTRS: Final = b"user.overlay."
"""How the extended attributes begin in which it is noted: none of the file's own, as for layers."""

_MARKS: Final = (b"+", b"a")
_READS_AND_WRITES: Final = 0o600
_SEARCHES: Final = 0o700


def host_mode(mode: int) -> int:
    """The permission bits that a file or directory has on the host, if it is to be seen with this mode.

    Set-user-ID and set-group-ID bits would mean the supervisor there.
    """
    if stat.S_ISDIR(mode):
        return mode & 0o1777 | _SEARCHES
    return mode & 0o777 | _READS_AND_WRITES | (0o100 if mode & 0o111 else 0)


@dataclass(frozen=True, slots=True)
class Owned:
    """What is to be seen of a file: owner, group, mode with the type, and the device that it is.

    `marked`: there is something else to be heeded when it is written to, its capabilities (capabilities(7)).
    `listed`: it has an access control list, `acl`, or a directory one for what is made there, `default_acl`.
    """

    uid: int
    gid: int
    mode: int
    device: int = 0
    marked: bool = False
    listed: bool = False
    acl: Acl | None = None
    default_acl: Acl | None = None

    @property
    def attributes(self) -> Attributes:
        """What permissions follow from."""
        return Attributes(
            self.mode,
            uid=self.uid,
            gid=self.gid,
            device=self.device,
            acl=self.acl,
            default_acl=self.default_acl,
        )

    @property
    def is_device(self) -> bool:
        """Whether it is a device, which the host has a regular file for."""
        return stat.S_ISCHR(self.mode) or stat.S_ISBLK(self.mode)

    def pack(self) -> bytes:
        """As a note: owner, group, permission bits, `c8:1` or `b8:1` for a device, `+` and `a` as marks."""
        text = b"%d %d %o" % (self.uid, self.gid, stat.S_IMODE(self.mode))
        if self.is_device:
            kind = b"c" if stat.S_ISCHR(self.mode) else b"b"
            text += b" %s%d:%d" % (kind, os.major(self.device), os.minor(self.device))
        return text + (b" +" if self.marked else b"") + (b" a" if self.listed else b"")

    @classmethod
    def unpack(cls, text: bytes, kind: int) -> Owned | None:
        """From a note of a file of this type; None if it cannot be read."""
        try:
            uid, gid, mode, *rest = text.split()
            device = 0
            for word in rest:
                if word in _MARKS:
                    continue
                major, minor = word[1:].split(b":")
                kind = {b"c": stat.S_IFCHR, b"b": stat.S_IFBLK}[word[:1]]
                device = os.makedev(int(major), int(minor))
            bits = kind | int(mode, 8) & 0o7777
            return cls(int(uid), int(gid), bits, device, b"+" in rest, b"a" in rest)
        except (ValueError, KeyError):
            return None


class Owners(Protocol):
    """What is remembered in one tree.  Any thread; errors are `OSError`.

    Files are named by a path of the host and what lstat(2) says of it, or by their link in /proc, which is
    followed, and what stat(2) says.
    """

    @property
    def in_xattrs(self) -> bool:
        """Whether that of files and directories is in extended attributes of theirs."""
        ...

    @property
    def notes(self) -> bytes:
        """The path of what has the rest, if there is any."""
        ...

    def look(self, path: bytes, status: os.stat_result) -> Owned:
        """What is to be seen of a file."""
        ...

    def change(
        self,
        path: bytes,
        status: os.stat_result,
        *,
        uid: int | None = None,
        gid: int | None = None,
        mode: int | None = None,
        drops: int = 0,
        device: int | None = None,
    ) -> None:
        """Remember something else of it: `mode` with the type of a device, `drops` permission bits."""
        ...

    def may_list_devices(self, path: bytes) -> bool:
        """Whether there may be something in a directory that stands for a device."""
        ...

    def will_list_devices(self, path: bytes) -> None:
        """There may be from now on."""
        ...

    def attributes(self, path: bytes, status: os.stat_result) -> dict[bytes, bytes]:
        """The extended attributes that only administrators may set."""
        ...

    def set_attribute(self, path: bytes, status: os.stat_result, name: bytes, value: bytes | None) -> None:
        """Set one of them, or remove it if there is no value."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...
