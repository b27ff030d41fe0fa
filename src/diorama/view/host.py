"""Host: the few questions that the view asks of the real file tree."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from diorama.abi.fcntl import PATH_MAX
from diorama.view.credentials import Credentials

__all__ = ["Host", "RealHost", "Status", "is_in_our_user_namespace"]

T = TypeVar("T")

_STATUS: Final = 1 << 13
"""More than /proc tells of a thread that is in few groups, which it does at once."""


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

    @property
    def st_nlink(self) -> int:
        """The number of its names."""
        ...

    @property
    def st_ctime_ns(self) -> int:
        """The time of its last change."""
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

    def above(self, path: bytes) -> bytes:
        """The name of the directory above one that has no name itself, or has lost it."""
        ...


class RealHost:
    """The host itself."""

    __slots__ = ()

    @staticmethod
    def lstat(path: bytes) -> os.stat_result:
        """Status, of a symbolic link itself."""
        try:
            return os.lstat(path)
        except OSError as error:
            return _in_parts(error, path, lambda name, fd: os.stat(name, dir_fd=fd, follow_symlinks=False))

    stat = staticmethod(os.stat)

    @staticmethod
    def readlink(path: bytes) -> bytes:
        """The target of a symbolic link."""
        try:
            return os.readlink(path)
        except OSError as error:
            return _in_parts(error, path, lambda name, fd: os.readlink(name, dir_fd=fd))

    @staticmethod
    def above(path: bytes) -> bytes:
        """The name of the directory above one that has no name itself, or has lost it."""
        fd = os.open(path + b"/..", os.O_PATH | os.O_CLOEXEC)
        try:
            return os.readlink(b"/proc/self/fd/%d" % fd)
        finally:
            os.close(fd)

    @staticmethod
    def credentials(tid: int) -> Credentials:
        """Who a thread is to files."""
        fd = os.open(f"/proc/{tid}/status", os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.read(fd, _STATUS)
            while len(status) % _STATUS == 0 and (more := os.read(fd, _STATUS)):
                status += more
            found = Credentials.parse(status)
        finally:
            os.close(fd)
        if not found.capabilities and not found.permitted:
            return found
        return found if is_in_our_user_namespace(tid) else replace(found, capabilities=0, permitted=0)


def _in_parts(error: OSError, path: bytes, ask: Callable[[bytes, int], T]) -> T:
    """Ask again in a directory that is nearer, if the path was too long for the kernel: ours may be."""
    if error.errno != errno.ENAMETOOLONG or len(path) < PATH_MAX:
        raise error
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        while len(path) >= PATH_MAX:
            end = path.rindex(b"/", 0, PATH_MAX - 1)
            nearer = os.open(path[:end] or b"/", os.O_PATH | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd, path = nearer, path[end:].lstrip(b"/")
        return ask(path, fd)
    finally:
        os.close(fd)


def is_in_our_user_namespace(tid: int) -> bool:
    """Whether a thread's capabilities are about what ours are about."""
    return os.readlink(f"/proc/{tid}/ns/user") == _user_namespace()


_OURS: Final[list[str]] = []


def _user_namespace() -> str:
    """Ours, which stays what it is."""
    if not _OURS:
        _OURS.append(os.readlink("/proc/self/ns/user"))
    return _OURS[0]
