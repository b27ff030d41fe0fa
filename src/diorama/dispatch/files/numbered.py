"""Numbered: special files that are devices of ours, by type and number, whatever has made them (`devid`).

Such a file may be anywhere: on the host, in layers, in a file system of ours, in a tree that remembers it.
Who may open it is told by its own owner and mode; what is opened is the device.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from diorama.abi.fcntl import O_CREAT, O_DIRECTORY, O_EXCL, O_PATH
from diorama.dispatch.files.answers import fail
from diorama.dispatch.files.generated import SystemFile
from diorama.view.filesystem import Attributes

if TYPE_CHECKING:
    from diorama.dispatch.files.generated import Subject
    from diorama.dispatch.files.state import Files
    from diorama.view.mounts import Mount, MountTree, Place
    from diorama.view.task import Task

__all__ = ["PARTITIONS", "TABLE", "answers_numbers", "by_number"]

PARTITIONS = b"/proc/partitions"


def answers_numbers(tree: MountTree) -> bool:
    """Whether there is a device that answers for all special files of its number."""
    return any(mount.filesystem is not None and mount.filesystem.devid for mount in tree.mounts)


def by_number(files: Files, task: Task, place: Place, flags: int) -> tuple[Place, Attributes] | None:
    """The device that a special file is, and the file's own status; None if it is what it is itself."""
    is_named = flags & (O_PATH | O_DIRECTORY) or flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL
    if is_named or place.missing or not answers_numbers(task.tree):
        return None
    found = _status(files, place)
    for mount in reversed(task.tree.mounts):
        if _is_it(mount, found):
            if "nodev" in place.mount.options:
                raise fail(errno.EACCES)
            return mount.root._replace(touched=True), found
    return None


def _is_it(mount: Mount, found: Attributes) -> bool:
    if mount.filesystem is None or not mount.filesystem.devid or mount.kind != found.kind:
        return False
    return mount.filesystem.attributes(mount.filesystem.root).device == found.device


def _status(files: Files, place: Place) -> Attributes:
    if place.filesystem is not None:
        return files.synthetic.attributes(place.filesystem, place.inode)
    try:
        status = os.stat(place.host_path, follow_symlinks=bool(place.link))
        if place.mount.owners is not None:
            return place.mount.owners.look(place.host_path, status).attributes
    except OSError:
        return Attributes(stat.S_IFREG)
    return Attributes(status.st_mode, device=status.st_rdev, uid=status.st_uid, gid=status.st_gid)


# -- all block devices ----------------------------------------------------------------------------


def _partitions(_files: Files, subject: Subject) -> bytes:
    """The table of the system, with the block devices of the view (proc(5))."""
    lines = [subject.real() or b"major minor  #blocks  name\n\n"]
    for mount in subject.reader.tree.mounts:
        filesystem = mount.filesystem
        if filesystem is None or mount.kind != stat.S_IFBLK or mount.point is None:
            continue
        device = filesystem.attributes(filesystem.root).device
        blocks = filesystem.statistics().blocks // 2
        name = os.path.basename(mount.root.view_path)
        lines.append(b"%4d  %7d %10d %s\n" % (os.major(device), os.minor(device), blocks, name))
    return b"".join(lines)


TABLE = SystemFile(_partitions)
"""What /proc/partitions tells in a view with block devices."""
