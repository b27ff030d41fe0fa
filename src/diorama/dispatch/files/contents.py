"""Contents: the memfds that programs hold for regular files, which are their page cache.

A file is copied into a memfd when somebody opens it, and every open of it by any name is another open file
description of that one memfd, through `/proc/<our pid>/fd/<n>`.  So reading, writing, mapping, truncating,
locks and offsets are the kernel's work.  While a memfd is here it is the truth about content, size and
times of its file; the file system is told later, by `save`.

What is in a read-only file system is sealed.  What can be written has mode 0777, since it was checked here
who may open it, and the set-user-ID and set-group-ID bits of the file, which the kernel clears as it
should.  Our own descriptor is read-only: execution needs a file that nobody has open for writing (ETXTBSY).

*Held*: somebody else has it open or mapped.  The kernel tells by refusing us a lease (fcntl(2)).  What is
held or not saved stays; the rest is a cache, bounded by number and bytes, least recently used first out.
Closing a descriptor of ours and using its number again, between our answer and the open that a program
makes itself, is the one danger.  So each open holds a *pin* until the program asks for something else.

*Dirty*: not saved as it is.  Size and times tell, against those of the last save; all changes of times by
us are noted.  They do not tell of what was written through a mapping, which tmpfs does not stamp; so what
was open for reading and writing is compared by a digest besides.

Locks: `_lock` guards the tables; each content's own its filling and saving, which may take long.
"""

from __future__ import annotations

import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

from diorama.abi.fcntl import O_ACCMODE, O_RDWR, O_TRUNC, O_WRONLY
from diorama.dispatch.files import memfd
from diorama.dispatch.files.content import (
    Content,
    Key,
    is_outdated,
    refill,
    save_content,
    save_status,
    set_status,
    shown_status,
    stamp_of,
    store_part,
    told_of,
    truncate_there,
)
from diorama.dispatch.files.holding import Holding
from diorama.dispatch.files.lazy import Lazy
from diorama.view.clock import Clock
from diorama.view.filesystem import Attributes, Changes, FileSystem
from diorama.view.inodes import Inodes
from diorama.view.mounts import Place

__all__ = ["Contents"]

_MAX_BYTES: Final = 256 << 20
_MAX_FILES: Final = 1024
_LARGE: Final = 1 << 20
_PATIENCE: Final = 16


class Contents:
    """The contents of one view.  Any thread.

    `on_writing` is told of what will be open for writing, `on_orphan` of what lost its last name while it was
    open, `on_forget` when that is closed, `on_drop` of whatever is closed here, `on_failure` of what could
    not be saved.  `is_held_elsewhere` tells of files open past this cache, `is_rooted` also of roots of
    mounts.  `holding` has what file systems keep of who has a file open.
    """

    def __init__(self, inodes: Inodes, lazy: Lazy | None = None) -> None:
        self.clock: Clock | None = None
        self._lazy = Lazy() if lazy is None else lazy
        self._inodes = inodes
        self._lock = threading.RLock()
        self._contents: OrderedDict[Key, Content] = OrderedDict()
        self._max_files = min(_MAX_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._unpinned = 0
        self.holding = Holding(self._lock, self.save_closed)
        self.on_writing: Callable[[Content], None] = _nothing
        self.on_orphan: Callable[[Content], None] = _nothing
        self.on_forget: Callable[[Content], None] = _nothing
        self.on_drop: Callable[[Content], None] = _nothing
        self.on_failure: Callable[[Content, OSError], None] = lambda _content, _error: None
        self.is_held_elsewhere: Callable[[FileSystem, int], bool] = lambda _filesystem, _inode: False
        self.is_rooted: Callable[[FileSystem, int], bool] = lambda _filesystem, _inode: False
        inodes.on_look = self.adopt

    def __iter__(self) -> Iterator[Content]:
        self.adopt()
        with self._lock:
            return iter(list(self._contents.values()))

    def adopt(self) -> None:
        """What was opened without asking here is known here, and so is where it stands in `Inodes`."""
        self.holding.adopt(self._contents, self.clock)

    def welcome(self, filesystem: FileSystem) -> None:
        """Programs may open its files without asking here."""
        filesystem.attach(self)
        self.holding.on_begin()

    # -- opening ------------------------------------------------------------------------------

    def pin(
        self,
        place: Place,
        attributes: Attributes,
        *,
        whole: bool = False,
        fresh: bool = False,
        high: bool = False,
    ) -> Content:
        """The memfd of a regular file, which stays until `unpin`; `OSError` if it cannot be read.

        `whole`: all of it is there.  `fresh`: what is cached of it does not hold.  `high`: it may be held in
        pieces, where a file system wants that for large descriptors.
        """
        content, attributes = self._pinned(place, attributes)
        if content.opened and content.told != (attributes.size, attributes.modified):
            fresh = True  # others have changed it, and who has it open is to see that
        fresh &= content.fd >= 0
        try:
            self._fill(content, attributes, high=high and not whole)
            if fresh:
                refill(content, attributes, openers=1)
            if whole:
                self.complete(content)
        except BaseException:
            with self._lock:
                content.openers -= 1
                content.pins -= 1
                self._drop(content)
            raise
        if content.filesystem.told is not None:
            content.named_at = content.filesystem.told.moved
        self._inodes.add(os.fstat(content.fd), place)
        return content

    def _pinned(self, place: Place, attributes: Attributes) -> tuple[Content, Attributes]:
        """What is kept of a file, pinned, and the status of the file.

        A status that is not what was told last may be from before a save: it is asked again while there is
        none, or what was saved would be dropped for what was there before.
        """
        filesystem = place.filesystem
        assert filesystem is not None
        key, asked = (id(filesystem), place.inode), None
        with ExitStack() as unsaved:
            while True:
                told = attributes.size, attributes.modified
                with self._lock:
                    self.adopt()
                    content = self._contents.get(key)
                    if content is None or content is asked or content.told == told:
                        return self._pin(filesystem, place, told), attributes
                unsaved.close()
                unsaved.enter_context(content.lock)
                attributes, asked = filesystem.attributes(place.inode), content

    def _pin(self, filesystem: FileSystem, place: Place, told: tuple[int, int]) -> Content:
        key = id(filesystem), place.inode
        self.holding.claim(filesystem, place.inode)
        self.adopt()  # what was opened before that
        content = self.holding.take_back(self._contents.get(key))
        if content is not None and is_outdated(content, told):
            self._drop(content)
            content = None
        if content is None:
            content = self._contents[key] = Content(filesystem, place, told, clock=self.clock)
            filesystem.attach(self)
        else:
            self.holding.disclaim(filesystem, place.inode)
        content.pins += 1
        content.openers += 1
        self._contents.move_to_end(key)
        return content

    def unpin(self, content: Content) -> None:
        """The program that a file was pinned for has opened it."""
        with self._lock:
            content.openers -= 1
        self._release(content)
        if content.filesystem.tells_at_close and not content.is_kept:
            self.holding.let_go(content)  # also if it was closed before we came to know that it was opened
        self._unpinned += 1 if content.stamp[0] < _LARGE else _PATIENCE
        if self._unpinned >= _PATIENCE:
            self._unpinned = 0
            self.trim()

    def opening(self, content: Content, flags: int) -> None:
        """It is about to be opened with these flags."""
        if not flags & (O_ACCMODE | O_TRUNC):
            return
        self.complete(content, empty=bool(flags & O_TRUNC))
        with content.lock:
            if flags & O_ACCMODE == O_RDWR and not (content.mappers or content.filesystem.saves_late):
                content.mark = b"" if content.needs_saving() else memfd.digest(content.fd)
                content.mappers = True
            content.writers = True
            content.filesystem.differs(content.place.inode, does=True)
        self.on_writing(content)

    def complete(self, content: Content, *, empty: bool = False) -> None:
        """Let all of a file be there, or nothing be left; nobody has it open for writing."""
        with content.lock:
            if content.pieces is None:
                return
            content.ours += content.watch >= 0  # as in `written`
            self._lazy.finish(content.pieces, empty=empty)
            content.pieces = None
            set_status(content, content.filesystem.attributes(content.place.inode))
            if empty:
                content.told = (-1, -1)  # if nobody truncates it now, after all

    def find(self, filesystem: FileSystem | None, inode: int) -> Content | None:
        """The memfd of a file, if there is one now."""
        return self.holding.take_back(self._look(filesystem, inode))

    def _look(self, filesystem: FileSystem | None, inode: int, *, begun: bool = False) -> Content | None:
        self.adopt()
        content = self._contents.get((id(filesystem), inode))
        return content if content is not None and (begun or content.fd >= 0) else None

    def truncate(self, content: Content, size: int) -> None:
        """Set the length of what is open: ETXTBSY while it is run."""
        if content.filesystem.tells_at_close and not content.is_orphan:
            with content.lock:
                if content.pieces is not None:
                    content.filesystem.set_attributes(content.place.inode, Changes(size=size))
                    refill(content, content.filesystem.attributes(content.place.inode))
                    return
                self.save(content)
                truncate_there(content, size)
            return
        self.opening(content, O_WRONLY if size else O_WRONLY | O_TRUNC)
        fd = os.open(f"/proc/self/fd/{content.fd}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)

    # -- its status ---------------------------------------------------------------------------

    def live(self, filesystem: FileSystem, inode: int, attributes: Attributes) -> Attributes:
        """The status of a file, with what programs have done to it since."""
        if not filesystem.writable:
            return attributes
        with self._lock:
            content = self._look(filesystem, inode)
            if content is None or content.pieces is not None:
                return attributes
            if filesystem.told is not None and not content.may_be_newer():
                return attributes  # as without asking us
            return shown_status(content, attributes)

    @contextmanager
    def kept(
        self, filesystem: FileSystem | None, inode: int, *, begun: bool = False
    ) -> Generator[Content | None, None, None]:
        """The memfd of a file, if there is one, or its content is `begun` to be read; it stays meanwhile."""
        with self.holding.claimed(filesystem, inode), ExitStack() as pinned:
            with self._lock:
                content = self.holding.take_back(self._look(filesystem, inode, begun=begun))
                if content is not None:
                    content.pins += 1
                    pinned.callback(self._release, content)
            yield content

    def told(self, content: Content, changes: Changes) -> None:
        """The status of a file was changed, and before that noted: its memfd follows."""
        with content.lock:
            if changes.uid is not None or changes.gid is not None:
                attributes = content.filesystem.attributes(content.place.inode)
                memfd.give_to(content.fd, os.fstat(content.fd), attributes.uid, attributes.gid)
            if changes.mode is not None:
                content.special, content.lost = memfd.special_bits(changes.mode), 0
            os.fchmod(content.fd, 0o777 | content.special)
            if changes.accessed is not None or changes.modified is not None:
                status = os.fstat(content.fd)
                accessed = content.accessed if changes.accessed is None else changes.accessed
                modified = status.st_mtime_ns if changes.modified is None else changes.modified
                os.utime(content.fd, ns=(accessed, modified))
                content.accessed = accessed
                content.changed = 0
            content.agree()
            content.is_dirty |= content.may_be_written()  # since it was noted
            content.told = told_of(content)

    # -- saving and dropping ------------------------------------------------------------------

    def save(self, content: Content) -> bool:
        """Let the file system keep what is in it, if it may not have it; whether that was so.  `OSError`."""
        with self.kept(content.filesystem, content.place.inode) as kept, content.lock:
            if kept is not content or content.is_orphan:
                return False
            still_written = content.openers > 0 or content.is_being_written
            if not content.needs_saving():
                content.left_by_writers(still_written=still_written)
                return False
            status = os.fstat(content.fd)
            os.lseek(content.fd, 0, os.SEEK_SET)
            try:
                save_content(content)
            except OSError as error:
                self.on_failure(content, error)
                raise
            save_status(content, status)
            content.told = told_of(content)
            content.stamp = stamp_of(status)
            content.is_dirty = False
            content.is_racy = not memfd.has_fine_times()
            content.left_by_writers(still_written=still_written)
            if content.mappers and not content.filesystem.saves_late:
                content.mark = memfd.digest(content.fd)
            return True

    def settle_closing(self, content: Content, owner: int = 0) -> OSError | None:
        """Save before a writer closes it; a failure, this one or one that nobody was told of."""
        try:
            self.save(content)
            self.holding.flush(content, owner)
        except OSError as error:
            content.failure = None
            content.refused = stamp_of(os.fstat(content.fd))
            return error
        failure, content.failure = content.failure, None
        return failure

    def save_closed(self, content: Content) -> None:
        """As `save`, if nobody can write to it any more; a failure waits until somebody asks."""
        with self.kept(content.filesystem, content.place.inode) as kept, content.lock:
            if kept is not content or content.is_being_written:
                return
            if content.refused == stamp_of(os.fstat(content.fd)):
                return  # who has closed it was told that
            try:
                if self.save(content):
                    self.holding.flush(content)
            except OSError as error:
                content.failure = error

    def settle_orphan(self, content: Content) -> None:
        """Forget a file without a name if nobody has it open any more."""
        with self._lock:
            if content.pins or content.fd < 0 or not content.is_orphan or content.is_held:
                return
            self._drop(content)
        if not self.is_held_elsewhere(content.filesystem, content.place.inode):
            self.on_forget(content)
            content.filesystem.forget(content.place.inode)

    def orphan(self, filesystem: FileSystem, inode: int) -> None:
        """A file has lost its last name."""
        with self._lock:
            content = self.find(filesystem, inode)
            if content is not None:
                content.is_orphan = True  # so it is kept no more
        if content is not None:
            if content.is_held or content.pins:
                self.on_orphan(content)
            self.settle_orphan(content)
        elif not self.is_held_elsewhere(filesystem, inode):
            filesystem.forget(inode)

    def trim(self) -> None:
        """Drop what is least recently used, as far as it may be dropped, while there is too much."""
        if len(self._contents) <= self._max_files and self._bytes() <= _MAX_BYTES:
            return
        for content in self:
            self._evict(content)
            if len(self._contents) <= self._max_files and self._bytes() <= _MAX_BYTES:
                return

    def discard(self, filesystem: object) -> None:
        """Close what is known of a file system that is about to be closed."""
        with self._lock:
            for content in [one for one in self if one.filesystem is filesystem]:
                self._drop(content)

    def close(self) -> None:
        """Close everything."""
        with self._lock:
            for content in self:
                self._drop(content)
        self._lazy.close()

    # -- what a file system tells by itself ---------------------------------------------------

    def stale(self, filesystem: FileSystem, inode: int) -> None:
        """A file has another content now."""
        with self.kept(filesystem, inode, begun=True) as content:
            if content is not None:
                refill(content, filesystem.attributes(inode))

    def store(self, filesystem: FileSystem, inode: int, offset: int, data: bytes) -> None:
        """A part of a file has this content."""
        with self.kept(filesystem, inode, begun=True) as content:
            if content is not None:
                store_part(content, offset, data)

    def retrieve(self, filesystem: FileSystem, inode: int, offset: int, size: int) -> bytes:
        """What is cached of a part of a file."""
        with self.kept(filesystem, inode) as content:
            if content is None or content.pieces is not None:
                return b""
            return os.pread(content.fd, size, offset)

    def prune(self, filesystem: FileSystem, inode: int) -> bool:
        """Keep nothing of a file; False if somebody has it."""
        content = self.find(filesystem, inode)
        if content is not None and not content.is_named:
            self._evict(content)
        return self._look(filesystem, inode) is None and not self.is_rooted(filesystem, inode)

    def _release(self, content: Content) -> None:
        with self._lock:
            content.pins -= 1
            if not content.pins and self._contents.get(content.key) is not content:
                self._close(content)
                return
        if content.is_orphan:
            self.settle_orphan(content)

    def _fill(self, content: Content, attributes: Attributes, *, high: bool) -> None:
        with content.lock:
            if content.fd >= 0:
                return
            filesystem, inode = content.filesystem, content.place.inode
            named = os.path.basename(content.place.view_path)
            wants_high = high and self._lazy.wants_high(filesystem, attributes)
            if wants_high or self._lazy.wants(filesystem, attributes):
                content.pieces = self._lazy.add(named, filesystem, inode, attributes.size)
                content.fd = content.pieces.fd
            else:
                copy = partial(filesystem.copy_content, inode)
                content.fd = memfd.make_memfd(named, copy, sealed=not filesystem.writable)
            set_status(content, attributes)
            if content.pieces is not None:
                content.stamp = (0, 0, 0)  # it takes no room that counts here

    def _evict(self, content: Content) -> None:
        self.holding.take_back(content)
        if content.is_orphan:
            self.settle_orphan(content)
            return
        try:
            if not (content.pins or content.fd < 0 or content.is_watched or content.is_held):
                self.save(content)
        except OSError as error:
            content.failure = error
        with self._lock:
            if content.fd < 0:
                return
            if content.pins or content.is_watched or content.is_held or content.needs_saving():
                self._contents.move_to_end(content.key)
            else:
                self._drop(content)

    def _bytes(self) -> int:
        with self._lock:
            ones = (one for one in self._contents.values() if not one.filesystem.saves_late)
            return sum([one.stamp[0] for one in ones if one.fd >= 0])

    def _drop(self, content: Content) -> None:
        if self._contents.get(content.key) is content:
            del self._contents[content.key]
            self.holding.disclaim(content.filesystem, content.place.inode)
        if not content.pins:
            self._close(content)

    def _close(self, content: Content) -> None:
        if content.fd >= 0:
            self.holding.take_back(content)
            if content.writers and not content.is_orphan:
                content.filesystem.differs(content.place.inode, does=False)
            self.on_drop(content)
            content.file_lock.close()
            for one in content.opened:
                one.close()
            content.opened = []
            fd, content.fd = content.fd, -1
            if content.pieces is None:
                os.close(fd)
            else:
                self._lazy.retire(content.pieces)


def _nothing(_content: Content) -> None:
    return
