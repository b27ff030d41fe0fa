"""Flags: what only the owner of a file may set of how it is open (F_SETFL, fcntl(2))."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from diorama.abi import fcntl as abi
from diorama.catalogue.io import Fcntl
from diorama.dispatch.files.owned import look, open_place
from diorama.dispatch.identity.answers import Outcome, answers, fail

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.dispatch.identity.state import Identities
    from diorama.view.filesystem import Attributes
    from diorama.view.task import Task


@answers(Fcntl)
def set_flags(identities: Identities, call: Fcntl) -> Outcome:
    """Reading that leaves the time of access as it is: EPERM for others than the owner.

    The kernel itself refuses it for files that are not the supervisor's own.
    """
    if call.command != abi.F_SETFL or not call.argument & abi.O_NOATIME:
        return None
    files, task = identities.files, identities.task(call.tracee)
    try:
        attributes = _attributes(files, task, call.fd)
        is_set = bool(files.tasks.flags(task, call.fd) & abi.O_NOATIME)
    except OSError:
        return None
    if attributes is not None and not is_set and not files.tasks.credentials(task).owns(attributes):
        raise fail(errno.EPERM)
    return None


def _attributes(files: Files, task: Task, fd: int) -> Attributes | None:
    """Those of a file of which the view tells other ones than the kernel."""
    virtual = files.tasks.virtual(task, fd)
    if virtual is not None and virtual.filesystem is not None:
        return files.synthetic.attributes(virtual.filesystem, virtual.inode)
    place = open_place(files, task, fd)
    return None if place is None else look(place).attributes
