"""Listed: what a server tells of a directory, asked from here.  Natively that is `native/fusedir.c`."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

from diorama.fuse.connection import ProtocolError
from diorama.fuse.flags import Init
from diorama.fuse.handles import ReadIn
from diorama.interfaces.filesystem import Entry
from diorama.modules.filesystems.fuse.waiting import Repeating

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from diorama.fuse.connection import Reply
    from diorama.modules.filesystems.fuse.channel import Channel
    from diorama.modules.filesystems.fuse.known import Known

__all__ = ["listed"]

_AT_ONCE: Final = 32 << 10
_MOST_EMPTY: Final = 1 << 12
_MOST_NAMES: Final = 1 << 21
"""What is listed here is kept, and so is not without end (else see `native/listinglarge.c`)."""


def listed(
    ask: Callable[..., Reply], channel: Channel, known: Known, directory: int, handle: int
) -> Generator[Entry, None, None]:
    """The names in a directory that is open; EIO for what can't be a listing.

    What comes with a name is known from then on.
    """
    connection = channel.connection
    offset, asked, repeating = 0, set[int](), Repeating()
    names = empty = 0
    while offset not in asked and names < _MOST_NAMES and empty < _MOST_EMPTY:
        asked.add(offset)
        repeating.go_on()
        plus = bool(connection.features & Init.DO_READDIRPLUS) and connection.knows("READDIRPLUS")
        request, mark = ReadIn(fh=handle, offset=offset, size=_AT_ONCE), known.mark()
        reply = ask("READDIRPLUS" if plus else "READDIR", directory, request, room=_AT_ONCE)
        try:
            found = connection.listed(reply)
        except ProtocolError:
            for node in reply.entered:
                channel.forget(node, 1)
            break
        if not found:
            return
        offset = found[-1].dirent.off
        shown = [one for one in found if one.name not in (b".", b"..")]
        names, empty = names + len(shown), 0 if shown else empty + 1
        for one in shown:  # all of them, also if nobody reads on
            if one.entry is not None and one.attributes is not None and one.entry.nodeid:
                with contextlib.suppress(OSError):  # who asks for it is told
                    known.entered(directory, one.name, one.entry, one.attributes, mark)
        yield from [Entry(one.name, one.dirent.ino, one.dirent.type << 12) for one in shown]
    raise OSError(errno.EIO, os.strerror(errno.EIO))
