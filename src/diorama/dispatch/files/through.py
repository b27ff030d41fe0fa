"""Through: each write(2) is one for the file system before it returns, also where files are cached.

What programs hold is the memfd as ever, so that mapping, locks, offsets and reading are the kernel's.  Only
writing must be seen; so whoever opens such a file for writing gets a large descriptor (`direct`).  What he
writes goes to the file system first, and what that takes into the memfd, which then agrees with the file.

What nobody sees is saved when the file is closed, as without this: what is written by a descriptor with
another number, asynchronously, or through a mapping.  A file that is open for reading and writing may be
mapped; so all of it is saved once more then.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import O_ACCMODE, O_APPEND, O_CLOEXEC, O_PATH, O_RDONLY, O_TRUNC, SEEK_CUR, SEEK_SET
from diorama.abi.io import RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_SYNC
from diorama.dispatch.files.answers import fail
from diorama.dispatch.files.direct import HIGH, LOW
from diorama.engine.taking import taken
from diorama.errors import warn_once

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.files.content import Content
    from diorama.dispatch.files.state import Files
    from diorama.view.filesystem import OpenFile
    from diorama.view.task import Task

__all__ = ["find_through", "is_too_long", "open_through", "unsee", "write_through"]

_MOST: Final = 1 << 20
_MAX_COUNT: Final = 0x7FFFF000
_LARGEST: Final = (1 << 63) - 1
_FLAGS: Final = RWF_APPEND | RWF_DSYNC | RWF_HIPRI | RWF_SYNC
_LATE: Final = "what it writes by this descriptor is written when the file is closed"


def open_through(content: Content, flags: int) -> int:
    """A descriptor for a program that is to have a large one, of what its file system has opened already.

    What was truncated by that is so there too.
    """
    with content.lock:
        content.note()
        was_clean = not content.is_dirty
        fd = os.open(content.path, flags | O_CLOEXEC)
        if was_clean and flags & O_TRUNC:
            content.agree()
    return fd


def find_through(files: Files, task: Task, fd: int) -> Content | None:
    """The content of a file that is open for writing, each of which is to be seen; None for others."""
    if not files.writes_through:
        return None
    place = files.tasks.virtual(task, fd)
    if place is None or place.filesystem is None or not place.filesystem.takes_writes:
        return None
    content = files.synthetic.contents.find(place.filesystem, place.inode)
    if content is None or not any(one.writes for one in content.opened):
        return None
    flags = files.tasks.flags(task, fd)
    return None if flags & O_PATH or flags & O_ACCMODE == O_RDONLY else content


def unsee(files: Files, task: Task, call: str, fd: int, number: int = LOW) -> None:
    """Such a file gets a descriptor, with this number or any, by which what is written is not seen."""
    content = find_through(files, task, fd) if LOW <= number < HIGH else None
    if content is not None:
        content.is_unseen = True
        warn_once(call, _LATE)


def is_too_long(tracee: Tracee, content: Content, size: int) -> bool:
    """Whether a file would become longer than the program may make one, which the kernel tells it."""
    return os.fstat(content.fd).st_size < size > _limit(tracee)


def _limit(tracee: Tracee) -> int:
    try:
        soft = resource.prlimit(tracee.tid, resource.RLIMIT_FSIZE)[0]
    except OSError:  # it is gone, or another user
        return _LARGEST
    return _LARGEST if soft == resource.RLIM_INFINITY else soft


def write_through(
    files: Files,
    tracee: Tracee,
    fd: int,
    places: list[tuple[int, int]],
    offset: int | None,
    how: int = 0,
) -> int | None:
    """Write at an offset, or at the file's own, with flags of pwritev2(2); how much.

    None for what need not be seen, as what is beyond the size that files may have: the kernel says that.
    """
    content = find_through(files, files.task(tracee), fd)
    if content is None:
        return None
    if how & ~_FLAGS:
        raise fail(errno.EOPNOTSUPP)
    with taken(tracee.tid, tracee.pid, fd) as ours, content.lock:
        flags = fcntl.fcntl(ours, fcntl.F_GETFL)
        opened = _written_by(content, flags)
        if opened is None:
            return None
        content.note()
        start = os.lseek(ours, 0, SEEK_CUR) if offset is None else offset
        if start + sum(size for _, size in places) > _LARGEST:
            raise fail(errno.EINVAL)
        if flags & O_APPEND or how & RWF_APPEND:
            start = os.fstat(ours).st_size
        room = _limit(tracee) - start
        if room <= 0:
            return None
        was_clean = not (content.is_dirty or content.is_unseen)
        try:
            done = _write(tracee, opened, ours, _within(places, min(room, _MAX_COUNT)), start)
        finally:
            if was_clean:
                content.agree()
            content.mark = b""  # what may be mapped is not what it was
        if offset is None:
            os.lseek(ours, start + done, SEEK_SET)
    if done and how & (RWF_DSYNC | RWF_SYNC):
        content.filesystem.sync_file(content.place.inode, data_only=not how & RWF_SYNC)
    return done


def _within(places: list[tuple[int, int]], room: int) -> list[tuple[int, int]]:
    """As much of pieces of memory as there is room for."""
    found: list[tuple[int, int]] = []
    for address, size in places:
        found.append((address, min(size, room)))
        room -= found[-1][1]
    return found


def _written_by(content: Content, flags: int) -> OpenFile | None:
    """What the file system has made of it: which of several is not told apart but by how they write."""
    fits = [one for one in content.opened if one.writes]
    alike = [one for one in fits if not (one.flags ^ flags) & O_APPEND]
    found = alike or fits
    return found[-1] if found else None


def _write(tracee: Tracee, opened: OpenFile, fd: int, places: list[tuple[int, int]], start: int) -> int:
    total = 0
    for address, size in places:
        at = 0
        while at < size:
            try:
                data = tracee.memory.read(address + at, min(size - at, _MOST))
                done = opened.write(start + total, data)
            except OSError:
                if total:
                    return total
                raise
            view = memoryview(data)[:done]
            while view:
                view = view[os.pwrite(fd, view, start + total + done - len(view)) :]
            at, total = at + done, total + done
            if done < len(data):
                return total
    return total
