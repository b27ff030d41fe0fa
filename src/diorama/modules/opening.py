"""Opening: what a mount is made of, and what to say when it is no good.

A source is found in the tree as it was below the mount: in the view of who mounts, by its mounts, root and
current directory.  Who makes a mount in a view says so with `looking_in`; else it is the host's tree.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import IO, Any, Final, Protocol

from diorama.errors import UsageError
from diorama.view.filesystem import FileSystem
from diorama.view.mounts import Mount

__all__ = [
    "Below", "bind_of", "device_at", "host_name", "host_path", "looking_in", "open_source", "open_to_write",
    "usage_errors",
]  # fmt: skip

_DAMAGE: Final[tuple[type[Exception], ...]] = (EOFError, zlib.error, ValueError)


class Below(Protocol):
    """The tree below a mount, for who makes it.  Paths are as the caller wrote them; errors are `OSError`."""

    def bind(self, path: str) -> Mount:
        """A mount of what is at a path."""
        ...

    def open(self, path: str) -> int:
        """A descriptor of a file, for reading."""
        ...

    def open_to_write(self, path: str) -> tuple[int, Callable[[], None]]:
        """A descriptor of a file of the view's own, to be written too, and what makes that lasting; EXDEV."""
        ...

    def device(self, path: str, access: int) -> FileSystem | None:
        """What serves the block device at a path, which who mounts may use so; None if there is none."""
        ...

    def host_path(self, path: str, access: int = os.F_OK) -> str:
        """Where that is on the host, if who mounts may do that with it; EXDEV for what is not."""
        ...

    def descriptor(self, fd: int) -> os.stat_result:
        """The status of what who mounts has open; EBADF."""
        ...


_below: ContextVar[Below | None] = ContextVar("_below", default=None)


@contextmanager
def looking_in(below: Below | None) -> Generator[None, None, None]:
    """Find sources there meanwhile, on this thread."""
    token = _below.set(below)
    try:
        yield
    finally:
        _below.reset(token)


def open_source(source: str) -> IO[bytes]:
    """Open a path of the caller, or a URL that fsspec knows, for reading with seeks."""
    if "://" not in source:
        below = _below.get()
        return open(os.path.abspath(source) if below is None else below.open(source), "rb")
    fsspec: Any = import_module("fsspec")
    opened: IO[bytes] = fsspec.open(source, "rb").open()
    return opened


def open_to_write(source: str) -> tuple[int, Callable[[], None]]:
    """As `Below.open_to_write`, of what is in no file system of the host."""
    below = _below.get()
    if below is None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    return below.open_to_write(source)


def device_at(source: str, access: int) -> FileSystem | None:
    """As `Below.device`; None outside of a view."""
    below = _below.get()
    return None if below is None else below.device(source, access)


def host_path(source: str, access: int = os.F_OK) -> str:
    """The path on the host, without symbolic links, of what a path of the caller leads to; `OSError`.

    In a view, EACCES for what who mounts may not use as `access` says (access(2)).
    """
    below = _below.get()
    return os.path.realpath(source, strict=True) if below is None else below.host_path(source, access)


def host_name(source: str) -> str:
    """As `host_path`, to be written; also of what does not exist, in a view in a directory that does."""
    if _below.get() is None:
        return os.path.realpath(source)
    try:
        return host_path(source, os.W_OK)
    except FileNotFoundError:
        head, name = os.path.split(source.rstrip("/"))
        return os.path.join(host_path(head or ".", os.W_OK), name)


def bind_of(source: str) -> Mount:
    """A mount of what a path of the caller leads to now; `OSError`."""
    below = _below.get()
    if below is not None:
        return below.bind(source)
    path = os.path.realpath(source)
    return Mount(host=os.fsencode(path), kind=stat.S_IFMT(os.stat(path).st_mode))


@contextmanager
def usage_errors(what: str, *damage: type[Exception]) -> Generator[None, None, None]:
    """Turn the failures of opening `what`, and `damage` to its content, into one line for the user."""
    try:
        yield
    except OSError as error:
        # lzma and bz2 report damage by an OSError without a number.
        reason = os.strerror(error.errno).lower() if error.errno else f"not readable: {error}"
        raise UsageError(f"cannot mount {what}: {reason}", error.errno or errno.EINVAL) from None
    except ImportError as error:
        raise UsageError(f"cannot mount {what}: {error}") from None
    except (*_DAMAGE, *damage) as error:
        raise UsageError(f"cannot mount {what}: corrupt or of another format: {error}") from None
