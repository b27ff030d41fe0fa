"""Standins: the real objects on disk that programs hold for virtual directories, links and special files.

What programs can open of a regular file is in `contents`.  A directory is an empty one in a private
temporary tree, a symbolic link (only O_PATH can open one) a real link there, a FIFO a real FIFO, a socket
the one that was bound.  The identity of each goes into `Inodes`.  They stay until the view ends or what
they stand for is removed; each is made once, and costs one inode.  Directories are made in memory, where
that takes 4 to 10 microseconds and not 120 to 290, as long as there is room; of what else there is programs
may be executed, which is not always possible there.

While a program watches a directory (inotify(7)), the names in it are mirrored by placeholders in the real
one, which are made, removed and renamed with them: then the kernel tells of it, as of any directory.

What stands for directories of servers may have been made natively (`standing`), and is *adopted* into the
tables before anybody looks for anything.

Locks: `_lock` guards the tables and the tree on disk.  With it nobody is asked who may need it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import stat
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Final, Protocol

from diorama.dispatch.files.leftovers import PrivateDirectory
from diorama.view.filesystem import FileSystem
from diorama.view.host import Status
from diorama.view.inodes import Inodes
from diorama.view.mounts import Mount, Place

__all__ = ["StandIns"]


_PLACEHOLDER: Final = stat.S_IFREG | 0o400
_SHORT: Final = 80
_PARENTS: Final = ("/tmp", "/var/tmp", "/dev/shm")
_MEMORY: Final = "/dev/shm"


class Native(Protocol):
    """What makes them for directories too, and knows by what paths those were opened."""

    def opened(self, place: Place, real: bytes) -> None:
        """A directory was opened by a path that is not the one by which it was before."""

    def claim(self, mount: Mount, inode: int) -> None:
        """None is made there for a directory from now on."""

    def drop(self, mount: Mount, inode: int) -> None:
        """A directory has no name any more."""

    def hold(self) -> None:
        """None is made until `forget`."""

    def forget(self) -> None:
        """Directories have other paths now."""

    @property
    def has_made(self) -> bool:
        """Whether it has made some that nobody here knows of yet."""
        ...

    def adopted(self) -> Iterator[tuple[Place, bytes, Status]]:
        """These: what one stands for, its path, and its status."""
        ...


class StandIns:
    """The stand-ins of one view.  Any thread."""

    def __init__(self, inodes: Inodes) -> None:
        self._inodes = inodes
        self._lock = threading.RLock()
        self._made: dict[tuple[Mount, int, bytes], bytes] = {}
        self._of: dict[tuple[int, int], list[tuple[Mount, int, bytes]]] = {}
        self._watched: dict[tuple[int, int], list[bytes]] = {}
        self._shortcuts: dict[bytes, bytes] = {}
        self._aliases: dict[tuple[bytes, bytes], bytes] = {}
        self._numbers = itertools.count()
        self._opened: dict[tuple[Mount, int], bytes] = {}
        self.native: Native | None = None
        self._is_adopting = False
        self._top: PrivateDirectory | None = None
        self._short: PrivateDirectory | None = None
        self._memory: PrivateDirectory | None = None

    def directory(self, place: Place) -> bytes:
        """The path of the real directory that stands for a virtual one."""
        if self.native is not None and (place.mount, place.inode, b"d") not in self._made:
            self.native.claim(place.mount, place.inode)
            self.adopt()  # what was made before that
        path = self._make(place, b"d", _make_directory, in_memory=True)
        if self.native is not None and self._opened.get((place.mount, place.inode)) != place.path:
            self._opened[place.mount, place.inode] = place.path
            self.native.opened(place, path)
        return path

    def adopt(self) -> None:
        """What was made without asking here is known here, and so is where it stands in `Inodes`."""
        native = self.native
        if native is None or not (self._is_adopting or native.has_made):
            return
        with self._lock:
            self._is_adopting = True  # who does not find it waits
            for place, path, status in native.adopted():
                key = (place.mount, place.inode, b"d")
                if key not in self._made:
                    self._enter(key, path)
                self._opened[place.mount, place.inode] = place.path
                self._inodes.add(status, place)
            self._is_adopting = False

    @contextlib.contextmanager
    def renaming(self) -> Generator[None, None, None]:
        """Meanwhile directories get other paths: those that are known here when it begins."""
        if self.native is not None:
            self.native.hold()
        try:
            yield
        finally:
            self._opened.clear()
            if self.native is not None:
                self.native.forget()

    def mark(self, place: Place, kind: int) -> bytes:
        """The path of what stands for the root of a mount, whatever that shows."""
        if stat.S_ISDIR(kind):
            return self.directory(place)
        return self._make(place, b"m", lambda path: os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o444)))

    def symlink(self, place: Place, target: bytes) -> bytes:
        """The path of the real symbolic link that stands for a virtual one."""
        return self._make(place, b"l", lambda path: os.symlink(target or b".", path))

    def special(self, place: Place, kind: int, device: int = 0) -> bytes:
        """The path of the real FIFO, socket without an owner, or device; EPERM for one we may not make."""

        def make(path: bytes) -> None:
            os.mknod(path, kind | 0o666, device)
            os.chmod(path, 0o666)

        return self._make(place, b"n", make)

    def room_for_socket(self) -> bytes:
        """A path at which any program may bind a socket."""
        with self._lock:
            home = os.path.join(self._near(), b"q")
            if not os.path.exists(home):
                os.mkdir(home, 0o700)
                os.chmod(home, 0o1777)
            return os.path.join(home, b"%d" % next(self._numbers))

    def bound(self, place: Place, path: bytes) -> None:
        """A socket was bound there for a virtual one."""
        with contextlib.suppress(PermissionError):  # it may belong to another user
            os.chmod(path, 0o777)
        with self._lock:
            self._enter((place.mount, place.inode, b"n"), path)
        self._inodes.add(os.lstat(path), place)

    def socket(self, filesystem: FileSystem, inode: int) -> bytes | None:
        """Where the socket of a virtual one is bound; None if nobody has bound it."""
        with self._lock:
            for key in self._of.get((id(filesystem), inode), ()):
                if key[2] == b"n":
                    return self._made[key]
        return None

    def shortcut(self, directory: bytes) -> bytes:
        """A short path of a host directory: a link to it, for calls that have little room."""
        with self._lock:
            path = self._shortcuts.get(directory)
            if path is None:
                path = os.path.join(self._near(), b"s%d" % next(self._numbers))
                os.symlink(directory, path)
                self._shortcuts[directory] = path
            return path

    def alias(self, target: bytes, name: bytes) -> bytes:
        """Another path of a file, ending in `name`: a process is named after what it was executed by."""
        key = target, name
        with self._lock:
            path = self._aliases.get(key)
            if path is None:
                home = self._unused(b"x")
                os.mkdir(home, 0o711)
                os.chmod(home, 0o711)
                path = self._aliases[key] = os.path.join(home, name)
                os.symlink(target, path)
            return path

    def unused(self) -> bytes:
        """The path of a file to be made, that is another each time."""
        with self._lock:
            return self._unused(b"p")

    def remove(self, filesystem: FileSystem, inode: int) -> None:
        """What they stand for is gone: who holds one holds a removed file."""
        with self._lock:
            self._watched.pop((id(filesystem), inode), None)
            for key in self._of.pop((id(filesystem), inode), ()):
                if key[2] == b"d" and self.native is not None:
                    self.native.drop(*key[:2])
                self._opened.pop(key[:2], None)
                self._remove_marked(self._made.pop(key))

    def _remove_marked(self, path: bytes) -> None:
        """Remove one that somebody may hold, and have it known by what it is then."""
        try:
            fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # we have too many open, or somebody else has removed it
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                self._inodes.drop((status.st_dev, status.st_ino))
            _remove(path)
            return
        try:
            _remove(path)
            self._inodes.gone(os.fstat(fd))
        finally:
            os.close(fd)

    # -- watches ------------------------------------------------------------------------------

    def watch(self, place: Place, names: Callable[[], Iterable[bytes]]) -> bytes:
        """The real directory for a virtual one that is to be watched, with a placeholder for each name."""
        path = self.directory(place)
        key = (id(place.filesystem), place.inode)
        if path in self._watched.get(key, ()):
            return path
        found = list(names())  # without the lock: a server may need other stand-ins to answer
        with self._lock:
            watched = self._watched.setdefault(key, [])
            if path not in watched:
                os.chmod(path, 0o755)
                for name in found:
                    _make_placeholder(os.path.join(path, name), directory=False)
                watched.append(path)
        return path

    def is_watched(self, filesystem: FileSystem, directory: int) -> bool:
        """Whether programs may be told of what happens to the names in a directory."""
        return (id(filesystem), directory) in self._watched

    def name_made(self, filesystem: FileSystem, directory: int, name: bytes, *, is_directory: bool) -> None:
        """A name was made in a directory."""
        for path in self._watched.get((id(filesystem), directory), ()):
            _make_placeholder(os.path.join(path, name), directory=is_directory)

    def name_removed(self, filesystem: FileSystem, directory: int, name: bytes) -> None:
        """A name was removed."""
        for path in self._watched.get((id(filesystem), directory), ()):
            _remove(os.path.join(path, name))

    def name_changed(self, filesystem: FileSystem, directory: int, name: bytes) -> None:
        """The attributes of what has a name were changed."""
        for path in self._watched.get((id(filesystem), directory), ()):
            with contextlib.suppress(OSError):
                os.utime(os.path.join(path, name), follow_symlinks=False)

    def name_moved(
        self, filesystem: FileSystem, directory: int, name: bytes, to_directory: int, to_name: bytes
    ) -> None:
        """A name became another, perhaps in another directory."""
        sources = self._watched.get((id(filesystem), directory), [])
        targets = self._watched.get((id(filesystem), to_directory), [])
        if sources and targets and os.path.dirname(sources[0]) == os.path.dirname(targets[0]):
            with contextlib.suppress(OSError):
                source, target = os.path.join(sources[0], name), os.path.join(targets[0], to_name)
                if os.path.isdir(target) != os.path.isdir(source):
                    _remove(target)
                os.rename(source, target)
            sources, targets = sources[1:], targets[1:]
        for path in sources:
            _move_out(os.path.join(path, name), self._beside(path))
        for path in targets:
            _move_in(self._beside(path), os.path.join(path, to_name))

    def _beside(self, path: bytes) -> bytes:
        """A path that nothing has, in the same file system."""
        return os.path.join(os.path.dirname(path), b"p%d" % next(self._numbers))

    # -- behind the scenes --------------------------------------------------------------------

    def close(self) -> None:
        """Remove everything."""
        with self._lock:
            for top in (self._top, self._short, self._memory):
                if top is not None:
                    top.close()
            self._top = self._short = self._memory = None

    def homes(self) -> list[bytes]:
        """The directories of all of them, made if need be; that of directories first."""
        with self._lock:
            home = self._home()
            return [home] if self._memory is None else [self._memory.path, home]

    def _make(
        self, place: Place, letter: bytes, make: Callable[[bytes], None], *, in_memory: bool = False
    ) -> bytes:
        key = (place.mount, place.inode, letter)
        with self._lock:
            path = self._made.get(key)
            if path is None:
                path = self._made_in_memory(letter, make) if in_memory else None
                if path is None:
                    path = self._unused(letter)
                    make(path)
                self._enter(key, path)
        self._inodes.add(os.lstat(path), place)
        return path

    def _made_in_memory(self, letter: bytes, make: Callable[[bytes], None]) -> bytes | None:
        """None if there is no room for it."""
        self._home()
        if self._memory is None:
            return None
        path = os.path.join(self._memory.path, b"%s%d" % (letter, next(self._numbers)))
        try:
            make(path)
        except OSError:
            return None
        return path

    def _unused(self, letter: bytes) -> bytes:
        return os.path.join(self._home(), b"%s%d" % (letter, next(self._numbers)))

    def _enter(self, key: tuple[Mount, int, bytes], path: bytes) -> None:
        self._made[key] = path
        self._of.setdefault((id(key[0].filesystem), key[1]), []).append(key)

    def _home(self) -> bytes:
        if self._top is None:
            parent = os.environ.get("XDG_RUNTIME_DIR")
            # Programs that we start as root may become other users, who must get there.
            usable = parent is not None and os.geteuid() != 0 and os.access(parent, os.W_OK | os.X_OK)
            self._top = PrivateDirectory(parent if usable else None)
            # What is in XDG_RUNTIME_DIR is in memory already.
            self._memory = None if usable else _directory_in((_MEMORY,))
        return self._top.path

    def _near(self) -> bytes:
        """A directory of ours whose paths fit into the address of a socket: another if ours is too long."""
        home = self._home()
        if self._short is None and len(home) > _SHORT:
            self._short = _directory_in(_PARENTS)
        return home if self._short is None else self._short.path


def _directory_in(parents: Iterable[str]) -> PrivateDirectory | None:
    """A new directory in the first of some that lets us make one."""
    for parent in parents:
        with contextlib.suppress(OSError):
            return PrivateDirectory(parent)
    return None


def _make_directory(path: bytes) -> None:
    os.mkdir(path, 0o555)
    os.chmod(path, 0o555)  # the mask of this thread may be that of a program


def _remove(path: bytes) -> None:
    with contextlib.suppress(OSError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        try:
            os.rmdir(path)  # whoever watches it is not to be told that we have looked into it
        except OSError:
            shutil.rmtree(path)


def _make_placeholder(path: bytes, *, directory: bool) -> None:
    with contextlib.suppress(OSError):
        if directory:
            os.mkdir(path, 0o700)
        else:
            os.mknod(path, _PLACEHOLDER)


def _move_out(path: bytes, away: bytes) -> None:
    with contextlib.suppress(OSError):
        os.rename(path, away)
    _remove(away)


def _move_in(outside: bytes, path: bytes) -> None:
    _make_placeholder(outside, directory=False)
    with contextlib.suppress(OSError):
        os.rename(outside, path)
    _remove(outside)
