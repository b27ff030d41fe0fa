"""Calling: how the operations of a class written for fusepy or mfusepy are called.

fusepy calls the object itself, with the name of the operation first, so that a class can put something around
all of them; mfusepy calls the methods.  What a class has only from its base is taken for missing.  Both
conventions for errors are understood: an `OSError`, and a negative errno as result.

`fuse_get_context` would ask libfuse, which has no request under way here and answers with whatever is in its
memory: it is replaced, wherever a module has taken it to, by one that tells who asks.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, Final

from diorama.errors import errno_of
from diorama.interfaces.asking import asker

__all__ = ["Calling", "FileInfo", "OneThread", "Unknown", "is_base"]

_BASES: Final = frozenset({"fuse", "fusepy", "mfusepy", "refuse"})
_CHANGING: Final = frozenset(
    "chmod chown create link mkdir mknod rename rmdir symlink truncate unlink write".split()  # noqa: SIM905
)
_CONTEXT: Final = "fuse_get_context"


def is_base(kind: type) -> bool:
    """Whether a class is the base that one of the packages has for operations."""
    return kind.__name__ == "Operations" and kind.__module__.partition(".")[0] in _BASES


class Unknown(OSError):
    """An operation that a class does not have."""

    def __init__(self, name: str) -> None:
        super().__init__(errno.ENOSYS, os.strerror(errno.ENOSYS), name)


class OneThread:
    """A thread on which all is done that it is given, one thing after the other (`nothreads`)."""

    def __init__(self) -> None:
        self._given: SimpleQueue[tuple[Context, Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._work, name="operations", daemon=True).start()

    def __call__(self, work: Callable[[], Any]) -> Any:
        """Do something there, and wait for what comes of it."""
        done: Future[Any] = Future()
        self._given.put((copy_context(), work, done))
        return done.result()

    def end(self) -> None:
        """Nothing is given any more."""
        self._given.put(None)

    def _work(self) -> None:
        while (given := self._given.get()) is not None:
            context, work, done = given
            try:
                done.set_result(context.run(work))
            except BaseException as error:
                done.set_exception(error)


class FileInfo:
    """An open file, for a class that wants this and no handle (`raw_fi`): struct fuse_file_info."""

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.fh = 0
        self.fh_old = self.writepage = self.direct_io = self.keep_cache = self.flush = 0
        self.nonseekable = self.flock_release = self.lock_owner = 0


class Calling:
    """Calls of the operations of an object, on the `thread` where it was made.  From any thread."""

    def __init__(self, operations: Any, thread: OneThread | None = None) -> None:
        self._operations = operations
        kinds = type(operations).__mro__
        of_mfusepy = any(is_base(kind) and kind.__module__ == "mfusepy" for kind in kinds)
        self._through = callable(operations) and not of_mfusepy
        self._thread = thread
        _tell_context()

    def has(self, name: str) -> bool:
        """Whether there is an operation of the class's own, not only that of its base."""
        if name in getattr(self._operations, "__dict__", {}):
            return callable(getattr(self._operations, name))
        for kind in type(self._operations).__mro__:
            if name in vars(kind):
                return not is_base(kind) and callable(getattr(self._operations, name))
        return callable(getattr(self._operations, name, None))

    def has_from_base(self, name: str) -> bool:
        """Whether there is an operation that the base has, and nobody else."""
        return not self.has(name) and callable(getattr(self._operations, name, None))

    def end(self) -> None:
        """Nothing is called any more."""
        if self._thread is not None:
            self._thread.end()

    def __call__(self, name: str, *arguments: Any) -> Any:
        """Call one; `Unknown` if there is none, `OSError` for a negative result.

        EROFS for a change that only the base has, which says the same.
        """
        if name in _CHANGING and self.has_from_base(name):
            raise _error(errno.EROFS)
        if not self.has(name):
            raise Unknown(name)
        called = partial(self._operations, name) if self._through else getattr(self._operations, name)
        try:
            if self._thread is None:
                result = called(*arguments)
            else:
                result = self._thread(partial(_whole, called, arguments))
        except OSError as error:
            if error.errno == errno.ENOSYS:
                raise Unknown(name) from None
            # An error class of their own is not the built-in one of its number (FileNotFoundError, ...).
            raise _error(errno_of(error)) from error
        if isinstance(result, int) and result < 0:
            raise _error(-result)
        return result


def _whole(called: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """What is called, and all that it yields."""
    result = called(*arguments)
    return list(result) if hasattr(result, "__next__") else result


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _context() -> tuple[int, int, int]:
    """Ids of user, group and process of who asks."""
    who = asker()
    if who is None:
        return os.getuid(), os.getgid(), os.getpid()
    return who.credentials.uid, who.credentials.gid, who.pid


def _tell_context() -> None:
    theirs = [getattr(sys.modules.get(name), _CONTEXT, None) for name in (*_BASES, "refuse.high")]
    known = [one for one in theirs if one is not None and one is not _context]
    for module in list(sys.modules.values()) if known else ():
        if getattr(module, "__dict__", {}).get(_CONTEXT) in known:
            setattr(module, _CONTEXT, _context)
