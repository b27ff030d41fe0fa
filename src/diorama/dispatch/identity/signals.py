"""Signals: who may send one to whom, kill(2).

The kernel, to which all processes of a view are one user's, lets each send to all.  Here it is asked only for
targets to which Linux would let the sender send.  A signal to "all" is for those in the view.
"""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING, Final

from diorama.abi.capability import CAP_KILL
from diorama.catalogue.signals import Kill, PidFdSendSignal, RtSigQueueInfo, RtTgSigQueueInfo, TgKill, TKill
from diorama.dispatch.identity.answers import Outcome, answers, fail
from diorama.engine.descent import members
from diorama.engine.taking import process_behind

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.identity.state import Identities

__all__ = ["in_group"]

_LAST_SIGNAL: Final = 64
_GROUP, _SESSION = 2, 3
"""Fields of `/proc/PID/stat` behind the name of the program (proc(5))."""


@answers(Kill)
def kill(identities: Identities, call: Kill) -> Outcome:
    """To a process, a process group, or all."""
    if not 0 <= call.signal <= _LAST_SIGNAL:
        return None
    if call.pid > 0:
        _check(identities, call.tracee, call.pid, call.signal)
        return None
    if call.pid != -1 and identities.of(call.tracee).has(CAP_KILL):
        return None
    addressed = sorted(members() - {call.tracee.pid}) if call.pid == -1 else in_group(-call.pid, call.tracee)
    return _send_each(identities, call, addressed)


def in_group(number: int, tracee: Tracee) -> list[int]:
    """The processes of a group; 0 is a tracee's own."""
    group = number or _field(tracee.pid, _GROUP)
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return [pid for pid in pids if _field(pid, _GROUP) == group]


def _send_each(identities: Identities, call: Kill, pids: list[int]) -> int:
    """One by one to those to whom it may: an error only if there is nobody."""
    allowed = [pid for pid in pids if _may(identities, call.tracee, pid, call.signal)]
    sent = 0
    mine = [pid for pid in allowed if pid == call.tracee.pid]
    for pid in [pid for pid in allowed if pid not in mine] + mine:
        try:
            call.replace(pid=pid).run()
            sent += 1
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise
    if sent:
        return 0
    raise fail(errno.EPERM if pids else errno.ESRCH)


@answers(TKill, TgKill, RtTgSigQueueInfo)
def tkill(identities: Identities, call: TKill | TgKill | RtTgSigQueueInfo) -> Outcome:
    """To a thread."""
    _check(identities, call.tracee, call.tid, call.signal)
    return None


@answers(RtSigQueueInfo)
def sigqueue(identities: Identities, call: RtSigQueueInfo) -> Outcome:
    """To a process, with something to tell."""
    _check(identities, call.tracee, call.pid, call.signal)
    return None


@answers(PidFdSendSignal)
def send_by_descriptor(identities: Identities, call: PidFdSendSignal) -> Outcome:
    """To the process that a descriptor stands for."""
    pid = process_behind(call.tracee.tid, call.pidfd)
    if pid is not None:
        _check(identities, call.tracee, pid, call.signal)
    return None


def _check(identities: Identities, tracee: Tracee, target: int, number: int) -> None:
    if 0 <= number <= _LAST_SIGNAL and not _may(identities, tracee, target, number):
        raise fail(errno.EPERM)


def _may(identities: Identities, tracee: Tracee, target: int, number: int) -> bool:
    """Whether the kernel may be asked; it knows best whether there is a target."""
    if target in (tracee.tid, tracee.pid):
        return True
    other = identities.find(target)
    if other is None or identities.of(tracee).may_signal(other) or _is_in_process(target, tracee.pid):
        return True
    return number == signal.SIGCONT and _field(target, _SESSION) == _field(tracee.pid, _SESSION)


def _is_in_process(tid: int, pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}/task/{tid}")


def _field(pid: int, index: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[index])
    except OSError:
        return None
