"""Notices: what a server tells of the content of files, passed on to who keeps that.

To find out what a file has become the server is asked, and so not by the thread that reads its answers.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diorama.interfaces.filesystem import ContentCache

__all__ = ["Notices"]


class Notices:
    """The queue of one mount, and the thread that works on it, which is started with the first.

    Without a `cache` nobody has any content, and only what is `needed` is done, with None.
    """

    def __init__(self) -> None:
        self.cache: ContentCache | None = None
        self._queue: SimpleQueue[Callable[[Any], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def put(self, work: Callable[[Any], None], *, needed: bool = False) -> None:
        """Have something done, in order."""
        if self.cache is None and not needed:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="fuse-notices", daemon=True)
            self._thread.start()
        self._queue.put(work)

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            with contextlib.suppress(OSError):  # who opens the file next will be told
                work(self.cache)
