"""Directories: listing them, and the current one.

The position in a virtual directory is kept by the kernel, as the offset of the real directory that stands for
it.  So rewinddir(3), telldir(3) and shared descriptions work as for any directory.  What the offsets are is
told in `listings`.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from diorama.abi.dirent import DIRENT, DIRENT64, OLD_DIRENT
from diorama.abi.fcntl import AT_FDCWD
from diorama.catalogue.dirs import GetDents, GetDents64, ReadDir
from diorama.catalogue.model import Request
from diorama.catalogue.paths import ChDir, FChDir, GetCwd
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.borrowing import Offset
from diorama.dispatch.files.layered_listing import list_layered
from diorama.dispatch.files.listings import Found, find_entries
from diorama.dispatch.files.owned_listing import list_owned
from diorama.dispatch.files.points import list_points, put_entries
from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.translation import at_host
from diorama.view.mounts import Mount, Place
from diorama.view.naming import path_from
from diorama.view.task import Task

_LAYOUTS: Final = {GetDents64: DIRENT64, GetDents: DIRENT, ReadDir: OLD_DIRENT}


@answers(GetDents64, GetDents, ReadDir)
def get_entries(files: Files, call: GetDents64 | GetDents | ReadDir) -> Outcome:
    """Read entries of a virtual directory."""
    task, layout = files.task(call.tracee), _LAYOUTS[type(call)]
    found = _begun(files, task)
    place = files.tasks.virtual(task, call.fd)
    if place is None:
        size = list_layered(files, call, layout) if files.has_layers else None
        size = list_points(files, call, layout) if size is None and len(files.points) else size
        return list_owned(files, call, layout) if size is None and files.has_owners(task) else size
    if place.filesystem is None or not _has_directory(files, task, call.fd):
        return None
    if files.synthetic.is_nameless(place.filesystem, place.inode):
        raise fail(errno.ENOENT)
    with Offset(call.tracee, call.fd) as offset:
        while True:
            position = offset.get()
            entries = files.listings.read(place, position, found)
            size, count = put_entries(call, entries, layout)
            if not count or files.listings.moved(place, offset, position, entries[count - 1].off):
                return size
            found = None


def _begun(files: Files, task: Task) -> Found | None:
    """What is in a directory that a slow server was asked for natively, for this call.

    It is waited for before the program is looked at, which may be gone: then the server is told so.
    """
    for mount in task.tree.mounts:
        filesystem = mount.filesystem
        inode = 0 if filesystem is None or filesystem.told is None else filesystem.told.left_listing()
        if inode and filesystem is not None:
            return find_entries(filesystem, inode)
    return None


@answers(ChDir)
def change_directory(files: Files, call: ChDir) -> Outcome:
    """Go to another directory."""
    place = files.find(call, call.PATHS[0])
    if place is None:
        return None
    if place.filesystem is not None:
        _check_search(files, files.task(call.tracee), place)
        return _enter(files, call, call.replace(path=files.standins.directory(place)), place.mount)
    changed = at_host(call, call.PATHS[0], place) if place.touched and not place.straight else call
    return _enter(files, call, changed, place.mount)


@answers(FChDir)
def change_to_descriptor(files: Files, call: FChDir) -> Outcome:
    """Go to an open directory."""
    try:
        place = files.tasks.descriptor(files.task(call.tracee), call.fd)
    except OSError:
        return None
    if place.filesystem is not None:
        _check_search(files, files.task(call.tracee), place)
    changed = call.instead(ChDir(place.host_path)) if place.stands and place.filesystem is None else call
    return _enter(files, call, changed, place.mount)


@answers(GetCwd)
def get_directory(files: Files, call: GetCwd) -> Outcome:
    """The path of the current directory in the view."""
    task = files.task(call.tracee)
    if task.context.cwd_mount.is_bottom and not len(files.inodes) and not task.is_displaced:
        return None
    place = files.tasks.cwd(task)
    has_no_name = place.path == b"/proc/%d/cwd" % task.tid
    if place.mount.is_bottom and (has_no_name or not task.is_displaced):
        return None
    if place.removed:
        raise fail(errno.ENOENT)
    # As the kernel's, for what no path leads to any more (getcwd(2)).
    path = (path_from(task.root, place) or b"(unreachable)" + place.view_path) + b"\0"
    if len(path) > call.size:
        raise fail(errno.ERANGE)
    call.tracee.memory.write(call.buffer.address, path)
    return len(path)


def enter_view(files: Files, call: Request, task: Task) -> None:
    """Let a program that is about to start stand on what is mounted on its current directory.

    Under another root that is the directory of the same path, or else the root.
    """
    place = _starting_place(files, task)
    if place is None or not place.touched:
        return
    to = place.host_path if place.filesystem is None else files.standins.directory(place)
    call.tracee.syscall.chdir(to)
    files.enter_mount(task, place.mount)


def _starting_place(files: Files, task: Task) -> Place | None:
    elsewhere = None if files.tree.base is files.tree.root else files.tree.base.root._replace(touched=True)
    try:
        path = files.host.readlink(b"/proc/%d/cwd" % task.tid)
    except OSError:
        return elsewhere
    try:
        place = files.walk(task, AT_FDCWD, path)
        if place is not None and not place.missing and (place.filesystem is None or _is_directory(place)):
            return place
    except OSError:
        if elsewhere is None:
            raise
    return elsewhere


def _enter(files: Files, call: ChDir | FChDir, changed: ChDir | FChDir, mount: Mount) -> Outcome:
    """Run what goes there, and remember the mount if that is to be remembered."""
    task = files.task(call.tracee)
    if files.tasks.remembered(mount, task.tree) is task.context.cwd_mount:
        return None if changed is call else changed
    result = changed.run()
    files.enter_mount(task, mount)
    return result


def _has_directory(files: Files, task: Task, fd: int) -> bool:
    """Whether a descriptor of ours is of a directory: what stands for one is one, and nothing else is."""
    try:
        return stat.S_ISDIR(files.tasks.status(task, fd).st_mode)
    except OSError:
        return False  # it was closed meanwhile, which the kernel says


def _is_directory(place: Place) -> bool:
    assert place.filesystem is not None
    return place.filesystem.attributes(place.inode).kind == stat.S_IFDIR


def _check_search(files: Files, task: Task, place: Place) -> None:
    if place.missing:
        raise fail(errno.ENOENT)
    if not _is_directory(place):
        raise fail(errno.ENOTDIR)
    assert place.filesystem is not None
    attributes = place.filesystem.attributes(place.inode)
    if not files.permits(task, attributes, os.X_OK):
        raise fail(errno.EACCES)
    if attributes.unchecked:
        place.filesystem.check_access(place.inode, os.X_OK)
