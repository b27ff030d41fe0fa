"""Mediator: answers calls about the system's names and limits, after all handlers and before the file tree.

The answers are in the files of this folder; here is what must be seen for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from diorama.abi.process import CLONE_NEWUTS
from diorama.catalogue.processes import SetNs, Unshare
from diorama.catalogue.scheduling import SchedGetAffinity, SchedSetAffinity
from diorama.catalogue.system import SetDomainName, SetHostName, Sysinfo, Uname
from diorama.dispatch.names.answers import ANSWERS, Outcome
from diorama.dispatch.names.state import Names
from diorama.dispatch.subscription import ArgumentTest
from diorama.engine._native import TEST_BITS

if TYPE_CHECKING:
    from diorama.catalogue.model import Request
    from diorama.dispatch.files.state import Files
    from diorama.dispatch.subscription import Tests
    from diorama.view.system import System

__all__ = ["NamesMediator"]

_SUBJECTS: Final = ("cpus", "memory", "namespaces", "naming")
_NAMES: Final = frozenset[type["Request"]]({SetDomainName, SetHostName, SetNs, Uname, Unshare})
_CPUS: Final = frozenset[type["Request"]]({SchedGetAffinity, SchedSetAffinity})


class NamesMediator:
    """The system that one view tells of; made before its programs run.  Answers are given on guardians."""

    decides = False

    def __init__(self, files: Files, system: System) -> None:
        for subject in _SUBJECTS:
            import_module(f"diorama.dispatch.names.{subject}")
        from diorama.dispatch.names.cpus import cpu_files
        from diorama.dispatch.names.memory import memory_files
        from diorama.dispatch.names.naming import naming_files

        self.names = Names(files, system)
        if system.has_names:
            files.system.update(naming_files(self.names))
        files.system.update(cpu_files(self.names))
        files.system.update(memory_files(self.names))

    def requests(self) -> frozenset[type[Request]]:
        """What must be asked here."""
        system = self.names.system
        wanted = _NAMES if system.has_names else frozenset[type["Request"]]()
        if system.cpus is not None:
            wanted |= _CPUS
        return wanted | {Sysinfo} if system.memory is not None else wanted

    @property
    def tests(self) -> Tests:
        """Namespaces of other things are none of ours."""
        return {Unshare: (ArgumentTest("flags", TEST_BITS, CLONE_NEWUTS),)}

    def answer(self, call: Any) -> Outcome:
        """Decide about a request."""
        return ANSWERS[type(call)](self.names, call)
