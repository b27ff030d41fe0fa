"""Names: what the view calls an object that the kernel names by a path of the host."""

from __future__ import annotations

import errno
import os
import re
from stat import S_ISDIR
from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import AT_FDCWD
from diorama.view.mounts import Mount, Place
from diorama.view.naming import is_covered, path_from, place_of_name

if TYPE_CHECKING:
    from diorama.catalogue.model import Request
    from diorama.dispatch.files.state import Files
    from diorama.view.host import Status
    from diorama.view.task import Task

__all__ = ["name_of_link", "name_of_object", "path_of", "place_of_object", "reached_place"]

_LINK: Final = re.compile(rb"/proc/(\d+)(?:/task/(\d+))?/(cwd|root|exe|ns/uts|fd/\d+|map_files/[^/]+)")
_DELETED: Final = b" (deleted)"


def path_of(reader: Task, place: Place) -> bytes:
    """The path of a place for who reads it, as d_path() in the kernel has it."""
    return path_from(reader.root, place) or place.view_path


def place_of_object(files: Files, reader: Task, owner: Task, text: bytes, status: Status) -> Place | None:
    """Where an object is that the kernel calls `text`, and that `owner` has open or mapped.

    None for what has no path, and what nobody in the view can reach by one.
    """
    place = files.inodes.find(status)
    if place is not None:
        return reader.context.here(place)
    if not text.startswith(b"/"):
        return None
    real = text.removesuffix(_DELETED).rstrip(b"/")
    identity = status.st_dev, status.st_ino
    opened = files.tasks.opened
    mount = opened.find(owner, identity)
    inside = None if mount is None else mount.inside(real)
    if mount is not None and inside is not None:
        return reader.context.here(Place(mount, inside))
    # A directory was reached plainly then.  Of a file nobody knows for sure; who stands in a mount has most
    # likely gone on from there.
    likely = () if S_ISDIR(status.st_mode) else (opened.reached(identity), owner.context.cwd_mount)
    for mount in likely:
        place = None if mount is None or mount.is_bottom else _in_mount(reader, mount, real)
        if place is not None:
            return place
    return place_of_name(reader.tree, reader.root, real)


def _in_mount(reader: Task, mount: Mount, real: bytes) -> Place | None:
    """Where something of the host is in a mount, if that can be reached there."""
    inside = mount.inside(real)
    if inside is None:
        return None
    place = reader.context.here(Place(mount, inside))
    is_hidden = is_covered(place.mount, inside) or path_from(reader.root, place) is None
    return None if is_hidden else place


def reached_place(files: Files, task: Task, call: Request, place: Place | None) -> Place | None:
    """The place by which the object of a call with `dirfd` and `path` was reached, also by its descriptor.

    `place` is where the path leads, as far as that is known.
    """
    dirfd: int = getattr(call, "dirfd")  # noqa: B009
    link = b"/proc/%d/fd/%d" % (task.tid, dirfd)
    if place is not None:
        link = place.link
    elif getattr(call, "path"):  # noqa: B009
        return None
    elif dirfd == AT_FDCWD:
        return files.tasks.cwd(task)
    if not link:
        return place
    try:
        return place_of_object(files, task, task, files.host.readlink(link), files.host.stat(link))
    except OSError:
        return None


def name_of_object(files: Files, reader: Task, owner: Task, text: bytes, status: Status) -> bytes:
    """Its name."""
    made = files.generated.find(status)
    if made is not None:
        return made
    place = place_of_object(files, reader, owner, text, status)
    if place is None:
        return text
    virtual = files.inodes.find(status) is not None
    deleted = _is_gone(place) if virtual else text.endswith(_DELETED)
    return path_of(reader, place) + (_DELETED if deleted else b"")


def name_of_link(files: Files, reader: Task, link: bytes) -> bytes | None:
    """What a link of /proc that is not text says in the view; None if it is another, or the kernel's own.

    `OSError` as readlink(2).
    """
    match = _LINK.fullmatch(link)
    if match is None:
        return None
    owner = files.owner(int(match[1]), int(match[2] or match[1]))
    if owner is None:
        return None
    text = files.host.readlink(link)
    if match[3] == b"ns/uts":
        divided = owner.uts is not None and owner.uts.fd >= 0
        return b"uts:[%d]" % os.fstat(owner.uts.fd).st_ino if owner.uts and divided else None
    if match[3] == b"root":
        return path_of(reader, owner.root)
    if match[3] == b"cwd":
        return path_of(reader, files.tasks.cwd(owner))
    if match[3] == b"exe" and owner.executable is not None:
        return path_of(reader, owner.executable)
    return name_of_object(files, reader, owner, text, files.host.stat(link))


def _is_gone(place: Place) -> bool:
    if place.filesystem is None:  # a copy stands for it: what is executed with another loader
        return not os.path.lexists(place.host_path)
    try:
        return place.removed or place.filesystem.attributes(place.inode).links == 0
    except OSError as error:
        return error.errno == errno.ENOENT
