"""Bind: a directory or file of the host at another place."""

from __future__ import annotations

import errno

from diorama.errors import UsageError
from diorama.modules.opening import bind_of
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["open_bind"]


def open_bind(source: str, options: Options) -> Mount:
    """A mount of a path; relative ones are the caller's.  It is what the path leads to now.

    As for the kernel, what is bound from a read-only mount is read-only, unless `rw` is asked for.
    """
    options.finish(source)
    try:
        mount = bind_of(source)
    except OSError as error:
        reason = (error.strerror or "not accessible").lower()
        raise UsageError(f"cannot mount {source}: {reason}", error.errno or errno.EINVAL) from None
    writable = mount.filesystem is None or mount.filesystem.writable
    if options.is_set("rw") and not writable:
        raise UsageError(f"cannot mount {source} read-write: this file system is read-only")
    mount.read_only = options.read_only or (mount.read_only and not options.is_set("rw"))
    mount.source, mount.options = source, options.shown
    return mount
