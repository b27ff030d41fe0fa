"""Host: the few questions that the view asks of the real file tree."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Final, Protocol

from diorama.view.credentials import Credentials

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

    def credentials(self, tid: int) -> Credentials:
        """Who a thread is to files."""
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

    @staticmethod
    def credentials(tid: int) -> Credentials:
        """Who a thread is to files."""
        with open(f"/proc/{tid}/status", "rb") as file:
            found = Credentials.parse(file.read())
        if not found.capabilities and not found.permitted:
            return found
        if os.readlink(f"/proc/{tid}/ns/user") == _user_namespace():
            return found
        return replace(found, capabilities=0, permitted=0)


_OURS: Final[list[str]] = []


def _user_namespace() -> str:
    """Ours, which stays what it is."""
    if not _OURS:
        _OURS.append(os.readlink("/proc/self/ns/user"))
    return _OURS[0]
