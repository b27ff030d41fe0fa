"""Holding: what file systems keep of who has a file open, where they want to know (a FUSE server's handles).

Each open of a program adds one.  The kernel tells when an open file is gone, but late, and of several at once
only once, unless it has something else to tell between them; which of them it was it does not tell.  So one
is closed for each time that it tells, and all of them as soon as nobody has the file open any more, for which
it can be asked at any time.  What it may still tell of these by then must not close one that was opened
later: who listens begins anew (`on_left`).
Then the `keeper` may have it, which opens it again without asking here; whoever needs it takes it back.  So
it may while it is only read, with all that is open of it.

One thread at a time closes, with the lock of the content: who needs a file to be closed before he goes on
(`leave`) waits for who is about to.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from diorama.dispatch.files.content import forget_writers
from diorama.view.asking import asker, patiently

if TYPE_CHECKING:
    from diorama.dispatch.files.content import Content, Key
    from diorama.view.clock import Clock
    from diorama.view.filesystem import FileSystem, OpenFile

__all__ = ["Holding", "Keeper"]

_TICK: Final = 0.05


def _nothing(_content: Content) -> None:
    return


def _take(content: Content, *, wrote: bool) -> OpenFile | None:
    """One of those that it can have been.  When we have written and a program then, that may be told once."""
    if wrote and content.ours:
        content.ours -= 1
        return None
    if content.due and not wrote:
        content.due -= 1
        return None
    one = next((one for one in content.opened if one.writes is wrote), None)
    if one is not None:
        content.opened.remove(one)
    return one


@contextmanager
def _locked(content: Content) -> Generator[None, None, None]:
    """As its lock; EINTR if whoever asks is killed meanwhile."""
    who = asker()
    while not content.lock.acquire(timeout=_TICK):
        if who is not None and who.is_killed():
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
    try:
        yield
    finally:
        content.lock.release()


class Keeper(Protocol):
    """Who keeps what is only read, and listens to what is closed."""

    def would_keep(self, content: Content) -> bool:
        """Whether it may be opened there, as far as is known without looking at how it is open."""
        ...

    def keep(self, content: Content, before: Callable[[Content], None]) -> bool:
        """Whether it may be opened there from now on; `before` that, if nothing is open, its watch ends."""
        ...

    def take(self, content: Content) -> None:
        """Not any more: what is open of it is known here, with the watch that it has."""

    @property
    def has_made(self) -> bool:
        """Whether it has opened files that nobody here knows of yet."""
        ...

    def adopted(self) -> Iterator[Content]:
        """These files, as contents that it keeps."""
        ...

    def claim(self, filesystem: FileSystem, inode: int) -> None:
        """It opens none first that is claimed here; each is to be disclaimed."""

    def disclaim(self, filesystem: FileSystem, inode: int) -> None:
        """Claimed once less."""

    def watches(self, inotify: int) -> None:
        """What is kept is watched by that."""

    def divide(self) -> None:
        """What is closed from now on is told besides what was closed before, not instead."""

    def closed(self, watch: int) -> None:
        """An open file of what is kept with this watch is gone, which was told before it was kept."""

    def listen(self, inotify: int, stop: int) -> bytes:
        """The events of what is not kept; none when `stop` can be read."""
        ...


class Holding:
    """That of one view's contents, of which `lock` guards the tables.  Any thread.

    `save` saves what nobody writes any more.  `on_begin`: files may be opened without asking here from now
    on.
    `on_hold` is told of what will be open, and `on_left`, with the lock, of what is not open any more.
    `on_taken`, also with the lock, is told of what is open and has a watch that it may not know of.
    """

    def __init__(self, lock: AbstractContextManager[Any], save: Callable[[Content], None]) -> None:
        self.lock = self._lock = lock
        self._save = save
        self.on_begin: Callable[[], None] = lambda: None
        self.on_hold: Callable[[Content], None] = _nothing
        self.on_left: Callable[[Content], None] = _nothing
        self.on_taken: Callable[[Content], None] = _nothing
        self.keeper: Keeper | None = None
        self._is_adopting = False

    def adopt(self, contents: dict[Key, Content], clock: Clock | None) -> None:
        """Enter what the keeper has opened first into the table of contents."""
        keeper = self.keeper
        if keeper is None or not (self._is_adopting or keeper.has_made):
            return
        with self._lock:
            self._is_adopting = True  # who does not find it waits
            for content in keeper.adopted():
                content.clock = clock
                contents[content.key] = content
            self._is_adopting = False

    def claim(self, filesystem: FileSystem, inode: int) -> None:
        """A file is not opened by the keeper first, until it is disclaimed as often."""
        if self.keeper is not None:
            self.keeper.claim(filesystem, inode)

    def disclaim(self, filesystem: FileSystem, inode: int) -> None:
        """Claimed once less."""
        if self.keeper is not None:
            self.keeper.disclaim(filesystem, inode)

    @contextmanager
    def claimed(self, filesystem: FileSystem | None, inode: int) -> Generator[None, None, None]:
        """Meanwhile it is claimed."""
        if filesystem is None:
            yield
            return
        self.claim(filesystem, inode)
        try:
            yield
        finally:
            self.disclaim(filesystem, inode)

    def hold(self, content: Content, opened: OpenFile) -> None:
        """A program is about to open it, of which the file system has made `opened`."""
        with self._lock:
            content.opened.append(opened)
        if len(content.opened) > 1 and self.keeper is not None:
            self.keeper.divide()
        self.on_hold(content)

    def gone(self, content: Content, watch: int, *, wrote: bool) -> None:
        """Who listens has heard that an open file of it, for writing or not, is gone, and has saved it."""
        with content.lock:
            with self._lock:
                one = _take(content, wrote=wrote) if content.watch == watch else None
                if content.is_kept and self.keeper is not None and not wrote:
                    self.keeper.closed(watch)
            content.file_lock.give_back(content.fd)
            if one is not None:
                one.close()
        self._let_go(content)

    def leave(self, content: Content) -> None:
        """Tell the file system if nothing of it is open any more, and save before that.

        EINTR if whoever asks is killed meanwhile.
        """
        if not (content.filesystem.tells_at_close and self._is_left(content)):
            return
        with _locked(content):
            self.take_back(content)
            self._leave(content)

    def let_go(self, content: Content) -> None:
        """As `leave`, some time: nobody waits for that.  What is still open may be kept."""
        if not self._is_left(content):
            self._try_keeping(content)
            return
        # What is to be saved, or is being saved, waits for the server, which may never answer.
        if content.writers or not content.lock.acquire(blocking=False):
            threading.Thread(target=self._leave, args=(content,), name="letting-go", daemon=True).start()
            return
        try:
            self._let_go(content)
        finally:
            content.lock.release()

    def _leave(self, content: Content) -> None:
        with patiently():
            self._save(content)
        self._let_go(content)

    def _let_go(self, content: Content) -> None:
        if not self._is_left(content):
            self._try_keeping(content)
            return
        with content.lock:
            with self._lock:
                if not self._is_left(content):
                    return
                gone, content.opened, content.ours, content.due = content.opened, [], 0, 0
                if gone:
                    self.on_left(content)
            for one in gone:
                one.close()
            self._keep(content)

    def is_to_be_kept(self, content: Content) -> bool:
        """Whether the keeper would have it once it is open."""
        return self.keeper is not None and bool(content.opened) and self.keeper.would_keep(content)

    def _try_keeping(self, content: Content) -> None:
        """Let the keeper have what others only read, unless somebody is at it."""
        if not content.opened or not content.lock.acquire(blocking=False):
            return
        try:
            self._keep(content)
        finally:
            content.lock.release()

    def _keep(self, content: Content) -> None:
        """With its lock, which who is about to write to it needs first."""
        if self.keeper is None or content.fd < 0 or content.openers:
            return
        forget_writers(content)
        with self._lock:
            if not (content.pins or content.openers or content.is_kept):
                content.is_kept = self.keeper.keep(content, self.on_left)

    def take_back(self, content: Content | None) -> Content | None:
        """What the keeper has is known here again."""
        if content is None or not content.is_kept:
            return content
        with self._lock:
            if content.is_kept and self.keeper is not None:
                content.is_kept = False
                self.keeper.take(content)
                if content.watch >= 0:
                    self.on_taken(content)
        return content

    def _is_left(self, content: Content) -> bool:
        with self._lock:
            return not content.openers and not (content.fd >= 0 and content.is_held)

    @staticmethod
    def flush(content: Content, owner: int = 0, *, writes: bool = True) -> None:
        """A descriptor that could write, or another, is about to be closed."""
        with content.lock:  # which of them it is is not known, so none of them is closed meanwhile
            one = next((one for one in reversed(content.opened) if one.writes or not writes), None)
            if one is not None:
                one.flush(owner)
