"""Mounting: mount(2) of a FUSE server, which has its device open (mount.fuse3(8), fuse(4)).

The options are the kernel's: `fd` names the descriptor, `rootmode` the type of the root in octal, and
`default_permissions` has permissions checked by mode and owner, which otherwise is the server's affair;
`subtype` stands behind the type in mount tables.  In a view everybody may mount; but who could only do so by
fusermount3, which refuses `suid` and `dev` to all but root, has no set-user-ID programs and devices there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from diorama.modules.filesystems.fuse.device import FuseDevice
from diorama.modules.filesystems.fuse.filesystem import FuseFileSystem
from diorama.modules.opening import Below
from diorama.view.asking import asker
from diorama.view.credentials import CAP_SYS_ADMIN
from diorama.view.mounts import Mount

__all__ = ["make_of_server"]

_LOCKED = ("nosuid", "nodev")
_TAKEN = ("fd", "rootmode", "user_id", "group_id", "subtype")


def make_of_server(
    type: str, source: str | os.PathLike[str], options: Sequence[str], below: Below, device: FuseDevice
) -> Mount:
    """A mount of what is at the other end of a descriptor; EINVAL as fuse_fill_super() gives it."""
    given = {name: value for name, _, value in (option.partition("=") for option in options)}
    try:
        fd, mode = int(given["fd"]), int(given["rootmode"], 8)
        user, group = int(given["user_id"]), int(given["group_id"])
        max_read = int(given["max_read"]) if "max_read" in given else None
    except (KeyError, ValueError):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None
    if given.get("subtype"):
        type = f"{type.partition('.')[0]}.{given['subtype']}"
    title = type.removeprefix("fuse.") if "." in type else os.fspath(source)
    status = below.descriptor(fd)
    filesystem = FuseFileSystem(
        device.claim(status),
        title,
        checked="default_permissions" in given,
        theirs=(status.st_dev, status.st_ino),
        max_read=max_read,
    )
    filesystem.owner = user, group
    device.mounted((status.st_dev, status.st_ino), filesystem.lent)
    shown = [f"user_id={user}", f"group_id={group}"]
    shown += [option for option in options if option.partition("=")[0] not in _TAKEN and option != "rw"]
    mount = Mount(
        filesystem=filesystem,
        kind=stat.S_IFMT(mode),
        read_only="ro" in given,
        source=os.fspath(source),
        type=type,
        options=tuple(shown),
    )
    who = asker()
    if who is not None and not who.credentials.has(CAP_SYS_ADMIN):
        mount.locked = _LOCKED
    return mount
