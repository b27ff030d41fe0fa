"""Entries: what Linux checks before a name is made or removed, in its order (fs/namei.c).

The caller holds the lock of `Synthetic.naming`, so that what was checked still holds when it is done.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.synthetic import name_of
from diorama.view.acl import begin
from diorama.view.asking import now
from diorama.view.filesystem import Attributes, FileSystem, OpenFile
from diorama.view.mounts import Mount, Place

if TYPE_CHECKING:
    from diorama.view.credentials import Credentials
    from diorama.view.task import Task

__all__ = [
    "Victim",
    "check_free",
    "check_may_change",
    "check_may_make",
    "find",
    "is_dots",
    "make",
    "new_file",
]

_CHANGING = os.W_OK | os.X_OK


class Victim:
    """What a name leads to now, under the lock: its inode and status, in a directory with that status."""

    def __init__(self, files: Files, task: Task, place: Place) -> None:
        filesystem = place.filesystem
        assert filesystem is not None
        self.place = place
        self.filesystem: FileSystem = filesystem
        self.name = name_of(place)
        self.who: Credentials = files.tasks.credentials(task)
        self.inode = find(filesystem, place.directory, self.name)
        self.directory: Attributes = filesystem.attributes(place.directory)
        self.status = None if self.inode is None else files.synthetic.attributes(filesystem, self.inode)
        self.is_dead = files.synthetic.is_nameless(filesystem, place.directory)

    @property
    def is_directory(self) -> bool:
        """Whether it is one; False for nothing."""
        return self.status is not None and self.status.kind == stat.S_IFDIR

    @property
    def is_mount_point(self) -> bool:
        """Whether something is mounted on it, in the namespace of the task."""
        return self.place.path in self.place.mount.children

    def check_removal(self, *, as_directory: bool) -> Attributes:
        """may_delete() of fs/namei.c; the status of what is to go."""
        if self.status is None:
            raise fail(errno.ENOENT)
        if not self.who.permits(self.directory, _CHANGING):
            raise fail(errno.EACCES)
        if not self.who.may_replace(self.directory, self.status):
            raise fail(errno.EPERM)
        if as_directory != self.is_directory:
            raise fail(errno.ENOTDIR if as_directory else errno.EISDIR)
        if self.is_dead:
            raise fail(errno.ENOENT)
        return self.status


def find(filesystem: FileSystem, directory: int, name: bytes) -> int | None:
    """The inode of a name; None if there is none."""
    try:
        return filesystem.lookup(directory, name)
    except FileNotFoundError:
        return None


def is_dots(place: Place) -> bool:
    """Whether the last component is `.` or `..`, which are not for making and removing."""
    return name_of(place) in (b".", b"..")


def check_free(place: Place, *, is_directory: bool = False) -> None:
    """A name that is to be made is a name, and there is none; EEXIST, ENOENT, EROFS."""
    filesystem = place.filesystem
    assert filesystem is not None
    if not place.path or is_dots(place) or place.path in place.mount.children:
        raise fail(errno.EEXIST)
    if find(filesystem, place.directory, name_of(place)) is not None:
        raise fail(errno.EEXIST)
    if place.slash and not is_directory:
        raise fail(errno.ENOENT)
    check_may_change(place.mount)


def check_may_change(mount: Mount) -> None:
    """EROFS."""
    if mount.read_only:
        raise fail(errno.EROFS)


def check_may_make(files: Files, task: Task, filesystem: FileSystem, directory: int) -> Attributes:
    """may_create() of fs/namei.c; the status of the directory."""
    if files.synthetic.is_nameless(filesystem, directory):
        raise fail(errno.ENOENT)
    attributes = filesystem.attributes(directory)
    if not files.tasks.credentials(task).permits(attributes, _CHANGING):
        raise fail(errno.EACCES)
    return attributes


def new_file(files: Files, task: Task, mode: int, directory: Attributes, device: int = 0) -> Attributes:
    """The status of what a task makes in a directory, with this type and mode."""
    _, acl, default_acl = begin(directory.default_acl, mode)
    mode, uid, gid = files.tasks.maker(task).make(mode, directory)
    time = now()
    return Attributes(
        mode,
        links=2 if stat.S_ISDIR(mode) else 1,
        modified=time,
        device=device,
        uid=uid,
        gid=gid,
        accessed=time,
        changed=time,
        created=time,
        acl=acl,
        default_acl=default_acl,
    )


def make(files: Files, place: Place, attributes: Attributes, target: bytes = b"") -> Place:
    """Make what was checked: where it is."""
    filesystem = place.filesystem
    assert filesystem is not None
    inode = filesystem.make(place.directory, name_of(place), attributes, target)
    files.synthetic.made(filesystem, place.directory, name_of(place), attributes.kind)
    return place._replace(inode=inode, missing=False)


def create(files: Files, place: Place, attributes: Attributes, flags: int) -> tuple[Place, OpenFile | None]:
    """Make a regular file, as `make`, and have its file system open it."""
    filesystem = place.filesystem
    assert filesystem is not None
    inode, opened = filesystem.create(place.directory, name_of(place), attributes, flags)
    files.synthetic.made(filesystem, place.directory, name_of(place), attributes.kind)
    return place._replace(inode=inode, missing=False), opened
