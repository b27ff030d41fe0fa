"""Hearing: what follows from what a server tells by itself.

What holds no longer is forgotten at once, by the thread that reads; what is to be done with content is for
another (`notices`), since for that the server is asked.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from diorama.fuse.connection import Notification
from diorama.fuse.flags import NOTIFY_INC_EPOCH
from diorama.fuse.notices import (
    NotifyDelete,
    NotifyInvalEntry,
    NotifyInvalInode,
    NotifyPollWakeup,
    NotifyPrune,
    NotifyRetrieve,
    NotifyStore,
)
from diorama.interfaces.filesystem import ContentCache, FileSystem
from diorama.modules.filesystems.fuse.known import ROOT, Known
from diorama.modules.filesystems.fuse.notices import Notices
from diorama.modules.filesystems.fuse.opened import OpenFiles

if TYPE_CHECKING:
    from diorama.modules.filesystems.fuse.channel import Channel

__all__ = ["Hearing"]

_NODE: Final = struct.Struct("=Q")


class Hearing:
    """What is heard of one file system.  `forget` gives the references to a node back."""

    def __init__(
        self,
        filesystem: FileSystem,
        channel: Channel,
        known: Known,
        files: OpenFiles,
        notices: Notices,
        forget: Callable[[int], None],
    ) -> None:
        self._filesystem = filesystem
        self._channel = channel
        self._known = known
        self._files = files
        self._notices = notices
        self._forget = forget

    def notified(self, told: Notification) -> None:
        """The server tells something."""
        record = told.record
        if isinstance(record, NotifyPollWakeup):
            self.look_again(self._files.polling.notified(record.kh))
        elif isinstance(record, NotifyInvalEntry | NotifyDelete):
            directory = self._known.inode(record.parent)
            self._known.forget_name(directory, told.data)
            self._known.changed(directory)
        elif isinstance(record, NotifyPrune):
            self._prune([self._known.inode(number) for (number,) in _NODE.iter_unpack(told.data)])
        elif told.notice.code == NOTIFY_INC_EPOCH:
            self._known.forget_names()
        else:
            self._content(told)

    def look_again(self, changed: Sequence[Callable[[], None]]) -> None:
        """Who polls is to ask."""
        for look in changed:
            self._notices.put(partial(_look, look), needed=True)

    def _content(self, told: Notification) -> None:
        record = told.record
        if isinstance(record, NotifyInvalInode):
            inode = self._known.inode(record.ino)
            self._known.changed(inode)
            if record.off >= 0:
                self._notices.put(lambda cache: cache.stale(self._filesystem, inode))
        elif isinstance(record, NotifyStore):
            inode = self._known.inode(record.nodeid)
            self._known.changed(inode)
            self._notices.put(lambda cache: cache.store(self._filesystem, inode, record.offset, told.data))
        elif isinstance(record, NotifyRetrieve):
            self._notices.put(lambda cache: self._retrieved(cache, record), needed=True)

    def _retrieved(self, cache: ContentCache | None, asked: NotifyRetrieve) -> None:
        inode = self._known.inode(asked.nodeid)
        connection = self._channel.connection
        size = min(asked.size, connection.max_write)
        data = b"" if cache is None else cache.retrieve(self._filesystem, inode, asked.offset, size)
        self._channel.tell(connection.retrieved(asked, data))

    def _prune(self, inodes: Sequence[int]) -> None:
        for inode in inodes:
            if inode and inode != ROOT:
                self._known.forget_names(inode)
                self._notices.put(partial(self._prune_one, inode=inode), needed=True)

    def _prune_one(self, cache: ContentCache | None, inode: int) -> None:
        """Forget a regular file that nobody has; of others somebody may be in them, or on the way."""
        if not stat.S_ISREG(self._filesystem.attributes(inode).mode):
            return
        if cache is None or cache.prune(self._filesystem, inode):
            self._files.unless_open(inode, partial(self._forget, inode))


def _look(look: Callable[[], None], _cache: ContentCache | None) -> None:
    look()
