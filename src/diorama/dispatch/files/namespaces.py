"""Namespaces: calls that would change the file tree below the view, or go around it."""

from __future__ import annotations

import errno
import os
import stat

from diorama.abi.fcntl import AT_FDCWD
from diorama.catalogue.model import Request
from diorama.catalogue.mounts import PivotRoot
from diorama.catalogue.paths import ChRoot
from diorama.catalogue.processes import SetNs, Unshare
from diorama.catalogue.rings import IoUringSetup
from diorama.dispatch.files.acting import may_access
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.sources import kind_of
from diorama.dispatch.files.state import Files, fail
from diorama.errors import Unsupported
from diorama.view.credentials import CAP_SYS_CHROOT, Credentials
from diorama.view.mounts import Place
from diorama.view.task import CLONE_FILES, CLONE_FS, CLONE_NEWNS, Task

CLONE_NEWUSER = 0x10000000


@answers(PivotRoot)
def change_tree(files: Files, call: Request) -> Outcome:
    """The kernel's mounts are not the view's."""
    raise Unsupported(call.NAME, "not supported in a view with mounts", errno.EPERM)


@answers(ChRoot)
def change_root(files: Files, call: ChRoot) -> Outcome:
    """Another root in the view, for the task and who shares it; the kernel's own stays, as for all mounts.

    Allowed as by Linux: to who has CAP_SYS_CHROOT, in the user namespace that it is in.
    """
    task = files.task(call.tracee)
    place = files.resolver.resolve(task, files.start(task, AT_FDCWD, call.path), call.path)
    if place.missing:
        if place.filesystem is None and not files.has_our_rights(call.tracee):
            _check_search(files, call, place)  # it may not get there
        raise fail(errno.ENOENT)
    if not stat.S_ISDIR(kind_of(files, place)):
        raise fail(errno.ENOTDIR)
    _check_search(files, call, place)
    if not _may_change_root(files, task):
        raise fail(errno.EPERM)
    task.context.root = place._replace(touched=False, slash=False)
    files.changed(task)
    return 0


def _may_change_root(files: Files, task: Task) -> bool:
    """What it may in a user namespace of its own is not about files, but about its root it is."""
    if files.tasks.credentials(task).has(CAP_SYS_CHROOT):
        return True
    with open(f"/proc/{task.tid}/status", "rb") as file:
        return task.identity is None and Credentials.parse(file.read()).has(CAP_SYS_CHROOT)


def _check_search(files: Files, call: ChRoot, place: Place) -> None:
    if place.filesystem is not None:
        attributes = place.filesystem.attributes(place.inode)
        allowed = files.permits(files.task(call.tracee), attributes, os.X_OK)
    else:
        allowed = may_access(files, call.tracee, place.host_path, os.X_OK)
    if not allowed:
        raise fail(errno.EACCES)


@answers(IoUringSetup)
def make_ring(files: Files, call: IoUringSetup) -> Outcome:
    """A ring opens files without a system call; programs fall back when there is none."""
    if files.is_the_hosts(files.task(call.tracee)):
        return None
    raise Unsupported(call.NAME, "not supported in a view with mounts", errno.ENOSYS)


@answers(Unshare)
def unshare(files: Files, call: Unshare) -> Outcome:
    """What is kept here of a task follows what the kernel keeps.

    A namespace of mounts is the view's alone: the kernel's stays what it is, so that a host path means the
    same to all.  Everybody may have one, as everybody may mount.
    """
    if call.flags & CLONE_NEWUSER:
        files.on_strangers()
    if not call.flags & (CLONE_FS | CLONE_FILES | CLONE_NEWNS):
        return None
    implied = CLONE_FS if call.flags & CLONE_NEWNS else 0
    result = call.replace(flags=call.flags & ~CLONE_NEWNS | implied).run()
    task = files.task(call.tracee)
    task.unshare(call.flags | implied)
    if call.flags & CLONE_NEWNS:
        files.mounting.divided(task)
    files.on_division(task)
    return result


def _check_namespace(call: SetNs) -> None:
    """EBADF or EINVAL if it is none that is to be entered."""
    try:
        name = os.readlink(b"/proc/%d/fd/%d" % (call.tracee.tid, call.fd))
    except OSError:
        raise fail(errno.EBADF) from None
    if b":[" not in name:
        raise fail(errno.EINVAL)


@answers(SetNs)
def enter_namespace(files: Files, call: SetNs) -> Outcome:
    """Another mount namespace has other files at the same paths."""
    if not call.type or call.type & CLONE_NEWNS:
        _check_namespace(call)
        raise Unsupported(call.NAME, "of mounts is not supported in a view with mounts", errno.EPERM)
    files.on_strangers()
    return None
