"""Namespaces: those of names (uts_namespaces(7)), which are the view's; the kernel makes none.

Everybody may have one, as everybody may mount.  What is asked for besides is the kernel's to decide.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from diorama.abi.process import CLONE_NEWUTS
from diorama.catalogue.processes import SetNs, Unshare
from diorama.dispatch.names.answers import Outcome, answers
from diorama.dispatch.names.state import Names

if TYPE_CHECKING:
    from diorama.view.task import Task
    from diorama.view.uts import Uts

_PIDFD: Final = re.compile(rb"^Pid:\t(\d+)$", re.MULTILINE)


@answers(Unshare)
def unshare(names: Names, call: Unshare) -> Outcome:
    """The thread gets a namespace of its own, after the kernel has done the rest."""
    if not (call.flags & CLONE_NEWUTS and names.system.has_names):
        return None
    rest = call.flags & ~CLONE_NEWUTS
    result = call.run(flags=rest) if rest else 0
    _enter(names, names.task(call.tracee), names.uts(names.task(call.tracee)).copy())
    return result


@answers(SetNs)
def enter_namespace(names: Names, call: SetNs) -> Outcome:
    """Enter the namespace that a descriptor of /proc/PID/ns/uts, or of a process, stands for."""
    if not names.system.has_names or (call.type and call.type != CLONE_NEWUTS):
        return None
    task = names.task(call.tracee)
    found = _find(names, task, call)
    if found is None:
        return None
    _enter(names, task, found)
    return 0


def _find(names: Names, task: Task, call: SetNs) -> Uts | None:
    path = f"/proc/{task.tid}/fd/{call.fd}"
    try:
        status = os.stat(path)
        own = os.stat("/proc/self/ns/uts")
        if (status.st_dev, status.st_ino) == (own.st_dev, own.st_ino):
            return names.first
        for other in names.files.tasks.all():
            if other.uts is not None and other.uts.fd >= 0:
                known = os.fstat(other.uts.fd)
                if (status.st_dev, status.st_ino) == (known.st_dev, known.st_ino):
                    return other.uts
        return _of_process(names, task, call) if call.type else None
    except OSError:
        return None  # the kernel says it


def _of_process(names: Names, task: Task, call: SetNs) -> Uts | None:
    with open(f"/proc/{task.tid}/fdinfo/{call.fd}", "rb") as file:
        match = _PIDFD.search(file.read())
    owner = None if match is None else names.files.owner(int(match[1]), int(match[1]))
    return None if owner is None else names.uts(owner)


def _enter(names: Names, task: Task, uts: Uts) -> None:
    files = names.files
    task.uts = uts
    files.changed(task)
    if task.tid != task.pid or len(os.listdir(f"/proc/{task.pid}/task")) > 1:
        files.on_division(task)
