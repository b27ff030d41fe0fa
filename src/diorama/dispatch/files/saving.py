"""Saving: when what programs have written reaches the file system.

At fsync(2) and its relatives, when the last writer has closed a file, and at the end of the view.  The kernel
tells of the closing: an inotify watch on each memfd that is open for writing, read by a thread.  While
somebody still can write, it is not the last one.  Who closes a file by a call may have to be told more, and
sooner (`diorama.dispatch.files.closing`).

A save that failed is told to who waits for it, and by fsync to who has the file open then
(`diorama.dispatch.files.errors`); if that is nobody, to the next fsync of it, once.  Who never asks is
told by the view in the end, and nothing is thrown away then: what could not be saved is put into a directory
beside the other temporary files.

Of files without a name it is the closing that lets them be forgotten.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import tempfile
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.abi.fcntl import O_PATH
from diorama.abi.io import IN_CLOEXEC, IN_CLOSE_NOWRITE, IN_CLOSE_WRITE, IN_IGNORED, IN_NONBLOCK
from diorama.abi.memory import MS_SYNC
from diorama.abi.numbers import NUMBERS
from diorama.catalogue.io import FDataSync, FSync, Sync, SyncFs
from diorama.catalogue.memory import MSync
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.errors import untold
from diorama.dispatch.files.state import Files, fail
from diorama.engine.ourcall import add_watch, make_call
from diorama.errors import warn_once

if TYPE_CHECKING:
    from diorama.dispatch.files.content import Content
    from diorama.dispatch.files.contents import Contents
    from diorama.view.mounts import Place

__all__ = ["SAVING", "Saver", "rescue"]

SAVING: Final = frozenset({FSync, FDataSync, Sync, SyncFs, MSync})
"""What concerns only file systems that keep what is written."""

_EVENT: Final = 16
_ROOM: Final = 1 << 16
_LATE: Final = "files are saved at fsync and at the end of the view only"


# -- on demand ------------------------------------------------------------------------------------


@answers(FSync, FDataSync)
def sync_file(files: Files, call: FSync | FDataSync) -> Outcome:
    """Save one file; a failure, this one or one before, is told."""
    task = files.task(call.tracee)
    place = files.tasks.virtual(task, call.fd)
    if place is None or files.tasks.flags(task, call.fd) & O_PATH:
        return None
    assert place.filesystem is not None
    if place.filesystem.attributes(place.inode).kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFBLK):
        return None  # as for any FIFO, the kernel says
    content = files.synthetic.contents.find(place.filesystem, place.inode)
    if content is not None:
        _save(files, content, lambda: untold(content, task, call.fd))
    place.filesystem.sync_file(place.inode, data_only=isinstance(call, FDataSync))
    return 0


def _save(files: Files, content: Content, untold: Callable[[], OSError | None]) -> None:
    try:
        files.synthetic.contents.save(content)
    except OSError:
        untold()
        content.failure = None
        raise
    # Not before: what fails while we wait for our turn is told to us, and to us once.
    failure, content.failure = untold() or content.failure, None
    if failure is not None:
        raise fail(failure.errno or errno.EIO)


@answers(SyncFs)
def sync_filesystem(files: Files, call: SyncFs) -> Outcome:
    """Save all of a file system."""
    task = files.task(call.tracee)
    place = files.tasks.virtual(task, call.fd)
    if place is None or files.tasks.flags(task, call.fd) & O_PATH:
        return None
    assert place.filesystem is not None
    failures = files.synthetic.settle(place.filesystem)
    place.filesystem.sync()
    if failures:
        raise fail(failures[0][1].errno or errno.EIO)
    return 0


@answers(Sync)
def sync_all(files: Files, call: Sync) -> Outcome:
    """Save everything; sync(2) tells of no failures, so they wait for an fsync or the end."""
    files.synthetic.settle()
    return None


@answers(MSync)
def sync_mapping(files: Files, call: MSync) -> Outcome:
    """Save the files that are mapped in a range."""
    if not call.flags & MS_SYNC or call.address % os.sysconf("SC_PAGESIZE"):
        return None
    call.run()
    for place in _mapped(files, call):
        assert place.filesystem is not None
        content = files.synthetic.contents.find(place.filesystem, place.inode)
        if content is not None:
            _save(files, content, lambda: None)  # which open file it is mapped of is not known
        place.filesystem.sync_file(place.inode)
    return 0


def _mapped(files: Files, call: MSync) -> list[Place]:
    task = files.task(call.tracee)
    found: dict[int, Place] = {}
    for name in os.listdir(f"/proc/{task.pid}/map_files"):
        begin, end = (int(part, 16) for part in name.split("-"))
        if begin < call.address + call.length and call.address < end:
            with contextlib.suppress(OSError):
                place = files.inodes.find(os.stat(f"/proc/{task.pid}/map_files/{name}"))
                if place is not None and place.filesystem is not None:
                    found[place.inode] = place
    return list(found.values())


# -- when the last writer has closed --------------------------------------------------------------


class Saver:
    """The thread that saves what nobody writes any more; started with the first file that is written."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._lock = threading.Lock()
        self._by_watch: dict[int, Content] = {}
        self._inotify = -1
        self._stop: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self._failed = False
        self._is_stopped = False
        contents.on_writing = self._writing
        contents.holding.on_begin = self._begin
        contents.holding.on_hold = self._holding
        contents.holding.on_left = self._dropped
        contents.holding.on_taken = self._taken
        contents.on_orphan = self._orphan
        contents.on_drop = self._dropped

    def stop(self) -> None:
        """Let the thread begin nothing more; what it has not done is for `Synthetic.settle`."""
        if self._thread is not None and self._stop is not None and not self._is_stopped:
            self._is_stopped = True
            os.close(self._stop[1])

    def close(self, *, is_stuck: bool = False) -> None:
        """End the thread, after `stop`; it is left where it is if it may be waiting for ever."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None or self._stop is None:
            return
        thread.join(0 if is_stuck else None)
        if thread.is_alive():
            return
        if self._contents.holding.keeper is not None:
            self._contents.holding.keeper.watches(-1)
        os.close(self._stop[0])
        os.close(self._inotify)
        self._inotify = -1

    def _begin(self) -> None:
        with self._lock:
            if not self._failed:
                self._start()

    def _writing(self, content: Content) -> None:
        if not (content.filesystem.saves_late or content.opened):
            self._watch(content, IN_CLOSE_WRITE)

    def _holding(self, content: Content) -> None:
        if len(content.opened) == 1 or content.watch < 0:
            self._watch(content, IN_CLOSE_WRITE | IN_CLOSE_NOWRITE)

    def _orphan(self, content: Content) -> None:
        self._watch(content, IN_CLOSE_WRITE | IN_CLOSE_NOWRITE)

    def _watch(self, content: Content, mask: int) -> None:
        with self._lock:
            if self._failed or not self._start():
                return
            try:
                content.watch = add_watch(self._inotify, b"/proc/self/fd/%d" % content.fd, mask)
            except OSError as error:
                warn_once("inotify_add_watch", f"{error.strerror}: {_LATE}")
                return
            self._by_watch[content.watch] = content

    def _taken(self, content: Content) -> None:
        with self._lock:
            self._by_watch[content.watch] = content

    def _dropped(self, content: Content) -> None:
        with self._lock:
            if content.watch >= 0 and self._inotify >= 0:
                self._by_watch.pop(content.watch, None)
                with contextlib.suppress(OSError):
                    _call("inotify_rm_watch", self._inotify, content.watch)
            content.watch = -1

    def _start(self) -> bool:
        if self._thread is not None:
            return True
        try:
            self._inotify = _call("inotify_init1", IN_CLOEXEC | IN_NONBLOCK)
        except OSError as error:
            self._failed = True
            warn_once("inotify_init1", f"{error.strerror}: {_LATE}")
            return False
        self._stop, self._is_stopped = os.pipe(), False
        if self._contents.holding.keeper is not None:
            self._contents.holding.keeper.watches(self._inotify)
        self._thread = threading.Thread(target=self._run, name="saver", daemon=True)
        self._thread.start()
        return True

    def _run(self) -> None:
        assert self._stop is not None
        keeper = self._contents.holding.keeper
        listen = self._listen if keeper is None else keeper.listen
        while data := listen(self._inotify, self._stop[0]):
            for watch, mask in _events(data):
                self._closed(watch, mask)

    @staticmethod
    def _listen(inotify: int, stop: int) -> bytes:
        """As `Keeper.listen`, when nothing is kept."""
        poll = select.poll()
        poll.register(inotify, select.POLLIN)
        poll.register(stop, select.POLLIN)
        while all(fd != stop for fd, _ in poll.poll()):
            with contextlib.suppress(BlockingIOError):
                return os.read(inotify, _ROOM)
        return b""

    def _closed(self, watch: int, mask: int) -> None:
        with self._contents.holding.lock, self._lock:  # what is being taken back has its watch then
            content = self._by_watch.get(watch)
            if mask & IN_IGNORED and content is not None:
                self._by_watch.pop(watch)
        if content is None or mask & IN_IGNORED:
            return
        if content.is_orphan:
            self._contents.settle_orphan(content)
            return
        wrote = bool(mask & IN_CLOSE_WRITE)
        if wrote:
            self._contents.save_closed(content)
        self._contents.holding.gone(content, watch, wrote=wrote)


def _events(data: bytes) -> list[tuple[int, int]]:
    """The watches and masks of inotify(7) events."""
    found: list[tuple[int, int]] = []
    at = 0
    while at + _EVENT <= len(data):
        watch, mask, _, size = (int.from_bytes(data[at + 4 * n : at + 4 * n + 4], "little") for n in range(4))
        found.append((watch, mask))
        at += _EVENT + size
    return found


def _call(name: str, *args: int) -> int:
    return make_call(NUMBERS[Abi.native()[0].title][name], *args)


# -- what could not be saved ----------------------------------------------------------------------


def rescue(content: Content, name: bytes) -> str | None:
    """Put a copy of what could not be saved where it can be found; its path, None if even that failed."""
    try:
        directory = tempfile.mkdtemp(prefix="diorama-unsaved-")
        path = os.path.join(os.fsencode(directory), name or b"file")
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(target, "wb") as file:
            at = 0
            while data := os.pread(content.fd, _ROOM, at):
                file.write(data)
                at += len(data)
    except OSError:
        return None
    return os.fsdecode(path)
