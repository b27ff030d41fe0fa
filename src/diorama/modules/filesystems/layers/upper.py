"""Upper: the writable layer on disk, where every change appears at a stroke.

What is to appear is made in the work directory, which is on the same file system, and renamed to its place.
So whoever is killed leaves the tree as it was before or after a step, and something in the work directory,
which the next one to use the layer removes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import itertools
import os
import shutil
import stat
from collections.abc import Callable
from typing import Final

from diorama.abi.arch import Abi
from diorama.abi.fcntl import AT_FDCWD, RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT
from diorama.abi.numbers import NUMBERS
from diorama.engine.ourcall import make_call
from diorama.modules.filesystems.layers.marks import Marks, set_opaque
from diorama.modules.filesystems.layers.shortcuts import Shortcuts

__all__ = ["InUse", "Upper", "exchange", "rename_exclusively"]

_RENAMEAT2: Final = NUMBERS[Abi.native()[0].title]["renameat2"]
_DEFAULT_ACL: Final = "system.posix_acl_default"
_UNKNOWN: Final = (errno.EINVAL, errno.ENOSYS, errno.EPERM)


class InUse(Exception):
    """Somebody else uses the layer."""


def _rename(old: bytes, new: bytes, flags: int) -> None:
    texts = ctypes.create_string_buffer(old), ctypes.create_string_buffer(new)
    at = [ctypes.addressof(text) for text in texts]
    make_call(_RENAMEAT2, AT_FDCWD, at[0], AT_FDCWD, at[1], flags)


def exchange(one: bytes, other: bytes) -> None:
    """Exchange two names."""
    _rename(one, other, RENAME_EXCHANGE)


def rename_exclusively(old: bytes, new: bytes) -> None:
    """Rename to a name that is free; EEXIST."""
    _rename(old, new, RENAME_NOREPLACE)


class Upper:
    """The tree and the work directory of a writable layer, which is locked while this object lives.

    The lock belongs to an open directory, so it ends with this process, however that ends.
    """

    def __init__(self, tree: bytes, work: bytes, *, devices: bool | None = None) -> None:
        self.tree: Final = tree.rstrip(b"/")
        self.work: Final = work.rstrip(b"/")
        self._lock_fd = os.open(self.work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._begin()
            self._marks = Marks(self.work, devices=devices)
        except BaseException:
            os.close(self._lock_fd)
            raise
        self._numbers = itertools.count()
        self.shortcuts: Final = Shortcuts(self.work)

    def _begin(self) -> None:
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse from None
        for name in os.listdir(self.work):
            remove_tree(self.work + b"/" + name)

    def close(self) -> None:
        """Unlock it."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def at(self, path: bytes) -> bytes:
        """The host path of a path in the tree."""
        return self.shortcuts.short(self.tree + path)

    def look(self, path: bytes) -> os.stat_result | None:
        """What the tree itself has at a path, be it a whiteout."""
        try:
            return os.lstat(self.at(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    # -- making -------------------------------------------------------------------------------

    def stage(self) -> bytes:
        """A free path in the work directory."""
        return self.work + b"/%d" % next(self._numbers)

    def place(self, staged: bytes, path: bytes) -> None:
        """Let what was staged appear in a directory that is there, whose times stay; EEXIST."""
        parent = os.path.dirname(self.at(path))
        times = os.lstat(parent)
        rename_exclusively(staged, self.at(path))
        with contextlib.suppress(OSError):
            os.utime(parent, ns=(times.st_atime_ns, times.st_mtime_ns))

    def make_over(self, path: bytes, make: Callable[[bytes], None]) -> None:
        """Make something new where a whiteout is; `make` gets the path at which to make it.

        It is made in a directory that is as the one it is for: what a file inherits follows from that.
        """
        target = self.at(path)
        room = self.stage()
        self._like_parent(room, os.path.dirname(target))
        staged = room + b"/" + os.path.basename(target)
        make(staged)
        if stat.S_ISDIR(os.lstat(staged).st_mode):
            set_opaque(staged)
            exchange(staged, target)
            os.unlink(staged)
        else:
            os.rename(staged, target)
        os.rmdir(room)

    @staticmethod
    def _like_parent(room: bytes, parent: bytes) -> None:
        status = os.lstat(parent)
        os.mkdir(room, 0o700)
        if status.st_mode & stat.S_ISGID:
            os.chown(room, -1, status.st_gid)
            os.chmod(room, 0o2700)
        try:
            os.setxattr(room, _DEFAULT_ACL, os.getxattr(parent, _DEFAULT_ACL))
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
                raise

    # -- hiding -------------------------------------------------------------------------------

    def hide(self, path: bytes) -> None:
        """Put a whiteout on a path, in place of what the tree has there."""
        target = self.at(path)
        status = self.look(path)
        staged = self.stage()
        self._marks.make_whiteout(staged)
        self._marks.admit(os.path.dirname(target))
        if status is None or not stat.S_ISDIR(status.st_mode):
            os.rename(staged, target)
            return
        exchange(staged, target)
        remove_tree(staged)

    def drop(self, path: bytes) -> None:
        """Remove what the tree has there: a file, or a directory with nothing but whiteouts in it."""
        status = self.look(path)
        if status is None or not stat.S_ISDIR(status.st_mode):
            os.unlink(self.at(path))
            return
        staged = self.stage()
        os.rename(self.at(path), staged)
        remove_tree(staged)

    def empty(self, path: bytes) -> None:
        """Replace a directory that has nothing but whiteouts by one without, which hides all below."""
        target, staged = self.at(path), self.stage()
        status = os.lstat(target)
        os.mkdir(staged, 0o700)
        os.chown(staged, status.st_uid, status.st_gid)
        os.chmod(staged, stat.S_IMODE(status.st_mode))
        set_opaque(staged)
        exchange(staged, target)
        remove_tree(staged)

    def move(self, old: bytes, new: bytes, *, leaves_whiteout: bool) -> None:
        """Rename within the tree; a directory may replace a whiteout."""
        source, target = self.at(old), self.at(new)
        there = self.look(new)
        is_directory = stat.S_ISDIR(os.lstat(source).st_mode)
        if leaves_whiteout:
            self._marks.admit(os.path.dirname(source))
        if is_directory and there is not None and not stat.S_ISDIR(there.st_mode):
            exchange(source, target)  # the whiteout is at the old place now
            if not leaves_whiteout:
                os.unlink(source)
            return
        if not leaves_whiteout:
            os.rename(source, target)
            return
        if self._marks.devices:
            try:
                _rename(source, target, RENAME_WHITEOUT)
                return
            except OSError as error:
                if error.errno not in _UNKNOWN:
                    raise
        # Between these two both names are seen: nothing is lost if that is the end.
        os.rename(source, target)
        self.hide(old)


def remove_tree(path: bytes) -> None:
    """Remove a file, or a directory with all that is in it, whatever its permissions."""
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(path)
        return
    # A first pass makes closed directories ours to search.
    for directory, names, _ in os.walk(path, topdown=True):
        with contextlib.suppress(OSError):
            os.chmod(directory, 0o700)
        if not names:
            continue
        for name in names:
            with contextlib.suppress(OSError):
                full = os.path.join(directory, name)
                if not os.path.islink(full):
                    os.chmod(full, 0o700)
    shutil.rmtree(path)
