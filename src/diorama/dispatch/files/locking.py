"""Locking: locks on files whose file system wants to know of them, fcntl(2) and flock(2).

Most do not, and then the kernel keeps them, on what the program holds of a file.  A file system that does is
asked instead, and judges between all who ask it, also those who do not come by this view.

Locks on ranges are those of a process.  They go with whatever descriptor of the file it closes, which is seen
(`closing`), and with its end, of which its pidfd tells.  A lock on an open file is that of a file which is
read and written directly, by which it is known.  Of what is cached the kernel judges between the programs of
the view first (`filelock`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import (
    F_GETLK,
    F_GETLK64,
    F_OFD_GETLK,
    F_OFD_SETLK,
    F_OFD_SETLKW,
    F_RDLCK,
    F_SETLK,
    F_SETLK64,
    F_SETLKW,
    F_SETLKW64,
    F_UNLCK,
    F_WRLCK,
    LOCK_EX,
    LOCK_NB,
    LOCK_SH,
    LOCK_UN,
    O_ACCMODE,
    O_PATH,
    O_RDONLY,
    O_WRONLY,
    SEEK_CUR,
    SEEK_END,
    SEEK_SET,
    FLock,
)
from diorama.catalogue.io import Fcntl, Flock
from diorama.dispatch.files.answers import Outcome, answers, fail
from diorama.view.filesystem import LOCK_LAST, Lock

if TYPE_CHECKING:
    from diorama.dispatch.files.content import Content
    from diorama.dispatch.files.direct import DirectFile
    from diorama.dispatch.files.state import Files
    from diorama.view.filesystem import FileSystem, OpenFile
    from diorama.view.mounts import Place
    from diorama.view.task import Task

__all__ = ["LOCKING", "Lockers", "lock_range"]

_WIDE: Final = (F_GETLK64, F_SETLK64, F_SETLKW64)
_OF_OPEN_FILES: Final = (F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW)
_TESTING: Final = (F_GETLK, F_GETLK64, F_OFD_GETLK)
_WAITING: Final = (F_SETLKW, F_SETLKW64, F_OFD_SETLKW)

LOCKING: Final = (F_GETLK, F_SETLK, F_SETLKW, *_WIDE, *_OF_OPEN_FILES)
"""The commands of fcntl(2)."""

_KINDS: Final = {LOCK_SH: F_RDLCK, LOCK_EX: F_WRLCK, LOCK_UN: F_UNLCK}


class Lockers:
    """The processes that have locks on ranges, and the files that programs have locks on.  Any thread.

    `on_locked` is told of a file that may be locked: also who only reads it is to be seen closing it.
    """

    def __init__(self) -> None:
        self.on_locked: Callable[[os.stat_result], None] = _nothing
        self._lock = threading.Lock()
        self._held: dict[int, set[FileSystem]] = {}
        self._pids: dict[int, int] = {}
        self._epoll: select.epoll | None = None
        self._stop: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None

    def has(self, pid: int, filesystem: FileSystem) -> bool:
        """Whether a process may have locks in a file system."""
        return filesystem in self._held.get(pid, ())

    def add(self, pid: int, filesystem: FileSystem) -> None:
        """A process is about to have some: they end with it; ESRCH if it has ended."""
        with self._lock:
            held = self._held.get(pid)
            if held is None:
                self._watch(pid)
                held = self._held[pid] = set()
            held.add(filesystem)

    def _watch(self, pid: int) -> None:
        if self._epoll is None:
            self._epoll = select.epoll()
            self._stop = os.pipe()
            self._epoll.register(self._stop[0], 0)
            self._thread = threading.Thread(target=self._run, args=(self._epoll,), name="locks", daemon=True)
            self._thread.start()
        pidfd = os.pidfd_open(pid)
        self._pids[pidfd] = pid
        self._epoll.register(pidfd, select.EPOLLIN)

    def _run(self, epoll: select.epoll) -> None:
        assert self._stop is not None
        while True:
            ended = [fd for fd, _ in epoll.poll()]
            if self._stop[0] in ended:
                return
            for pidfd in ended:
                epoll.unregister(pidfd)  # closing would not do where a process that is being started has it
                self._ended(pidfd)

    def _ended(self, pidfd: int) -> None:
        with self._lock:
            pid = self._pids.pop(pidfd)
            held = self._held.pop(pid)
            os.close(pidfd)
        for filesystem in held:
            with contextlib.suppress(OSError):
                filesystem.unlock(pid)

    def close(self) -> None:
        """End the thread; the file systems are about to be closed."""
        if self._thread is not None and self._stop is not None and self._epoll is not None:
            os.close(self._stop[1])
            self._thread.join()
            os.close(self._stop[0])
            self._epoll.close()
        for pidfd in self._pids:
            os.close(pidfd)
        self._pids.clear()


def _nothing(_status: os.stat_result) -> None:
    return


class _Locked:
    """A file that a program locks: what its file system has of it, and the offset and size to count from."""

    def __init__(
        self, place: Place, opened: OpenFile, owner: int, flags: int, base: Callable[[int], int]
    ) -> None:
        assert place.filesystem is not None
        self.filesystem: FileSystem = place.filesystem
        self.opened = opened
        self.owner = owner
        self.flags = flags
        self.base = base


# -- ranges ---------------------------------------------------------------------------------------


def lock_range(files: Files, call: Fcntl) -> Outcome:
    """As fcntl_setlk() and fcntl_getlk() of Linux; None for what the kernel keeps."""
    task = files.task(call.tracee)
    if call.command in _WIDE and call.tracee.abi.word == 8:
        return None
    with ExitStack() as using:
        locked = _ranged(files, call, task, using)
        return None if locked is None else _lock_range(files, call, task, locked)


def _lock_range(files: Files, call: Fcntl, task: Task, locked: _Locked) -> int:
    layout = "flock64" if call.command in (*_WIDE, *_OF_OPEN_FILES) else "flock"
    size = FLock.size(call.tracee.abi, layout)
    asked = FLock.unpack(call.tracee.abi, call.tracee.memory.read(call.argument, size), layout)
    if call.command in _OF_OPEN_FILES and asked.l_pid:
        raise fail(errno.EINVAL)
    lock = _range_of(asked, locked, task.pid)
    if call.command in _TESTING:
        if lock.kind == F_UNLCK and call.command != F_OFD_GETLK:
            raise fail(errno.EINVAL)
        found = locked.opened.test_lock(lock)
        told = asked.replace(l_type=F_UNLCK) if found is None else _told(found, call.command)
        call.tracee.memory.write(call.argument, told.pack(call.tracee.abi, layout))
        return 0
    _check_mode(lock.kind, locked.flags)
    if lock.kind != F_UNLCK and call.command not in _OF_OPEN_FILES:
        files.lockers.add(task.pid, locked.filesystem)
    locked.opened.set_lock(lock, waits=call.command in _WAITING)
    return 0


def _ranged(files: Files, call: Fcntl, task: Task, using: ExitStack) -> _Locked | None:
    of_open_file = call.command in _OF_OPEN_FILES
    direct = files.direct.find(task, call.fd)
    if direct is not None:
        filesystem = direct.place.filesystem
        if filesystem is None or not filesystem.locks_ranges:
            return None
        owner = direct.owner if of_open_file else task.pid
        return _Locked(direct.place, direct.opened, owner, direct.flags, partial(_base_of_direct, direct))
    content = None if of_open_file else _content(files, task, call.fd, using)
    if content is None or not content.filesystem.locks_ranges:
        return None
    flags = files.tasks.flags(task, call.fd)
    files.lockers.on_locked(os.fstat(content.fd))

    def base(whence: int) -> int:
        if whence == SEEK_CUR:
            return _position(task, call.fd)
        return os.fstat(content.fd).st_size if whence == SEEK_END else 0

    return _Locked(content.place, content.opened[-1], task.pid, flags, base)


def _base_of_direct(file: DirectFile, whence: int) -> int:
    if whence == SEEK_CUR:
        return file.position
    return file.size if whence == SEEK_END else 0


def _content(files: Files, task: Task, fd: int, using: ExitStack) -> Content | None:
    """What a descriptor has open of a file that its file system knows to be open: in use meanwhile."""
    place = files.tasks.virtual(task, fd)
    if place is None or place.filesystem is None or not place.filesystem.tells_at_close:
        return None
    content = using.enter_context(files.synthetic.contents.kept(place.filesystem, place.inode))
    if content is None or not content.opened or files.tasks.flags(task, fd) & O_PATH:
        return None
    return content


def _position(task: Task, fd: int) -> int:
    with open(f"/proc/{task.tid}/fdinfo/{fd}", "rb") as info:
        return int(info.readline().split()[1])


def _range_of(asked: FLock, locked: _Locked, pid: int) -> Lock:
    """What a range means, as flock64_to_posix_lock() of Linux has it."""
    if asked.l_type not in _KINDS.values() or asked.l_whence not in (SEEK_SET, SEEK_CUR, SEEK_END):
        raise fail(errno.EINVAL)
    start = locked.base(asked.l_whence) + asked.l_start
    if start > LOCK_LAST:
        raise fail(errno.EOVERFLOW)
    end = LOCK_LAST
    if asked.l_len > 0:
        end = start + asked.l_len - 1
        if end > LOCK_LAST:
            raise fail(errno.EOVERFLOW)
    elif asked.l_len < 0:
        start, end = start + asked.l_len, start - 1
    if start < 0:
        raise fail(errno.EINVAL)
    return Lock(asked.l_type, start, end, locked.owner, pid)


def _check_mode(kind: int, flags: int) -> None:
    wrong = {F_RDLCK: O_WRONLY, F_WRLCK: O_RDONLY}.get(kind)
    if flags & O_ACCMODE == wrong:
        raise fail(errno.EBADF)


def _told(found: Lock, command: int) -> FLock:
    length = 0 if found.end >= LOCK_LAST else found.end - found.start + 1
    pid = -1 if command == F_OFD_GETLK else found.pid
    return FLock(found.kind, SEEK_SET, found.start, length, pid)


# -- open files -----------------------------------------------------------------------------------


@answers(Flock)
def lock_file(files: Files, call: Flock) -> Outcome:
    """As flock(2)."""
    task = files.task(call.tracee)
    kind = _KINDS.get(call.operation & ~LOCK_NB)
    if kind is None:
        return None
    waits = not call.operation & LOCK_NB and kind != F_UNLCK
    direct = files.direct.find(task, call.fd)
    if direct is not None:
        filesystem = direct.place.filesystem
        if filesystem is None or not filesystem.locks_files:
            return None
        direct.opened.set_lock(Lock(kind, owner=direct.owner, pid=task.pid, whole=True), waits=waits)
        return 0
    with ExitStack() as using:
        content = _content(files, task, call.fd, using)
        if content is None or not content.filesystem.locks_files:
            return None
        flags = files.tasks.flags(task, call.fd) & O_ACCMODE
        return _lock_cached(call, content, Lock(kind, pid=task.pid, whole=True), flags, waits=waits)


def _lock_cached(call: Flock, content: Content, lock: Lock, flags: int, *, waits: bool) -> int:
    shared = content.file_lock
    if waits:
        result = call.run()
    else:
        with shared.undisturbed():
            result = call.run()
    if lock.kind == F_UNLCK:
        shared.give_back(content.fd)
        return result
    try:
        shared.get(lock, partial(content.filesystem.open_file, content.place.inode, flags), waits=waits)
    except OSError:
        call.replace(operation=LOCK_UN).run()
        shared.give_back(content.fd)
        raise
    return result
