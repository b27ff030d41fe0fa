"""Namespaces: calls that would change the file tree below the view, or go around it."""

from __future__ import annotations

import errno

from diorama.catalogue.model import Request
from diorama.catalogue.mounts import PivotRoot
from diorama.catalogue.paths import ChRoot
from diorama.catalogue.processes import SetNs, Unshare
from diorama.catalogue.rings import IoUringSetup
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.state import Files
from diorama.errors import Unsupported
from diorama.view.task import CLONE_FILES, CLONE_FS, CLONE_NEWNS

CLONE_NEWUSER = 0x10000000


@answers(ChRoot, PivotRoot)
def change_tree(files: Files, call: Request) -> Outcome:
    """The kernel's mounts are not the view's."""
    raise Unsupported(call.NAME, "not supported in a view with mounts", errno.EPERM)


@answers(IoUringSetup)
def make_ring(files: Files, call: IoUringSetup) -> Outcome:
    """A ring opens files without a system call; programs fall back when there is none."""
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


@answers(SetNs)
def enter_namespace(files: Files, call: SetNs) -> Outcome:
    """Another mount namespace has other files at the same paths."""
    if not call.type or call.type & CLONE_NEWNS:
        raise Unsupported(call.NAME, "of mounts is not supported in a view with mounts", errno.EPERM)
    files.on_strangers()
    return None
