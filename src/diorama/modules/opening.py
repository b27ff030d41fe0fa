"""Opening: the file behind an archive, and what to say when it is no good."""

from __future__ import annotations

import os
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import IO, Any, Final

from diorama.errors import UsageError

__all__ = ["open_source", "usage_errors"]

_DAMAGE: Final[tuple[type[Exception], ...]] = (EOFError, zlib.error, ValueError)


def open_source(source: str) -> IO[bytes]:
    """Open a path of the caller, or a URL that fsspec knows, for reading with seeks."""
    if "://" not in source:
        return open(os.path.abspath(source), "rb")
    fsspec: Any = import_module("fsspec")
    opened: IO[bytes] = fsspec.open(source, "rb").open()
    return opened


@contextmanager
def usage_errors(what: str, *damage: type[Exception]) -> Generator[None, None, None]:
    """Turn the failures of opening `what`, and `damage` to its content, into one line for the user."""
    try:
        yield
    except OSError as error:
        # lzma and bz2 report damage by an OSError without a number.
        reason = os.strerror(error.errno).lower() if error.errno else f"not readable: {error}"
        raise UsageError(f"cannot mount {what}: {reason}") from None
    except ImportError as error:
        raise UsageError(f"cannot mount {what}: {error}") from None
    except (*_DAMAGE, *damage) as error:
        raise UsageError(f"cannot mount {what}: corrupt or of another format: {error}") from None
