"""Inside: file calls of this process, answered by a mediator as a view would."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from diorama.abi.dirent import DIRENT64, DirEntry, unpack_entries
from diorama.abi.fcntl import AT_FDCWD, AT_SYMLINK_NOFOLLOW
from diorama.abi.stat import Stat, StatFs, StatX
from diorama.catalogue.dirs import GetDents64
from diorama.catalogue.files import FAccessAt2, FStat, FStatAt, OpenAt, Statx
from diorama.catalogue.model import Request
from diorama.catalogue.mounts import Statfs
from diorama.catalogue.paths import ChDir, FChDir, GetCwd, ReadLinkAt
from diorama.dispatch.mediator import Mediator
from diorama.testing.own import OwnExecution, OwnTracee


def errno_of(function: Callable[..., object], *args: object) -> int | None:
    """The errno with which a call fails; None if it does not."""
    try:
        function(*args)
    except OSError as error:
        return error.errno
    return None


class Inside:
    """The calls of a process in the view, by name."""

    def __init__(self, mediator: Mediator, *, gives: bool = False) -> None:
        self.mediator = mediator
        self.execution = OwnExecution(mediator, OwnTracee(gives_at_once=gives))
        self.tracee = self.execution.tracee
        mediator.rooted(self.tracee)

    def ask(self, request: Request) -> int:
        return self.execution.ask(request)

    def outcome(self, request: Request) -> Any:
        return self.mediator.answer(request.bound(self.execution))

    def open(self, path: Any, flags: int = os.O_RDONLY, dirfd: int = AT_FDCWD, mode: int = 0) -> int:
        return self.ask(OpenAt(dirfd, os.fsencode(path), flags, mode))

    def read(self, path: Any) -> bytes:
        fd = self.open(path)
        with open(fd, "rb") as file:
            return file.read()

    def stat(self, path: Any, flags: int = 0, dirfd: int = AT_FDCWD) -> Stat:
        out = self.tracee.out(Stat)
        self.ask(FStatAt(dirfd, os.fsencode(path), out, flags))
        return out.read()

    def lstat(self, path: Any) -> Stat:
        return self.stat(path, AT_SYMLINK_NOFOLLOW)

    def fstat(self, fd: int) -> Stat:
        out = self.tracee.out(Stat)
        self.ask(FStat(fd, out))
        return out.read()

    def statx(self, path: Any) -> StatX:
        out = self.tracee.out(StatX)
        self.ask(Statx(AT_FDCWD, os.fsencode(path), 0, 0x7FF, out))
        return out.read()

    def statfs(self, path: Any) -> StatFs:
        out = self.tracee.out(StatFs)
        self.ask(Statfs(os.fsencode(path), out))
        return out.read()

    def access(self, path: Any, mode: int) -> int:
        return self.ask(FAccessAt2(AT_FDCWD, os.fsencode(path), mode, 0))

    def readlink(self, path: Any, size: int = 4096, dirfd: int = AT_FDCWD) -> bytes:
        buffer = self.tracee.buffer(size)
        count = self.ask(ReadLinkAt(dirfd, os.fsencode(path), buffer, size))
        return self.tracee.memory.read(buffer.address, count)

    def chdir(self, path: Any) -> int:
        return self.ask(ChDir(os.fsencode(path)))

    def fchdir(self, fd: int) -> int:
        return self.ask(FChDir(fd))

    def getcwd(self, size: int = 4096) -> bytes:
        buffer = self.tracee.buffer(size)
        count = self.ask(GetCwd(buffer, size))
        return self.tracee.memory.read(buffer.address, count).rstrip(b"\0")

    def entries(self, fd: int, size: int = 32768) -> list[DirEntry]:
        """One call of getdents64."""
        buffer = self.tracee.buffer(size)
        count = self.ask(GetDents64(fd, buffer, size))
        return list(unpack_entries(self.tracee.memory.read(buffer.address, count), self.tracee.abi, DIRENT64))

    def listdir(self, path: Any, size: int = 32768) -> list[DirEntry]:
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            found: list[DirEntry] = []
            while part := self.entries(fd, size):
                found += part
            return found
        finally:
            os.close(fd)
