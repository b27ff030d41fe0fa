"""Bind: a directory or file of the host at another place.

One that *remembers* owners, modes, devices and attributes takes them from programs (`owners`).
"""

from __future__ import annotations

import errno
import stat

from diorama.errors import UsageError
from diorama.modules.opening import bind_of
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["open_bind"]


def open_bind(source: str, options: Options) -> Mount:
    """A mount of a path; relative ones are the caller's.  It is what the path leads to now.

    As for the kernel, what is bound from a read-only mount is read-only, unless `rw` is asked for.
    """
    remembers, table = options.is_set("remember"), options.take("remember")
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
    if remembers:
        _remember(source, mount, table)
    return mount


def _remember(source: str, mount: Mount, table: str | None) -> None:
    """Let a mount remember what the host cannot have."""
    if mount.host is None or not stat.S_ISDIR(mount.kind):
        raise UsageError(f"cannot mount {source}: only a directory of the host remembers owners")
    from diorama.modules.filesystems.owners import RememberedOwners

    mount.backing = mount.owners = RememberedOwners(mount.host, table)
