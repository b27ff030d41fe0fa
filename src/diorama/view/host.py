"""Host: the few questions that the view asks of the real file tree."""

from __future__ import annotations

import os
from typing import Protocol

__all__ = ["Host", "RealHost", "Status"]


class Status(Protocol):
    """What the view reads of a `os.stat_result`."""

    @property
    def st_mode(self) -> int:
        """Type and permissions."""
        ...

    @property
    def st_dev(self) -> int:
        """The device."""
        ...

    @property
    def st_ino(self) -> int:
        """The inode number."""
        ...


class Host(Protocol):
    """Real files, by absolute path.  Everything raises `OSError` as the system call of that name."""

    def lstat(self, path: bytes) -> Status:
        """Status, of a symbolic link itself."""
        ...

    def stat(self, path: bytes) -> Status:
        """Status, of what a link leads to; the identity of what a link of /proc stands for."""
        ...

    def readlink(self, path: bytes) -> bytes:
        """The target of a symbolic link."""
        ...


class RealHost:
    """The host itself."""

    __slots__ = ()

    lstat = staticmethod(os.lstat)
    stat = staticmethod(os.stat)

    @staticmethod
    def readlink(path: bytes) -> bytes:
        """The target of a symbolic link."""
        return os.readlink(path)
