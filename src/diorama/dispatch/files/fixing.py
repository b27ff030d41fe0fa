"""Fixing: interpreters that are opened when their format is registered (flag F of binfmt_misc)."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from typing import TYPE_CHECKING

from diorama.abi.fcntl import AT_FDCWD
from diorama.dispatch.files.answers import fail
from diorama.view.filesystem import Attributes

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.view.mounts import Place
    from diorama.view.task import Task

__all__ = ["FixedInView", "FixedOnHost", "fix_program"]


class FixedInView:
    """A program of the view, which stays what it is."""

    def __init__(self, place: Place, path: bytes, fd: int, leases: ExitStack) -> None:
        self.place = place
        self.fd = fd
        self._path = path
        self._leases = leases

    def path(self) -> bytes:
        """Where it was found, as long as it is there."""
        return _path_of(self._path, self.fd)

    def close(self) -> None:
        """Let go of it."""
        self._leases.close()


class FixedOnHost:
    """A program of the host, for whatever root its users have."""

    place: Place | None = None

    def __init__(self, path: str | bytes) -> None:
        """As execve(2) would open it; `OSError`."""
        self._path = os.path.abspath(os.fsencode(path))
        self.fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(self.fd).st_mode) or not os.access(self._path, os.X_OK):
            self.close()
            raise fail(errno.EACCES)

    def path(self) -> bytes:
        """Its own, as long as that leads there."""
        return _path_of(self._path, self.fd)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)


def _path_of(path: bytes, fd: int) -> bytes:
    """The path of an open file: where it was found, if it is there still."""
    try:
        if os.path.samestat(os.stat(path), os.fstat(fd)):
            return path
    except OSError:
        pass
    return b"/proc/%d/fd/%d" % (os.getpid(), fd)


def fix_program(files: Files, task: Task, path: bytes) -> FixedInView:
    """Open what a task may execute; `OSError`."""
    place = files.walk(task, AT_FDCWD, path)
    if place is None or place.missing:
        raise fail(errno.ENOENT)
    if place.mount.no_exec:
        raise fail(errno.EACCES)
    with ExitStack() as leases:
        attributes = _attributes(files, place)
        if attributes.kind != stat.S_IFREG or not files.permits(task, attributes, os.X_OK):
            raise fail(errno.EACCES)
        if place.filesystem is not None:
            contents = files.synthetic.contents
            content = contents.pin(place, attributes, whole=True)
            leases.callback(contents.unpin, content)
            found, fd = content.path, content.fd
        else:
            found = place.host_path
            fd = os.open(found, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
            leases.callback(os.close, fd)
        return FixedInView(place, found, fd, leases.pop_all())


def _attributes(files: Files, place: Place) -> Attributes:
    if place.filesystem is not None:
        return place.filesystem.attributes(place.inode)
    status = os.stat(place.host_path)
    return Attributes(status.st_mode, uid=status.st_uid, gid=status.st_gid)
