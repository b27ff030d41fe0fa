"""Mediator: answers calls about time, after all handlers and before all else that a view virtualises.

Programs read clocks without the kernel, by the vDSO (vdso(7)), unless they do not find it.  So it is taken
out of what they are told when they begin (`diorama.dispatch.auxiliary`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from diorama.abi.elf import AT_SYSINFO_EHDR
from diorama.catalogue.sockets import GetSockOpt, SetSockOpt
from diorama.dispatch.clock.answers import ANSWERS, Outcome
from diorama.dispatch.clock.state import Clocks
from diorama.dispatch.subscription import ArgumentTest
from diorama.engine._native import TEST_EQ, TEST_NE

if TYPE_CHECKING:
    from diorama.catalogue.model import Request, Tracee
    from diorama.dispatch.auxiliary import Change
    from diorama.dispatch.files.state import Files
    from diorama.dispatch.subscription import Tests
    from diorama.engine.decider import Decider
    from diorama.view.task import Task

__all__ = ["ClockMediator"]

_SUBJECTS: Final = ("reading", "setting", "sockets", "timers", "waiting")
_NO_VDSO: Final = {AT_SYSINFO_EHDR: None}


class ClockMediator:
    """The clocks of one view; made before its programs run.  Answers are given on guardians."""

    decides = True

    def __init__(self, files: Files, decider: Decider) -> None:
        for subject in _SUBJECTS:
            import_module(f"diorama.dispatch.clock.{subject}")
        self.clocks = Clocks(files, decider)
        files.tasks.clock = files.synthetic.contents.clock = self.clocks.of_view
        files.auxiliary.changers.append(_without_vdso)
        self._has_files = False

    def requests(self) -> frozenset[type[Request]]:
        """What must be asked here."""
        from diorama.dispatch.clock.files import clock_files

        if not self._has_files:  # what others tell in them is known by now
            self._has_files = True
            files = self.clocks.files
            files.system.update(list(clock_files(self.clocks, files.system)))
        return frozenset(ANSWERS)

    @property
    def tests(self) -> Tests:
        """Most waits are without a time: then a pointer or a number is 0."""
        from diorama.dispatch.clock.sockets import TIMEOUTS

        first, *others = TIMEOUTS
        option = (ArgumentTest("option", TEST_EQ, first, tuple(others)),)
        timed = (ArgumentTest("timeout", TEST_NE, 0),)
        waits = {request: timed for request in ANSWERS if "timeout" in request.FIELDS}
        return {**waits, GetSockOpt: option, SetSockOpt: option}

    def answer(self, call: Any) -> Outcome:
        """Decide about a request."""
        return ANSWERS[type(call)](self.clocks, call)


def _without_vdso(_task: Task, _tracee: Tracee) -> Change:
    return _NO_VDSO
