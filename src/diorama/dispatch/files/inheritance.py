"""Inheritance: calls that make a child, where the engine does not tell of them.

A child whose making nobody has seen is taken for plain (`diorama.view.task`).  So a parent that is not has
its call seen, which announces the child before its first instruction.  A thread needs no announcement: it
has the state of its process.  What shares a current directory or descriptors without being a thread, or is a
thread and does not, is always announced, since what becomes of the one later becomes of the other, or not.
"""

from __future__ import annotations

import errno
from typing import Final

from diorama.abi.process import CLONE_FILES, CLONE_FS, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUTS, CLONE_THREAD
from diorama.catalogue.identity import LandlockRestrictSelf
from diorama.catalogue.model import Request
from diorama.catalogue.processes import Clone, Clone3, Fork, VFork
from diorama.catalogue.signals import RtSigAction
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.state import Files, fail

UNTOLD = frozenset({Clone3, Fork, VFork, LandlockRestrictSelf, RtSigAction})
"""What must be asked only if the engine tells of no clones, and signals end the wait of calls for us.

`Clone` is asked for mount namespaces too.
"""

_SHARED: Final = CLONE_FS | CLONE_FILES


@answers(Clone, Clone3, Fork, VFork)
def make_child(files: Files, call: Request) -> Outcome:
    """See the call if there is something to inherit, or to share."""
    flags = _flags(call)
    shared = flags & _SHARED
    divided = flags & (CLONE_NEWNS if files.tasks.uts is None else CLONE_NEWNS | CLONE_NEWUTS)
    if divided:
        return _in_new_namespace(files, call, divided, flags)
    if flags & CLONE_THREAD:
        is_alike = shared == _SHARED and files.tasks.is_like_process(files.task(call.tracee))
        return None if is_alike else call.run()
    task = files.task(call.tracee)
    leaves = flags & CLONE_NEWNET and task.stacks
    if not (shared or leaves) and files.tasks.is_plain(task):
        return None
    return call.run()


def _in_new_namespace(files: Files, call: Request, divided: int, flags: int) -> Outcome:
    """Namespaces of mounts and names are the view's alone: the kernel makes none, the child gets copies."""
    if divided & CLONE_NEWNS and flags & CLONE_FS:
        raise fail(errno.EINVAL)
    task = files.task(call.tracee)
    task.divides = divided
    try:
        return _without(call, divided).run()
    finally:
        task.divides = 0


def _without(call: Request, flag: int) -> Request:
    if isinstance(call, Clone):
        return call.replace(flags=call.flags & ~flag)
    assert isinstance(call, Clone3)
    # Anything behind the part that is known stays in its place.
    size = max(call.size, 8)
    data = call.tracee.memory.read(call.arguments.address, size)
    flags = int.from_bytes(data[:8], "little") & ~flag
    return call.replace(arguments=call.tracee.memory.place(flags.to_bytes(8, "little") + data[8:]))


def _flags(call: Request) -> int:
    if isinstance(call, Clone):
        return call.flags
    try:
        return call.arguments.read().flags if isinstance(call, Clone3) else 0
    except OSError:
        return 0  # the kernel will say it


@answers(LandlockRestrictSelf)
def restrict(files: Files, call: LandlockRestrictSelf) -> Outcome:
    """From now on there may be programs that may do less than we: nothing is done in a program's stead."""
    files.act_no_more()
    return None
