"""Tracing: who may look into whom, ptrace(2), "ptrace access mode checking"."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

from diorama.abi.capability import CAP_SYS_PTRACE
from diorama.catalogue.processes import (
    GetRobustList,
    KCmp,
    PidFdGetFd,
    ProcessMAdvise,
    ProcessMRelease,
    ProcessVmReadV,
    ProcessVmWriteV,
    Ptrace,
)
from diorama.catalogue.scheduling import MigratePages, MovePages
from diorama.dispatch.identity.answers import Outcome, answers, fail
from diorama.engine.taking import process_behind

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.identity.state import Identities

_ATTACHING: Final = (16, 0x4206)  # PTRACE_ATTACH, PTRACE_SEIZE


@answers(Ptrace)
def ptrace(identities: Identities, call: Ptrace) -> Outcome:
    """Attaching; the rest is for who has attached already."""
    if call.operation in _ATTACHING:
        _check(identities, call.tracee, call.pid)
    return None


@answers(GetRobustList, MigratePages, MovePages, ProcessVmReadV, ProcessVmWriteV)
def memory(identities: Identities, call: Any) -> Outcome:
    """The memory of a process, what is in it and where that is."""
    if call.pid:
        _check(identities, call.tracee, call.pid)
    return None


@answers(KCmp)
def compare(identities: Identities, call: KCmp) -> Outcome:
    """What two processes have in common."""
    _check(identities, call.tracee, call.first_pid)
    _check(identities, call.tracee, call.second_pid)
    return None


@answers(PidFdGetFd, ProcessMAdvise, ProcessMRelease)
def by_descriptor(identities: Identities, call: Any) -> Outcome:
    """Descriptors and memory of the process that a descriptor stands for."""
    pid = process_behind(call.tracee.tid, call.pidfd)
    if pid is not None:
        _check(identities, call.tracee, pid)
    return None


def _check(identities: Identities, tracee: Tracee, target: int) -> None:
    if target in (tracee.pid, tracee.tid):
        return
    other = identities.find(target)
    if other is None:
        return
    who = identities.of(tracee)
    if not who.may_trace(other) or (identities.is_closed(target) and not who.has(CAP_SYS_PTRACE)):
        raise fail(errno.EPERM)
