"""Layered opening: open(2) in trees that are merged from directories of the host.

What is opened for reading is the file where it is, in whichever layer; for writing, its copy in the writable
one.  So the program has a real descriptor, and every later call on it is the kernel's.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from diorama.abi import fcntl
from diorama.abi.fcntl import AT_FDCWD, OpenHow
from diorama.catalogue.files import OpenAt, OpenAt2
from diorama.dispatch.files.acting import assume_umask
from diorama.dispatch.files.answers import Outcome
from diorama.dispatch.files.layered import absent, check_directory, making, may, parent_of, whole
from diorama.dispatch.files.state import Files, fail
from diorama.engine.held import Descriptor
from diorama.view.layers import FoundInLayers, WholeLayers
from diorama.view.mounts import Place

__all__ = ["changes_nothing", "open_layered"]

_TMPFILE: Final = fcntl.O_TMPFILE & ~fcntl.O_DIRECTORY
_CREATING: Final = fcntl.O_CREAT | fcntl.O_EXCL

Opening = OpenAt | OpenAt2


def changes_nothing(flags: int) -> bool:
    """Whether an open with these flags only reads, if there is a file."""
    return bool(flags & fcntl.O_PATH) or not flags & (
        fcntl.O_ACCMODE | fcntl.O_TRUNC | fcntl.O_CREAT | _TMPFILE
    )


def open_layered(files: Files, call: Opening, place: Place, how: OpenHow) -> Outcome:
    """Open what is at a place in layers."""
    layers, path = whole(place)
    with layers.lock:
        if place.missing:
            return _create(files, call, place, how)
        found = layers.find(path)
        kind, flags = stat.S_IFMT(found.status.st_mode), how.flags
        if not flags & fcntl.O_PATH:
            _check(place, kind, flags)
        if flags & _TMPFILE and not flags & fcntl.O_PATH:
            return _temporary(files, call, place, how)
        if kind != stat.S_IFREG or changes_nothing(flags & ~fcntl.O_CREAT):
            return _open_there(files, call, place, how, found)
        return _open_for_writing(files, call, place, how, found)


def _check(place: Place, kind: int, flags: int) -> None:
    """Raise what speaks against opening what is there."""
    if flags & _CREATING == _CREATING:
        raise fail(errno.EEXIST)
    if kind == stat.S_IFLNK:
        raise fail(errno.ENOTDIR if flags & fcntl.O_DIRECTORY else errno.ELOOP)
    if kind == stat.S_IFDIR and flags & fcntl.O_CREAT:
        raise fail(errno.EISDIR)
    if flags & _TMPFILE and kind != stat.S_IFDIR:
        raise fail(errno.ENOTDIR)
    if place.mount.read_only and kind in (stat.S_IFREG, stat.S_IFDIR):
        if flags & _TMPFILE:
            raise fail(errno.EROFS)
        if flags & (fcntl.O_ACCMODE | fcntl.O_TRUNC):
            raise fail(errno.EISDIR if kind == stat.S_IFDIR else errno.EROFS)


def _open_there(files: Files, call: Opening, place: Place, how: OpenHow, found: FoundInLayers) -> Outcome:
    """Open what changes nothing, or what is no file of a layer: a directory, a device, a FIFO."""
    layers, _ = whole(place)
    reads = not how.flags & fcntl.O_PATH and stat.S_IFMT(found.status.st_mode) in (stat.S_IFDIR, stat.S_IFREG)
    if reads and layers.owner(found) is not None and not may(files, call.tracee, layers, found, os.R_OK):
        raise fail(errno.EACCES)
    return _open_real(files, call, place, how, found.real, how.flags & ~fcntl.O_CREAT)


def _open_for_writing(
    files: Files, call: Opening, place: Place, how: OpenHow, found: FoundInLayers
) -> Outcome:
    layers, path = whole(place)
    wanted = 0 if how.flags & fcntl.O_ACCMODE == fcntl.O_WRONLY else os.R_OK
    if how.flags & (fcntl.O_ACCMODE | fcntl.O_TRUNC):
        wanted |= os.W_OK
    if not may(files, call.tracee, layers, found, wanted):
        raise fail(errno.EACCES)
    flags = how.flags & ~_CREATING
    if flags & fcntl.O_DIRECTORY:
        raise fail(errno.ENOTDIR)
    real = layers.raise_up(path, content=not flags & fcntl.O_TRUNC)
    return _open_real(files, call, place, how, real, flags)


def _temporary(files: Files, call: Opening, place: Place, how: OpenHow) -> Outcome:
    layers, path = whole(place)
    check_directory(files, call.tracee, layers, path)
    return _at(call, layers.raise_directory(path), how, how.flags)


# -- what is there --------------------------------------------------------------------------------


def _at(call: Opening, path: bytes, how: OpenHow, flags: int) -> Opening:
    if isinstance(call, OpenAt):
        return call.replace(dirfd=AT_FDCWD, path=path, flags=flags)
    mode = how.mode if flags & (fcntl.O_CREAT | _TMPFILE) else 0
    return call.replace(dirfd=AT_FDCWD, path=path, how=OpenHow(flags, mode))


def _open_real(files: Files, call: Opening, place: Place, how: OpenHow, real: bytes, flags: int) -> Outcome:
    """Open a host path, in the program's stead if it comes to the same, and remember by which mount."""
    task = files.task(call.tracee)
    is_base = place.mount is task.tree.base
    mode = os.lstat(real).st_mode
    is_ordinary = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    can_act = call.tracee.gives_at_once and is_ordinary and not flags & (fcntl.O_PATH | _TMPFILE)
    if can_act and files.has_our_rights(call.tracee):
        fd = os.open(real, flags | os.O_CLOEXEC | os.O_NOCTTY)
        _note(files, call, place, os.fstat(fd), real)
        return Descriptor(fd, cloexec=bool(flags & os.O_CLOEXEC))
    slash = b"/" if place.slash else b""
    changed = _at(call, real + slash, how, flags)
    if is_base and not files.tasks.opened.any(task):
        return changed
    fd = changed.run()
    status = files.tasks.status(task, fd)
    files.tasks.opened.drop(task, (status.st_dev, status.st_ino))
    if not is_base:
        files.note_opened(call.tracee, status, place.mount)
    return fd


def _note(files: Files, call: Opening, place: Place, status: os.stat_result, real: bytes) -> None:
    task = files.task(call.tracee)
    if place.mount is not task.tree.base:
        files.note_opened(call.tracee, status, place.mount)
    elif files.tasks.opened.any(task):
        files.tasks.opened.drop(task, (status.st_dev, status.st_ino))


# -- what is not there ----------------------------------------------------------------------------


def _create(files: Files, call: Opening, place: Place, how: OpenHow) -> Outcome:
    """Make a regular file and open it."""
    layers, path = whole(place)
    flags = how.flags
    if not flags & fcntl.O_CREAT or flags & fcntl.O_PATH:
        raise absent(path)
    if place.slash:
        raise fail(errno.EISDIR)
    if flags & fcntl.O_DIRECTORY:
        raise fail(errno.EINVAL)
    if place.mount.read_only:
        raise fail(errno.EROFS)
    check_directory(files, call.tracee, layers, parent_of(path))
    real, covered = layers.room(path)
    if call.tracee.gives_at_once and files.has_our_rights(call.tracee):
        return _create_for(files, call, layers, place, how, None if covered else real)
    if not covered:
        return _at(call, real, how, flags)
    return _create_first(files, call, layers, place, how)


def _create_for(
    files: Files, call: Opening, layers: WholeLayers, place: Place, how: OpenHow, real: bytes | None
) -> Outcome:
    """Make it in the program's stead, and give it the descriptor; `real` is None over a whiteout."""
    assume_umask(call.tracee)
    flags = how.flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOCTTY
    made: list[int] = []

    def make(path: bytes) -> None:
        made.append(os.open(path, flags, how.mode & 0o7777))

    if real is None:
        layers.make_over(whole(place)[1], make)
    else:
        make(real)
    _note(files, call, place, os.fstat(made[0]), b"")
    return Descriptor(made[0], cloexec=bool(how.flags & os.O_CLOEXEC))


def _create_first(files: Files, call: Opening, layers: WholeLayers, place: Place, how: OpenHow) -> Outcome:
    """Make it, then let the program open it: who makes a file may open it whatever its permissions."""
    _, path = whole(place)

    def make(path: bytes) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))

    final = how.mode & 0o7777
    layers.make_over(path, making(files, call.tracee, make, final | 0o600))
    real = layers.find(path).real
    fd = _at(call, real, how, how.flags & ~_CREATING).run()
    if final & 0o600 != 0o600:
        os.chmod(real, os.lstat(real).st_mode & 0o7777 & (final | ~0o600))
    return fd
