"""Twins: the same calls in a directory of the host and in a mount of a file system of ours.

The directory is the oracle: results, errors and the trees that are left must be the same.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from diorama.abi.arch import Abi
from diorama.abi.dirent import DIRENT64, unpack_entries
from diorama.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from diorama.abi.numbers import NUMBERS
from diorama.abi.stat import Stat
from diorama.abi.time import Times
from diorama.catalogue.dirs import GetDents64
from diorama.catalogue.files import (
    FAccessAt2,
    FChMod,
    FChModAt2,
    FChOwnAt,
    FStatAt,
    OpenAt,
    Truncate,
    UTimeNsAt,
)
from diorama.catalogue.handles import In
from diorama.catalogue.model import Request
from diorama.catalogue.paths import LinkAt, MkDirAt, MkNodAt, ReadLinkAt, RenameAt2, SymlinkAt, UnlinkAt
from diorama.catalogue.xattr import LGetXattr, ListXattr, LRemoveXattr, LSetXattr
from diorama.dispatch.mediator import Mediator
from diorama.interfaces.filesystem import FileSystem
from diorama.modules.sources import make_mount
from diorama.testing.own import OwnExecution, OwnTracee

ROOM = 4096
SEEN = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size")


class Side:
    """One of the two: its directory, and how a request is made there."""

    def __init__(self, top: Path, execution: OwnExecution, ask: Callable[[Request], int]) -> None:
        self.top = os.fsencode(top)
        self.tracee = execution.tracee
        self.ask = ask
        self.fds: list[int] = []
        self.mediator: Mediator

    def path(self, name: str) -> bytes:
        return self.top + b"/" + os.fsencode(name) if name else self.top

    # -- calls --------------------------------------------------------------------------------

    def mkdir(self, name: str, mode: int = 0o777) -> int:
        return self.ask(MkDirAt(AT_FDCWD, self.path(name), mode))

    def mknod(self, name: str, mode: int, device: int = 0) -> int:
        return self.ask(MkNodAt(AT_FDCWD, self.path(name), mode, device))

    def symlink(self, target: str, name: str) -> int:
        return self.ask(SymlinkAt(os.fsencode(target), AT_FDCWD, self.path(name)))

    def link(self, old: str, new: str, flags: int = 0) -> int:
        return self.ask(LinkAt(AT_FDCWD, self.path(old), AT_FDCWD, self.path(new), flags))

    def unlink(self, name: str, flags: int = 0) -> int:
        return self.ask(UnlinkAt(AT_FDCWD, self.path(name), flags))

    def rename(self, old: str, new: str, flags: int = 0) -> int:
        return self.ask(RenameAt2(AT_FDCWD, self.path(old), AT_FDCWD, self.path(new), flags))

    def chmod(self, name: str, mode: int, flags: int = 0) -> int:
        return self.ask(FChModAt2(AT_FDCWD, self.path(name), mode, flags))

    def chown(self, name: str, uid: int, gid: int, flags: int = 0) -> int:
        return self.ask(FChOwnAt(AT_FDCWD, self.path(name), uid, gid, flags))

    def truncate(self, name: str, size: int) -> int:
        return self.ask(Truncate(self.path(name), size))

    def access(self, name: str, mode: int, flags: int = 0) -> int:
        return self.ask(FAccessAt2(AT_FDCWD, self.path(name), mode, flags))

    def utimes(self, name: str, times: Times | None, flags: int = 0) -> int:
        abi, memory = self.tracee.abi, self.tracee.memory
        at = 0 if times is None else memory.place(times.pack(abi, "timespec"))
        pointer = In(at, Times, abi, "timespec", memory)
        return self.ask(UTimeNsAt(AT_FDCWD, self.path(name), pointer, flags))

    def readlink(self, name: str) -> bytes:
        buffer = self.tracee.buffer(ROOM)
        count = self.ask(ReadLinkAt(AT_FDCWD, self.path(name), buffer, ROOM))
        return self.tracee.memory.read(buffer.address, count)

    def stat(self, name: str, flags: int = AT_SYMLINK_NOFOLLOW) -> Stat:
        out = self.tracee.out(Stat)
        self.ask(FStatAt(AT_FDCWD, self.path(name), out, flags))
        return out.read()

    def shown(self, name: str) -> dict[str, int]:
        """The status as it must be the same; the size of a directory is its file system's own."""
        status = self.stat(name)
        seen = {field: getattr(status, field) for field in SEEN}
        if stat.S_ISDIR(status.st_mode):
            del seen["st_size"]
        return seen

    def set_xattr(self, name: str, attribute: bytes, value: bytes, flags: int = 0) -> int:
        buffer = self.tracee.buffer(len(value), value)
        return self.ask(LSetXattr(self.path(name), attribute, buffer, len(value), flags))

    def get_xattr(self, name: str, attribute: bytes, size: int = ROOM) -> bytes | int:
        buffer = self.tracee.buffer(size)
        count = self.ask(LGetXattr(self.path(name), attribute, buffer, size))
        return self.tracee.memory.read(buffer.address, count) if size else count

    def list_xattrs(self, name: str) -> list[bytes]:
        buffer = self.tracee.buffer(ROOM)
        count = self.ask(ListXattr(self.path(name), buffer, ROOM))
        return sorted(self.tracee.memory.read(buffer.address, count).split(b"\0"))

    def remove_xattr(self, name: str, attribute: bytes) -> int:
        return self.ask(LRemoveXattr(self.path(name), attribute))

    # -- open files ---------------------------------------------------------------------------

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        """Open a file; the number of it among those that are open."""
        self.fds.append(self.ask(OpenAt(AT_FDCWD, self.path(name), flags | os.O_CLOEXEC, mode)))
        return len(self.fds) - 1

    def _fd(self, at: int) -> int:
        if not self.fds:
            raise OSError(errno.EBADF, "none is open")
        return self.fds[at % len(self.fds)]

    def close(self, at: int) -> None:
        fd = self._fd(at)
        self.fds.remove(fd)
        os.close(fd)

    def write(self, at: int, data: bytes, offset: int) -> int:
        return os.pwrite(self._fd(at), data, offset)

    def read(self, at: int) -> bytes:
        return os.pread(self._fd(at), ROOM, 0)

    def resize(self, at: int, size: int) -> None:
        os.ftruncate(self._fd(at), size)

    def fchmod(self, at: int, mode: int) -> int:
        return self.ask(FChMod(self._fd(at), mode))

    def fstat(self, at: int) -> tuple[int, ...]:
        out = self.tracee.out(Stat)
        self.ask(FStatAt(self._fd(at), b"", out, AT_EMPTY_PATH))
        status = out.read()
        size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
        return status.st_mode, status.st_nlink, size

    def link_of(self, at: int) -> bytes:
        """What /proc says that it is."""
        buffer = self.tracee.buffer(ROOM)
        link = b"/proc/self/fd/%d" % self._fd(at)
        count = self.ask(ReadLinkAt(AT_FDCWD, link, buffer, ROOM))
        return self.tracee.memory.read(buffer.address, count)

    # -- all of it ----------------------------------------------------------------------------

    def names(self, name: str) -> list[str]:
        fd = self.ask(OpenAt(AT_FDCWD, self.path(name), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0))
        found: list[str] = []
        try:
            while True:
                buffer = self.tracee.buffer(1024)
                count = self.ask(GetDents64(fd, buffer, 1024))
                if not count:
                    return sorted(set(found) - {".", ".."})
                data = self.tracee.memory.read(buffer.address, count)
                entries = unpack_entries(data, self.tracee.abi, DIRENT64)
                found += [os.fsdecode(entry.name) for entry in entries]
        finally:
            os.close(fd)

    def tree(self, name: str = "") -> dict[str, Any]:
        """All that can be seen of what is below a directory."""
        found: dict[str, Any] = {}
        listed = outcome_of(self.names, (name,))
        if isinstance(listed, str):
            return {name: listed}
        for one in listed:
            path = f"{name}/{one}" if name else one
            seen = found[path] = outcome_of(self.shown, (path,))
            if isinstance(seen, str):
                continue
            kind = stat.S_IFMT(seen["st_mode"])
            if kind == stat.S_IFDIR:
                found |= {f"{path}/": self.tree(path)}
            elif kind == stat.S_IFLNK:
                seen["target"] = self.readlink(path)
            elif kind == stat.S_IFREG:
                seen["content"] = outcome_of(self._content, (path,))
            if kind in (stat.S_IFREG, stat.S_IFDIR):
                seen["xattrs"] = {
                    attr: outcome_of(self.get_xattr, (path, attr)) for attr in self.list_xattrs(path) if attr
                }
        return found

    def _content(self, path: str) -> bytes:
        fd = self.ask(OpenAt(AT_FDCWD, self.path(path), os.O_RDONLY | os.O_CLOEXEC, 0))
        with open(fd, "rb") as file:
            return file.read()


class Twins:
    """Both sides; everything that is asked of one is asked of the other, by the calling thread."""

    def __init__(self, base: Path, filesystem: FileSystem, *, gives: bool = True) -> None:
        real, virtual = base / "real", base / "virtual"
        real.mkdir()
        virtual.mkdir()
        self.mediator = Mediator()
        self.mediator.mount(make_mount(filesystem), virtual)
        self.supervisor = ThreadPoolExecutor(1)
        self.execution = OwnExecution(self, OwnTracee(gives_at_once=gives))
        self.mediator.rooted(self.execution.tracee)
        self.real = Side(real, self.execution, self.execution.run)
        self.virtual = Side(virtual, self.execution, self.execution.ask)

    def answer(self, request: Request) -> Any:
        """As of a mediator, on a thread that keeps the rights of this process."""
        return self.supervisor.submit(self.mediator.answer, request).result()

    def do(self, name: str, *args: Any) -> Any:
        """Call a method of both, and demand that they agree: the result or the errno."""
        expected, found = (outcome_of(getattr(side, name), args) for side in (self.real, self.virtual))
        assert found == expected, f"{name}{args}: {found!r}, natively {expected!r}"
        return found

    def compare(self) -> None:
        """Demand that both trees are the same."""
        assert self.virtual.tree() == self.real.tree()

    def close(self) -> None:
        for side in (self.real, self.virtual):
            for fd in side.fds:
                os.close(fd)
            side.fds.clear()
        self.mediator.close()
        self.supervisor.shutdown()


def outcome_of(method: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """The result of a call, or the name of its error."""
    try:
        return method(*args)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "an error without a number")


def become(uid: int, gid: int) -> None:
    """Let the calling thread alone be another user to files, without capabilities about them."""
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = NUMBERS[Abi.native()[0].title]
    libc.syscall(numbers["setgroups"], 0, None)
    libc.syscall(numbers["setfsgid"], gid)
    libc.syscall(numbers["setfsuid"], uid)
