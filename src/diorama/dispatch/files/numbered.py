"""Numbered: special files that are devices of ours, by type and number, whatever has made them (`devid`).

Such a file may be anywhere: on the host, in layers, in a file system of ours, in a tree that remembers it.
Who may open it is told by its own owner and mode; what is opened is the device.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
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

__all__ = [
    "DRIVERS", "MAJORS", "PARTITIONS", "TABLE", "answers_numbers", "by_number", "devices_of",
    "name_of_device",
]  # fmt: skip

PARTITIONS = b"/proc/partitions"
DRIVERS = b"/proc/devices"
_DEVICES = b"/dev/"


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


# -- all devices ----------------------------------------------------------------------------------


def devices_of(tree: MountTree, kind: int) -> Iterator[Mount]:
    """The mounts of special files of a type."""
    for mount in tree.mounts:
        if mount.filesystem is not None and mount.kind == kind and mount.point is not None:
            yield mount


def name_of_device(mount: Mount) -> bytes:
    """What the system calls a device, as the kernel does by its path in /dev; elsewhere by its last name."""
    path = mount.root.view_path
    name = path.removeprefix(_DEVICES) if path.startswith(_DEVICES) else path.rpartition(b"/")[2]
    return name.replace(b"/", b"!")


def _partitions(_files: Files, subject: Subject) -> bytes:
    """The table of the system, with the block devices of the view (proc(5))."""
    lines = [subject.real() or b"major minor  #blocks  name\n\n"]
    for mount in devices_of(subject.reader.tree, stat.S_IFBLK):
        filesystem = mount.filesystem
        assert filesystem is not None
        device = filesystem.attributes(filesystem.root).device
        blocks = filesystem.statistics().blocks // 2
        name = name_of_device(mount).replace(b"!", b"/")
        lines.append(b"%4d  %7d %10d %s\n" % (os.major(device), os.minor(device), blocks, name))
    return b"".join(lines)


TABLE = SystemFile(_partitions)
"""What /proc/partitions tells in a view with block devices."""


def _drivers(_files: Files, subject: Subject) -> bytes:
    """The major numbers of the system, with those of devices of the view, by what they are (proc(5))."""
    told: list[bytes] = []
    for part, kind in zip(subject.real().split(b"\n\n", 1), (stat.S_IFCHR, stat.S_IFBLK), strict=False):
        head, *lines = part.rstrip(b"\n").split(b"\n")
        known = {int(line.split()[0]) for line in lines}
        for mount in devices_of(subject.reader.tree, kind):
            assert mount.filesystem is not None
            major = os.major(mount.filesystem.attributes(mount.filesystem.root).device)
            if major and major not in known:
                known.add(major)
                lines.append(b"%3d %b" % (major, os.fsencode(mount.filesystem.title)))
        lines.sort(key=lambda line: int(line.split()[0]))
        told.append(b"\n".join([head, *lines, b""]))
    return b"\n".join(told)


MAJORS = SystemFile(_drivers)
"""What /proc/devices tells in a view with devices."""
