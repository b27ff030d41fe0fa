"""Errors, divided by the reaction they ask for.

A plain `OSError` from a handler is the program's errno; the classes here are for everything else.
"""

from __future__ import annotations

import errno
import sys

__all__ = ["TraceeDied", "Unsupported", "UsageError", "errno_of", "warn_once"]

_warned: set[tuple[str, str]] = set()


class UsageError(Exception):
    """The user's mistake, told in one line: what was tried, on what, what to do.

    `code` is the errno for a program that made it, by a call in the view.
    """

    def __init__(self, message: str, code: int = errno.EINVAL) -> None:
        super().__init__(message)
        self.code = code


class Unsupported(OSError):
    """A request that is not supported: the program gets `code`, the user one warning per (call, why).

    Raised instead of passing the call to the host behind a virtual object's back.
    """

    def __init__(self, call: str, why: str, code: int = errno.EOPNOTSUPP) -> None:
        super().__init__(code, f"{call}: {why}")
        self.call = call
        self.why = why


class TraceeDied(BaseException):
    """The tracee is gone; unwinds a handler to its guardian.

    A `BaseException`, so that `except Exception` in a module cannot swallow it.
    """


def warn_once(call: str, why: str) -> None:
    """Print one line on standard error, once per (call, why) in the life of this process."""
    if (call, why) in _warned:
        return
    _warned.add((call, why))
    print(f"diorama: {call}: {why}", file=sys.stderr, flush=True)


# A bare `raise PermissionError` means what its class is made from (the table in the docs of OSError).
_CODES: tuple[tuple[type[OSError], int], ...] = (
    (BlockingIOError, errno.EAGAIN),
    (BrokenPipeError, errno.EPIPE),
    (ChildProcessError, errno.ECHILD),
    (ConnectionAbortedError, errno.ECONNABORTED),
    (ConnectionRefusedError, errno.ECONNREFUSED),
    (ConnectionResetError, errno.ECONNRESET),
    (FileExistsError, errno.EEXIST),
    (FileNotFoundError, errno.ENOENT),
    (InterruptedError, errno.EINTR),
    (IsADirectoryError, errno.EISDIR),
    (NotADirectoryError, errno.ENOTDIR),
    (PermissionError, errno.EACCES),
    (ProcessLookupError, errno.ESRCH),
    (TimeoutError, errno.ETIMEDOUT),
)


def errno_of(error: OSError) -> int:
    """The errno that an exception stands for: its own, else that of its class, else EIO."""
    if error.errno:
        return error.errno
    return next((code for kind, code in _CODES if isinstance(error, kind)), errno.EIO)
