"""Bind: a directory or file of the host at another place."""

from __future__ import annotations

import os
import stat

from diorama.errors import UsageError
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["open_bind"]


def open_bind(source: str, options: Options) -> Mount:
    """A mount of a host path; relative ones are the caller's.  It is what the path leads to now."""
    options.finish(source)
    path = os.path.realpath(source)
    try:
        status = os.stat(path)
    except OSError as error:
        raise UsageError(f"cannot mount {source}: {(error.strerror or 'not accessible').lower()}") from None
    kind = stat.S_IFMT(status.st_mode)
    return Mount(
        host=os.fsencode(path), kind=kind, read_only=options.read_only, source=source, options=options.shown
    )
