"""Inheritance: calls that make a child, where the engine does not tell of them.

A child whose making nobody has seen is somebody as whom programs begin.  So who is somebody else, if only in
this thread, has its call seen, which announces the child before its first instruction, threads too: each has
an identity of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diorama.catalogue.processes import Clone, Clone3, Fork, VFork
from diorama.dispatch.identity.answers import Outcome, answers

if TYPE_CHECKING:
    from diorama.catalogue.model import Request
    from diorama.dispatch.identity.state import Identities


@answers(Clone, Clone3, Fork, VFork)
def make_child(identities: Identities, call: Request) -> Outcome:
    """See the call if there is something to inherit."""
    files = identities.files
    task = files.task(call.tracee)
    if files.tells_execs or not (task.is_closed or identities.of_task(task) != identities.first):
        return None
    return call.run()
