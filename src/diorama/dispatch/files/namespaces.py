"""Namespaces: calls that would change the file tree below the view, or go around it."""

from __future__ import annotations

import errno

from diorama.catalogue.model import Request
from diorama.catalogue.mounts import (
    FsMount,
    FsPick,
    Mount,
    MountSetAttr,
    MoveMount,
    OpenTree,
    OpenTreeAttr,
    PivotRoot,
    Umount2,
)
from diorama.catalogue.paths import ChRoot
from diorama.catalogue.processes import SetNs, Unshare
from diorama.catalogue.rings import IoUringSetup
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.state import Files
from diorama.errors import Unsupported
from diorama.view.task import CLONE_FILES, CLONE_FS

_CLONE_NEWNS = 0x20000
_CLONE_NEWUSER = 0x10000000


@answers(ChRoot, FsMount, FsPick, Mount, MountSetAttr, MoveMount, OpenTree, OpenTreeAttr, PivotRoot, Umount2)
def change_tree(files: Files, call: Request) -> Outcome:
    """The kernel's mounts are not the view's."""
    raise Unsupported(call.NAME, "not supported in a view with mounts", errno.EPERM)


@answers(IoUringSetup)
def make_ring(files: Files, call: IoUringSetup) -> Outcome:
    """A ring opens files without a system call; programs fall back when there is none."""
    raise Unsupported(call.NAME, "not supported in a view with mounts", errno.ENOSYS)


@answers(Unshare)
def unshare(files: Files, call: Unshare) -> Outcome:
    """What is kept here of a task follows what the kernel keeps."""
    if call.flags & (_CLONE_NEWNS | _CLONE_NEWUSER):
        files.on_strangers()
    if not call.flags & (CLONE_FS | CLONE_FILES | _CLONE_NEWNS):
        return None
    result = call.run()
    implied = CLONE_FS if call.flags & _CLONE_NEWNS else 0
    task = files.task(call.tracee)
    task.unshare(call.flags | implied)
    files.on_division(task)
    return result


@answers(SetNs)
def enter_namespace(files: Files, call: SetNs) -> Outcome:
    """Another mount namespace has other files at the same paths."""
    if not call.type or call.type & _CLONE_NEWNS:
        raise Unsupported(call.NAME, "of mounts is not supported in a view with mounts", errno.EPERM)
    files.on_strangers()
    return None
