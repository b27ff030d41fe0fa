"""Again: tables of mounts that a program has open tell of a mount that it has made since.

The kernel makes them as they are read.  Ours are made when they are opened; so who has one and mounts gets
another in its place, with the same offset.  That is done where programs rely on it: for a mount on the root,
of which nothing else tells (`fusermount3` finds out so what is mounted by what name).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import O_CLOEXEC
from diorama.dispatch.files.generated import open_memory, subject_of
from diorama.engine.taking import descriptors_of, taken

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.files.generated import Subject
    from diorama.dispatch.files.state import Files

__all__ = ["show_again"]

_TABLES: Final = (b"mountinfo", b"mounts", b"mountstats")


def show_again(files: Files, tracee: Tracee) -> None:
    """Let all tables of mounts that a process has open be those of now; what is mounted is so in any case."""
    if files.generated.is_empty:
        return
    task = files.task(tracee)
    for number in descriptors_of(task.tid):
        path = files.generated.behind(files.host, b"/proc/%d/fd/%d" % (task.tid, number))
        subject = None if path is None else subject_of(files, task, path)
        if subject is not None and subject.name in _TABLES:
            with contextlib.suppress(OSError):  # there is no room for it, or it is closed by now
                _replace(files, tracee, number, subject)


def _replace(files: Files, tracee: Tracee, number: int, subject: Subject) -> None:
    task = files.task(tracee)
    flags = files.tasks.flags(task, number)
    made = open_memory(files, subject, flags)
    try:
        with taken(task.tid, task.pid, number) as before:
            os.lseek(made, os.lseek(before, 0, os.SEEK_CUR), os.SEEK_SET)
        low = tracee.give(made, cloexec=True)
    finally:
        os.close(made)
    try:
        tracee.syscall.dup3(low, number, flags & O_CLOEXEC)
    finally:
        tracee.syscall.close(low)
