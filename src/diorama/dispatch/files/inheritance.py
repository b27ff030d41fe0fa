"""Inheritance: calls that make a child, where the engine does not tell of them.

A child whose making nobody has seen is taken for plain (`diorama.view.task`).  So a parent that is not has
its call seen, which announces the child before its first instruction.  A thread needs no announcement: it
has the state of its process.  What shares a current directory or descriptors without being a thread, or is a
thread and does not, is always announced, since what becomes of the one later becomes of the other, or not.
"""

from __future__ import annotations

from typing import Final

from diorama.abi.process import CLONE_FILES, CLONE_FS, CLONE_THREAD
from diorama.catalogue.identity import LandlockRestrictSelf
from diorama.catalogue.model import Request
from diorama.catalogue.processes import Clone, Clone3, Fork, VFork
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.state import Files

UNTOLD = frozenset({Clone, Clone3, Fork, VFork, LandlockRestrictSelf})
"""What must be asked only if the engine tells of no clones."""

_SHARED: Final = CLONE_FS | CLONE_FILES


@answers(Clone, Clone3, Fork, VFork)
def make_child(files: Files, call: Request) -> Outcome:
    """See the call if there is something to inherit, or to share."""
    flags = _flags(call)
    shared = flags & _SHARED
    if flags & CLONE_THREAD:
        return None if shared == _SHARED else call.run()
    if not shared and files.tasks.is_plain(files.task(call.tracee)):
        return None
    return call.run()


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
