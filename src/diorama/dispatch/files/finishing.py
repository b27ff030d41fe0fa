"""Finishing: saves what is not saved at the end of a view, and waits for nobody for ever.

Each file system is asked on a thread of its own, so that one which does not answer holds up no other.  As
long as it goes on saving it has all the time it wants: another file is done, or its `progress` is another.
When neither has been so for long, that is told; when for too long, or when whoever waits has enough (^C), it
is given up.  What it has not saved then is no more lost than after any other failure.  The thread is left
behind.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from diorama.errors import warn_once

if TYPE_CHECKING:
    from diorama.dispatch.files.content import Content
    from diorama.dispatch.files.synthetic import Synthetic
    from diorama.view.filesystem import FileSystem

__all__ = ["Finishing"]

TELLS: Final = 3.0
PATIENCE: Final = 60.0
BLIND_PATIENCE: Final = 600.0
"""With a file system that does not tell of its progress: it may be uploading a large file."""
_TICK: Final = 0.05

Failure = tuple["Content", OSError]


class Finishing:
    """The end of one view.  `given_up` are the file systems that have not answered.

    `has_had_enough` tells whether whoever waits does not want to any longer; ^C means that too.
    """

    def __init__(self, synthetic: Synthetic, has_had_enough: Callable[[], bool] = bool) -> None:
        self.given_up: list[FileSystem] = []
        self._synthetic = synthetic
        self._has_had_enough = has_had_enough

    def run(self) -> list[Failure]:
        """Save everything; what could not be saved, and why."""
        found = {id(one.filesystem): one.filesystem for one in self._synthetic.contents}
        saving = [_Saving(one, self._synthetic) for one in found.values() if one.lasts]
        for one in saving:
            one.start()
        return [failure for one in saving for failure in self._result(one)]

    def _result(self, saving: _Saving) -> list[Failure]:
        try:
            is_done = saving.wait(self._has_had_enough)
        except KeyboardInterrupt:
            is_done = False
        if is_done:
            return saving.failures
        self.given_up.append(saving.filesystem)
        return [*saving.failures, *saving.left()]


class _Saving:
    """The files of one file system."""

    def __init__(self, filesystem: FileSystem, synthetic: Synthetic) -> None:
        self.filesystem = filesystem
        self.failures: list[Failure] = []
        self._synthetic = synthetic
        self._settled: set[int] = set()
        self._is_done = threading.Event()
        self._seen = self._state()
        self._seen_at = time.monotonic()

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="diorama-finish", daemon=True).start()

    def _run(self) -> None:
        try:
            for content, error in self._synthetic.settling(self.filesystem):
                if error is not None:
                    self.failures.append((content, error))
                self._settled.add(id(content))
        finally:
            self._is_done.set()

    def _state(self) -> tuple[int, int | None]:
        return len(self._settled), self.filesystem.progress

    def wait(self, has_had_enough: Callable[[], bool]) -> bool:
        """Until all is saved, or could not be; False if it does not look as if that ever came to pass."""
        patience = BLIND_PATIENCE if self.filesystem.progress is None else PATIENCE
        while not self._is_done.wait(_TICK):
            state = self._state()
            if state != self._seen:
                self._seen, self._seen_at = state, time.monotonic()
            quiet = time.monotonic() - self._seen_at
            if quiet > TELLS:
                why = f"does not answer; what is not saved in {patience:.0f} s, or till ^C, is put elsewhere"
                warn_once(f"file system {self.filesystem.title}", why)
            if quiet > patience or has_had_enough():
                return False
        return True

    def left(self) -> Iterator[Failure]:
        """What is not saved, and now will not be."""
        error = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        for content in self._synthetic.contents:
            is_ours = content.filesystem is self.filesystem and id(content) not in self._settled
            if is_ours and content.may_need_saving():
                yield content, error
