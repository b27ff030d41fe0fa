"""Fakes: a host that is a dictionary, and a tracee that is an object."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diorama.abi.arch import Abi
from diorama.view.credentials import Credentials

if TYPE_CHECKING:
    from diorama.catalogue.model import Request

__all__ = ["FakeExecution", "FakeHost", "FakeMemory", "FakeStatus", "FakeTracee"]

_MAX_LINKS = 40


@dataclass(frozen=True, slots=True)
class FakeStatus:
    """What the view reads of a status."""

    st_mode: int
    st_dev: int = 1
    st_ino: int = 0
    st_nlink: int = 1
    st_ctime_ns: int = 0


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class FakeHost:
    """A host of paths: None is a directory, bytes the target of a symbolic link, str a file.

    Directories above a path are made.  `links` are links of /proc: path to (text, status).
    """

    def __init__(
        self,
        tree: Mapping[str, bytes | str | None] | None = None,
        links: Mapping[str, tuple[bytes, FakeStatus]] | None = None,
    ) -> None:
        self.tree: dict[bytes, bytes | str | None] = {b"": None}
        self.links: dict[bytes, tuple[bytes, FakeStatus]] = {}
        self.asked: list[bytes] = []
        self.who = Credentials(os.geteuid(), os.getegid(), capabilities=0 if os.geteuid() else (1 << 41) - 1)
        for path, node in (tree or {}).items():
            self.add(path.encode(), node)
        for path, link in (links or {}).items():
            self.link(path.encode(), *link)

    def add(self, path: bytes, node: bytes | str | None) -> None:
        """Put something at a path."""
        at = path.rstrip(b"/")
        self.tree[at] = node
        while at:
            at = at[: at.rfind(b"/")]
            self.tree.setdefault(at, None)

    def link(self, path: bytes, text: bytes, status: FakeStatus) -> None:
        """Put a link of /proc at a path: its text, and the object that it stands for."""
        self.add(path, text)
        self.links[path] = (text, status)

    def lstat(self, path: bytes) -> FakeStatus:
        """Status, of a symbolic link itself."""
        self.asked.append(path)
        at = path.rstrip(b"/")
        if at not in self.tree:
            above = self.tree.get(at[: at.rfind(b"/")], b"")
            raise _error(errno.ENOTDIR if isinstance(above, str) else errno.ENOENT)
        node = self.tree[at]
        kind = stat.S_IFDIR if node is None else stat.S_IFLNK if isinstance(node, bytes) else stat.S_IFREG
        return FakeStatus(kind | 0o755, 1, list(self.tree).index(at))

    def stat(self, path: bytes) -> FakeStatus:
        """Status, of what a link leads to."""
        for _ in range(_MAX_LINKS):
            if path in self.links:
                return self.links[path][1]
            status = self.lstat(path)
            if not stat.S_ISLNK(status.st_mode):
                return status
            path = os.path.join(os.path.dirname(path), self.readlink(path))
        raise _error(errno.ELOOP)

    def above(self, path: bytes) -> bytes:
        """The name of the directory above one that has no name, as its link in /proc has it."""
        name = self.links[path][0].removesuffix(b" (deleted)")
        return name[: name.rfind(b"/")] or b"/"

    def readlink(self, path: bytes) -> bytes:
        """The target of a symbolic link."""
        node = self.tree.get(path)
        if node is None:
            raise _error(errno.EINVAL if path in self.tree else errno.ENOENT)
        if isinstance(node, str):
            raise _error(errno.EINVAL)
        return node

    def credentials(self, tid: int) -> Credentials:
        """`who`, whoever asks."""
        return self.who


class FakeMemory:
    """An address space: what `place` put there, and what is written over it."""

    def __init__(self) -> None:
        self._bytes: dict[int, int] = {}
        self._next = 0x1000

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes; EFAULT if there are none."""
        data = bytearray()
        while len(data) < size and address + len(data) in self._bytes:
            data.append(self._bytes[address + len(data)])
        if size and not data:
            raise _error(errno.EFAULT)
        return bytes(data)

    def read_string(self, address: int, limit: int = 4096) -> bytes:
        """The bytes before NUL."""
        text, nul, _ = self.read(address, limit).partition(b"\0")
        if not nul:
            raise _error(errno.ENAMETOOLONG if len(text) == limit else errno.EFAULT)
        return text

    def write(self, address: int, data: bytes) -> None:
        """Write over what is there; EFAULT."""
        if any(address + offset not in self._bytes for offset in range(len(data))):
            raise _error(errno.EFAULT)
        self._bytes.update(enumerate(data, address))

    def place(self, data: bytes) -> int:
        """Put data at a new address."""
        address = self._next
        self._bytes.update(enumerate(data, address))
        self._next += -(-len(data) // 16) * 16 + 16
        return address


class FakeTracee:
    """A thread; `results` are what its system calls give, by name, and `calls` those that it made."""

    gives_at_once = False

    def __init__(self, tid: int = 12, pid: int = 10, abi: Abi = Abi.X86_64) -> None:
        self.tid = tid
        self.pid = pid
        self.abi = abi
        self.memory = FakeMemory()
        self.results: dict[str, int] = {}
        self.calls: list[tuple[Any, ...]] = []

    @property
    def syscall(self) -> Any:
        """Calls made in it."""
        return self

    def step_aside(self) -> None:
        """Nobody else is decided about."""
        return

    def __getattr__(self, name: str) -> Any:
        def call(*args: int | bytes) -> int:
            self.calls.append((name, *args))
            return self.results.get(name, 0)

        return call


class FakeExecution:
    """What runs requests: remembers them in `ran` and gives `result`, or raises it."""

    def __init__(self, tracee: FakeTracee, result: int | OSError = 0) -> None:
        self.tracee = tracee
        self.result = result
        self.ran: list[Request] = []

    def run(self, request: Request) -> int:
        """Remember the request."""
        self.ran.append(request)
        if isinstance(self.result, OSError):
            raise self.result
        return self.result
