"""State: what a view tells of its system."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from diorama.view.system import Cpus
from diorama.view.uts import Uts

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.files.state import Files
    from diorama.view.system import System
    from diorama.view.task import Task

__all__ = ["Names"]


class Names:
    """The system that is told of in one view.  Any thread."""

    def __init__(self, files: Files, system: System) -> None:
        self.files = files
        self.system = system
        own = os.uname()
        self.fixed = {
            name: os.fsencode(getattr(system, name) or getattr(own, name))
            for name in ("sysname", "release", "version", "machine")
        }
        """The names that are the same in every namespace."""
        nodename = os.fsencode(system.nodename or own.nodename)
        self.first = Uts(nodename, os.fsencode(system.domainname or _domain()))
        if system.has_names:
            files.tasks.uts = self.first
        if system.cpus is not None:
            files.tasks.cpus = Cpus(system.cpus, (1 << system.cpus) - 1)

    def task(self, tracee: Tracee) -> Task:
        """The task of a tracee."""
        return self.files.task(tracee)

    def uts(self, task: Task) -> Uts:
        """The namespace of a task."""
        return task.uts or self.first


def _domain() -> str:
    with open("/proc/sys/kernel/domainname") as file:
        return file.read().rstrip("\n")
