"""Again: tables of mounts that a program has open tell of a mount that it has made since.

The kernel makes them as they are read.  Ours are made when they are opened; so when somebody mounts, those
that he has open get another content, and whoever shares them reads on in that.  That is done where programs
rely on it: for a mount on the root, of which nothing else tells (`fusermount3` finds out so what is mounted
by what name).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from diorama.dispatch.files.generated import TABLES, renew_memory, subject_of
from diorama.engine.taking import descriptors_of, taken

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.files.state import Files
    from diorama.view.task import Task

__all__ = ["show_again"]


def show_again(files: Files, tracee: Tracee) -> None:
    """Let all tables of mounts that a process has open be those of now; what is mounted is so in any case."""
    if files.generated.is_empty:
        return
    task = files.task(tracee)
    for number in descriptors_of(task.tid):
        if files.generated.behind(files.host, b"/proc/%d/fd/%d" % (task.tid, number)) is not None:
            with contextlib.suppress(OSError):  # there is no room for it, or it is closed by now
                _renew(files, task, number)


def _renew(files: Files, task: Task, number: int) -> None:
    """As what has that number when we take it: another thread may give it to something else at any time."""
    with taken(task.tid, task.pid, number) as table:
        path = files.generated.find(os.fstat(table))
        subject = None if path is None else subject_of(files, task, path)
        if subject is not None and subject.name in TABLES:
            renew_memory(files, subject, table)
