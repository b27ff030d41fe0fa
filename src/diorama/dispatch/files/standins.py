"""Standins: the real kernel objects that programs hold for virtual files and directories.

A regular file is a memfd, filled once, sealed, and opened again by each program through
`/proc/<our pid>/fd/<n>`, which gives it an open file description of its own.  A directory is an empty one in
a private temporary tree, a symbolic link (only O_PATH can open one) a real link there.  The identity of each
goes into `Inodes`.

How long a memfd stays open *here*: programs keep the kernel object alive themselves, so ours are a cache for
the next open.  It is bounded by number and bytes, least recently used first out; an identity stays known when
its descriptor is closed, and a file opened again then gets a second one.  The one danger is to close, and use
the number again, between our answer and the program's open, which comes later.  So each open holds a lease
until its task makes another open or ends, and what is leased is not closed.  Directories stay until the view
ends; each is opened once and costs one inode.

Locks: `_lock` guards the tables, each file's own lock its filling, which may take long.
"""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import stat
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from diorama.abi.fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE
from diorama.view.filesystem import Attributes, FileSystem
from diorama.view.inodes import Inodes
from diorama.view.mounts import Mount, Place

__all__ = ["Content", "StandIns", "create_memfd"]

_MAX_BYTES: Final = 256 << 20
_MAX_FILES: Final = 1024
_MFD_EXEC: Final = 0x10
_SEALS: Final = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE

Key = tuple[Mount, int]


@dataclass(slots=True, eq=False)
class Content:
    """The memfd of a regular file: `fd` is ours, read-only, -1 until it is filled."""

    key: Key
    stamp: tuple[int, int]
    fd: int = -1
    size: int = 0
    leases: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def path(self) -> bytes:
        """Where other processes of this user can open it."""
        return b"/proc/%d/fd/%d" % (os.getpid(), self.fd)


class StandIns:
    """The stand-ins of one view.  Any thread."""

    def __init__(self, inodes: Inodes) -> None:
        self._inodes = inodes
        self._lock = threading.Lock()
        self._contents: OrderedDict[Key, Content] = OrderedDict()
        self._made: dict[tuple[Mount, int, bytes], bytes] = {}
        self._shortcuts: dict[bytes, bytes] = {}
        self._aliases: dict[tuple[bytes, bytes], bytes] = {}
        self._count = 0
        self._top: bytes | None = None
        self._bytes = 0
        self._max_files = min(_MAX_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)

    def lease(self, place: Place, attributes: Attributes) -> Content:
        """The memfd of a regular file, open here until `release`; `OSError` if it cannot be read."""
        key, stamp = (place.mount, place.inode), (attributes.size, attributes.modified)
        with self._lock:
            content = self._contents.get(key)
            if content is not None and content.stamp != stamp:
                self._drop(content)
                content = None
            if content is None:
                content = self._contents[key] = Content(key, stamp)
            content.leases += 1
            self._contents.move_to_end(key)
        try:
            self._fill(content, place, attributes)
        except BaseException:
            with self._lock:
                content.leases -= 1
                self._drop(content)
            raise
        self._inodes.add(os.fstat(content.fd), place)
        return content

    def release(self, content: Content) -> None:
        """The program that a file was leased for has opened it."""
        with self._lock:
            content.leases -= 1
            if not content.leases and self._contents.get(content.key) is not content:
                os.close(content.fd)
            self._trim()

    def directory(self, place: Place) -> bytes:
        """The path of the real directory that stands for a virtual one."""
        return self._make(place, b"d", lambda path: os.mkdir(path, 0o555))

    def symlink(self, place: Place, target: bytes) -> bytes:
        """The path of the real symbolic link that stands for a virtual one."""
        return self._make(place, b"l", lambda path: os.symlink(target, path))

    def shortcut(self, directory: bytes) -> bytes:
        """A short path of a host directory: a link to it, for calls that have little room."""
        with self._lock:
            path = self._shortcuts.get(directory)
            if path is None:
                path = os.path.join(self._home(), b"s%d" % len(self._shortcuts))
                os.symlink(directory, path)
                self._shortcuts[directory] = path
            return path

    def alias(self, target: bytes, name: bytes) -> bytes:
        """Another path of a file, ending in `name`: a process is named after what it was executed by."""
        key = target, name
        with self._lock:
            path = self._aliases.get(key)
            if path is None:
                home = os.path.join(self._home(), b"x%d" % len(self._aliases))
                os.mkdir(home, 0o711)
                os.chmod(home, 0o711)
                path = self._aliases[key] = os.path.join(home, name)
                os.symlink(target, path)
            return path

    def unused(self) -> bytes:
        """The path of a file to be made, that is another each time."""
        with self._lock:
            self._count += 1
            return os.path.join(self._home(), b"p%d" % self._count)

    def close(self) -> None:
        """Close and remove everything."""
        with self._lock:
            for content in list(self._contents.values()):
                self._drop(content)
            if self._top is not None:
                shutil.rmtree(self._top, ignore_errors=True)
                self._top = None

    def _fill(self, content: Content, place: Place, attributes: Attributes) -> None:
        with content.lock:
            if content.fd >= 0:
                return
            assert place.filesystem is not None
            content.fd = _fill_memfd(
                place.filesystem, place.inode, attributes, os.path.basename(place.view_path)
            )
            content.size = os.fstat(content.fd).st_size
        with self._lock:
            if self._contents.get(content.key) is content:
                self._bytes += content.size
            self._trim()

    def _trim(self) -> None:
        for content in list(self._contents.values()):
            if self._bytes <= _MAX_BYTES and len(self._contents) <= self._max_files:
                return
            if not content.leases:
                self._drop(content)

    def _drop(self, content: Content) -> None:
        if self._contents.get(content.key) is content:
            del self._contents[content.key]
            self._bytes -= content.size
        if content.fd >= 0 and not content.leases:
            os.close(content.fd)

    def _make(self, place: Place, letter: bytes, make: Callable[[bytes], None]) -> bytes:
        key = (place.mount, place.inode, letter)
        with self._lock:
            path = self._made.get(key)
            if path is None:
                path = os.path.join(self._home(), b"%s%d" % (letter, len(self._made)))
                make(path)
                self._made[key] = path
        self._inodes.add(os.lstat(path), place)
        return path

    def home(self) -> bytes:
        """The directory of all of them, made if need be."""
        with self._lock:
            return self._home()

    def _home(self) -> bytes:
        if self._top is None:
            parent = os.environ.get("XDG_RUNTIME_DIR")
            # Programs that we start as root may become other users, who must get there.
            usable = parent is not None and os.geteuid() != 0 and os.access(parent, os.W_OK | os.X_OK)
            self._top = os.fsencode(tempfile.mkdtemp(prefix="diorama-", dir=parent if usable else None))
            # Programs of the view may run as another user; names are all there is to see.
            os.chmod(self._top, 0o711)
        return self._top


def _fill_memfd(filesystem: FileSystem, inode: int, attributes: Attributes, name: bytes) -> int:
    writable = create_memfd(name)
    try:
        filesystem.copy_content(inode, writable)
        fcntl.fcntl(writable, F_ADD_SEALS, _SEALS)
        # Execution needs a file that nobody has open for writing (ETXTBSY).
        fd = os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)
        os.fchmod(fd, stat.S_IMODE(attributes.mode) & 0o777)
        return fd
    finally:
        os.close(writable)


def create_memfd(named: bytes) -> int:
    """A memfd that may be executed, open for reading and writing; `named` shows in /proc."""
    name = os.fsdecode(named)[:200]
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | _MFD_EXEC)
    except OSError:
        # Linux before 6.3 does not know the flag, and has memfds executable.
        return os.memfd_create(name, flags)
