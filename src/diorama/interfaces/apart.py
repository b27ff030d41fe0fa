"""Apart: work on a thread of its own, for which nobody has to wait longer than he lives.

A method of somebody's class may wait for something that never comes.  On the thread of who asks nobody could
end that: its program could not be killed, and the view could not end.  So it is left behind there.
"""

from __future__ import annotations

import errno
import os
import queue
import threading
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Final, Generic, TypeVar

from diorama.interfaces.asking import asker

__all__ = ["apart"]

T = TypeVar("T")

_TICK: Final = 0.1
_LIMIT: Final = 60.0
"""For whom the view itself waits."""
_lock = threading.Lock()
_idle: list[_Helper] = []
_own: Final = threading.local()


class _Job(Generic[T]):
    """Something to do, on behalf of who asks now."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._context: Context = copy_context()
        self._work = work
        self._outcome: list[T] = []
        self._error: BaseException | None = None
        self.done = threading.Event()

    def run(self) -> None:
        """Do it."""
        try:
            self._outcome.append(self._context.run(self._work))
        except BaseException as error:  # for who asked
            self._error = error
        self.done.set()

    def outcome(self) -> T:
        """What came of it."""
        if self._error is not None:
            raise self._error
        return self._outcome[0]


class _Helper:
    """A thread that does one thing after another."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job[object]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="apart", daemon=True).start()

    def give(self, job: _Job[object]) -> None:
        """Have it do something."""
        self._jobs.put(job)

    def _run(self) -> None:
        _own.is_apart = True
        while True:
            job = self._jobs.get()
            job.run()
            del job
            with _lock:
                _idle.append(self)


def apart(work: Callable[[], T], is_over: Callable[[], bool]) -> T:
    """Do something on another thread: EINTR as soon as who asks is killed, or all `is_over`.

    Where nobody asks, the view waits for a minute: ETIMEDOUT.
    """
    if getattr(_own, "is_apart", False):
        return work()
    job = _Job(work)
    with _lock:
        helper = _idle.pop() if _idle else None
    (helper or _Helper()).give(job)  # type: ignore[arg-type]
    if not job.done.wait(_TICK):
        _wait(job.done, is_over)
    return job.outcome()


def _wait(done: threading.Event, is_over: Callable[[], bool]) -> None:
    who, since = asker(), time.monotonic()
    if who is not None:
        who.step_aside()
    while not done.wait(_TICK):
        if who is None and time.monotonic() - since > _LIMIT:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        if who is not None and (is_over() or who.is_killed()):
            raise OSError(errno.EINTR, os.strerror(errno.EINTR))
