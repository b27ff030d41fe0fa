"""Names: what the view calls an object that the kernel names by a path of the host."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Final

from diorama.view.mounts import Place
from diorama.view.naming import name_of, path_from

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.view.host import Status
    from diorama.view.task import Task

__all__ = ["name_of_link", "name_of_object", "path_of"]

_LINK: Final = re.compile(rb"/proc/(\d+)(?:/task/(\d+))?/(cwd|root|exe|fd/\d+|map_files/[^/]+)")
_DELETED: Final = b" (deleted)"


def path_of(reader: Task, place: Place) -> bytes:
    """The path of a place for who reads it, as d_path() in the kernel has it."""
    return path_from(reader.root, place) or place.view_path


def name_of_object(files: Files, reader: Task, owner: Task, text: bytes, status: Status) -> bytes:
    """The name of an object that the kernel calls `text`, and that `owner` has open or mapped."""
    made = files.generated.find(status)
    if made is not None:
        return made
    place = files.inodes.find(status)
    if place is not None:
        return path_of(reader, reader.context.here(place)) + (_DELETED if _is_gone(place) else b"")
    if not text.startswith(b"/"):
        return text
    deleted = _DELETED if text.endswith(_DELETED) else b""
    real = text.removesuffix(_DELETED)
    mount = files.tasks.opened.find(owner, (status.st_dev, status.st_ino))
    inside = None if mount is None else mount.inside(real)
    if mount is not None and inside is not None:
        return path_of(reader, Place(mount, inside)) + deleted
    return (name_of(reader.tree, reader.root, real.rstrip(b"/")) or real) + deleted


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
