"""Programs: by which path the kernel is to execute what is found in the view.

The kernel takes three things from a path: the file, the name of the process (its last component), and the
string that it shows the program (AT_EXECFN).  So a path must end in the name by which the program was called
and have room for the string, which is put in its place when the program runs.

The interpreter of an ELF file (its loader) is found by the kernel itself, on the host.  Where the view has
another one there, a *copy* of the file runs that names it by its path on the host: the path is appended, and
the header of the program points to that; nothing else differs, and what is mapped is the same.  A copy is a
memfd, so that nothing is left of it; one for a program of another user, who may not look into our /proc, is a
file among the stand-ins.  The identity of a copy goes into `Inodes`, so links of /proc tell the original.

Copies are a cache for the next call: those used least recently go first, but for what is leased, which
somebody is about to execute.  Locks: `_lock` guards the table, each copy's own lock its making.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from diorama.abi.binfmt import AT_FLAGS_PRESERVE_ARGV0
from diorama.abi.elf import AT_CLKTCK, AT_EXECFD, AT_EXECFN, AT_FLAGS, Interpreter
from diorama.dispatch.auxiliary import Change, Vector
from diorama.dispatch.files.memfd import create_memfd
from diorama.dispatch.files.standins import StandIns
from diorama.view.inodes import Inodes
from diorama.view.mounts import Mount, Place
from diorama.view.task import Calling, Task

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee

__all__ = ["Copy", "Programs", "of_format", "path_for", "tell_name"]

_MAX_BYTES: Final = 256 << 20
_MAX_COPIES: Final = 256
_PATH_MAX: Final = 4096
_MAKING: Final = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC

_Key = tuple[object, ...]


@dataclass(slots=True, eq=False)
class Copy:
    """A copy that names another interpreter: `fd` is ours, -1 until it is made; `path` is for the kernel."""

    key: _Key
    path: bytes = b""
    fd: int = -1
    size: int = 0
    leases: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Programs:
    """The copies of one view.  Any thread."""

    def __init__(self, standins: StandIns, inodes: Inodes) -> None:
        self._standins = standins
        self._inodes = inodes
        self._lock = threading.Lock()
        self._copies: OrderedDict[_Key, Copy] = OrderedDict()
        self._bytes = 0
        self._leases: dict[Task, ExitStack] = {}

    def begin(self, task: Task) -> ExitStack:
        """A task executes something: what is to be kept until it runs is to be put there."""
        self.end(task)
        leases = self._leases[task] = ExitStack()
        return leases

    def end(self, task: Task) -> None:
        """It runs, or does not."""
        leases = self._leases.pop(task, None)
        if leases is not None:
            leases.close()

    def copy(self, fd: int, place: Place, old: Interpreter, new: bytes, *, for_others: bool) -> Copy:
        """The file open at `fd`, with the interpreter at this host path; to be executed until `release`."""
        status = os.fstat(fd)
        seen = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        where: tuple[Mount, bytes] = place.mount, place.path
        key = (*seen, *where, new, for_others)
        with self._lock:
            copy = self._copies.setdefault(key, Copy(key))
            copy.leases += 1
            self._copies.move_to_end(key)
        try:
            with copy.lock:
                if copy.fd < 0:
                    self._make(copy, fd, place, old, new, for_others=for_others)
        except BaseException:
            self.release(copy)
            raise
        return copy

    def release(self, copy: Copy) -> None:
        """Whoever it was leased for runs it, or does not."""
        with self._lock:
            copy.leases -= 1
            if copy.fd < 0 and not copy.leases:
                self._copies.pop(copy.key, None)
            for one in list(self._copies.values()):
                if self._bytes <= _MAX_BYTES and len(self._copies) <= _MAX_COPIES:
                    return
                self._drop(one)

    def close(self) -> None:
        """Forget them all."""
        for task in list(self._leases):
            self.end(task)
        with self._lock:
            for copy in list(self._copies.values()):
                copy.leases = 0
                self._drop(copy)

    def _drop(self, copy: Copy) -> None:
        if copy.leases or copy.fd < 0:
            return
        del self._copies[copy.key]
        self._bytes -= copy.size
        os.close(copy.fd)
        if not copy.path.startswith(b"/proc/"):
            os.unlink(copy.path)

    def _make(
        self, copy: Copy, fd: int, place: Place, old: Interpreter, new: bytes, *, for_others: bool
    ) -> None:
        name = os.path.basename(place.view_path)
        path = self._standins.unused() if for_others else b""
        made = os.open(path, _MAKING) if path else create_memfd(name)
        try:
            size = _fill(made, fd, old, new + b"\0")
            os.fchmod(made, 0o755)
            # Execution needs a file that nobody has open for writing (ETXTBSY).
            copy.fd = os.open(b"/proc/self/fd/%d" % made, os.O_RDONLY | os.O_CLOEXEC)
        except BaseException:
            if path:
                os.unlink(path)
            raise
        finally:
            os.close(made)
        copy.path = path or b"/proc/%d/fd/%d" % (os.getpid(), copy.fd)
        if place.path or place.mount.point is not None:
            self._inodes.add(os.fstat(copy.fd), place)
        with self._lock:
            copy.size = size
            self._bytes += size


def _fill(made: int, fd: int, old: Interpreter, new: bytes) -> int:
    """Copy, and put the name of the interpreter at the end; the size then."""
    at = 0
    while count := os.sendfile(made, fd, at, 1 << 30):
        at += count
    os.pwrite(made, new, at)
    for where, data in old.elsewhere(at, len(new)):
        os.pwrite(made, data, where)
    return at + len(new)


def path_for(standins: StandIns, target: bytes, called: bytes, comm: bytes) -> bytes:
    """A path to `target` that ends in `comm`, with room for the string `called`."""
    path = target if os.path.basename(target) == comm else standins.alias(target, comm)
    # More slashes at the start mean the same.
    return path.rjust(min(len(called), _PATH_MAX - 1), b"/")


def of_format(calling: Calling) -> Change:
    """What the auxiliary vector is to say of how a format of binfmt_misc is run.

    There is no room for another entry, so one that has the same value everywhere gives way to the descriptor.
    """
    found: dict[int, int | tuple[int, int] | None] = {}
    if calling.keeps_first:
        found[AT_FLAGS] = AT_FLAGS_PRESERVE_ARGV0
    if calling.fd is not None:
        found[AT_CLKTCK] = AT_EXECFD, calling.fd
    return found


def tell_name(tracee: Tracee, calling: Calling) -> None:
    """Let a program that is about to begin find the string by which it was called (AT_EXECFN, getauxval(3)).

    A program that may not be read has closed its memory to us, and keeps what the kernel was given.
    """
    if calling.given == calling.asked:
        return
    try:
        with open(f"/proc/{tracee.tid}/auxv", "rb") as file:
            vector = Vector.parse(file.read())
        address = None if vector is None else vector.find(AT_EXECFN)
        room = len(calling.given)
        if address is not None and tracee.memory.read(address, room + 1) == calling.given + b"\0":
            tracee.memory.write(address, calling.asked[:room].ljust(room, b"\0"))
    except OSError:
        pass
