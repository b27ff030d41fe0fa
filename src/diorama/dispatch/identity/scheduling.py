"""Scheduling: who may set priorities, processors and limits of whom (setpriority(2), sched(7), prlimit(2)).

To the kernel all of a view are one user, who may do this to each of them.  So what Linux would refuse is
refused here, and "all processes of a user" are those of the view that are that user, one by one.
"""

from __future__ import annotations

import errno
import os
import resource
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from diorama.abi.capability import CAP_SYS_ADMIN, CAP_SYS_NICE, CAP_SYS_RESOURCE
from diorama.catalogue.processes import GetPriority, Nice, PrLimit64, SetPriority, SetRLimit
from diorama.catalogue.scheduling import (
    IoPrioGet,
    IoPrioSet,
    SchedSetAffinity,
    SchedSetAttr,
    SchedSetParam,
    SchedSetScheduler,
)
from diorama.dispatch.identity.answers import Outcome, answers, fail
from diorama.dispatch.identity.signals import in_group
from diorama.engine.descent import members

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diorama.catalogue.model import Tracee
    from diorama.dispatch.identity.state import Identities
    from diorama.view.identity import Identity

_NICEST, _LEAST_NICE = 19, -20
_REALTIME: Final = (os.SCHED_FIFO, os.SCHED_RR)
_DEADLINE: Final = 6
_FAIR: Final = (os.SCHED_OTHER, os.SCHED_BATCH)
_POLICIES: Final = (-1, *_FAIR, *_REALTIME, os.SCHED_IDLE, _DEADLINE)
_RESETS: Final = os.SCHED_RESET_ON_FORK
_AS_IT_IS: Final = -1
_PRIORITIES: Final = range(1, 100)
_ATTRIBUTES: Final = struct.Struct("=IIQiI")
_ATTR_RESETS, _KEEP_POLICY, _KEEP_PARAMETERS = 0x01, 0x08, 0x10
_IO_PROCESS, _IO_GROUP, _IO_USER = 1, 2, 3
_IO_CLASS_SHIFT, _IO_REALTIME = 13, 1


# -- setpriority ----------------------------------------------------------------------------------


@answers(SetPriority)
def set_priority(identities: Identities, call: SetPriority) -> Outcome:
    """Of a thread, a process group, or all processes of a user."""
    nice = max(_LEAST_NICE, min(_NICEST, call.nice))
    if call.which == os.PRIO_PROCESS:
        _check_nice(identities, call.tracee, call.who or call.tracee.tid, nice)
        return None
    if call.which not in (os.PRIO_PGRP, os.PRIO_USER):
        return None
    found, refusal = False, 0
    is_user = call.which == os.PRIO_USER
    uid = call.who or identities.of(call.tracee).uid
    for tid in _of_user(identities, uid) if is_user else _of_group(call.who, call.tracee):
        try:
            _check_nice(identities, call.tracee, tid, nice)
            call.replace(which=os.PRIO_PROCESS, who=tid).run()
            found = True
        except OSError as error:
            refusal = refusal if error.errno == errno.ESRCH else error.errno or 0
    if refusal or not found:
        raise fail(refusal or errno.ESRCH)
    return 0


@answers(GetPriority)
def get_priority(identities: Identities, call: GetPriority) -> Outcome:
    """The highest one of all processes of a user."""
    if call.which != os.PRIO_USER:
        return None
    highest = 0
    for tid in _of_user(identities, call.who or identities.of(call.tracee).uid):
        try:
            highest = max(highest, 20 - os.getpriority(os.PRIO_PROCESS, tid))
        except ProcessLookupError:
            continue
    if not highest:
        raise fail(errno.ESRCH)
    return highest


@answers(Nice)
def nice(identities: Identities, call: Nice) -> Outcome:
    """Of the caller: EPERM for what `setpriority` refuses with EACCES."""
    wanted = os.getpriority(os.PRIO_PROCESS, call.tracee.tid) + max(-40, min(40, call.increment))
    if call.increment < 0 and not _may_be_as(identities.of(call.tracee), call.tracee.tid, wanted):
        raise fail(errno.EPERM)
    return None


def _check_nice(identities: Identities, tracee: Tracee, tid: int, nice: int) -> None:
    who, other = identities.of(tracee), identities.find(tid)
    if other is None:
        return
    if not (who.euid in (other.uid, other.euid) or who.has(CAP_SYS_NICE)):
        raise fail(errno.EPERM)
    try:
        is_less = nice < os.getpriority(os.PRIO_PROCESS, tid)
    except OSError:
        return
    if is_less and not _may_be_as(who, tid, nice):
        raise fail(errno.EACCES)


def _may_be_as(who: Identity, tid: int, nice: int) -> bool:
    """Whether somebody may let a thread have this nice value, which is lower than what it has."""
    return who.has(CAP_SYS_NICE) or 20 - nice <= _limit(tid, resource.RLIMIT_NICE)


def _limit(tid: int, which: int) -> int:
    try:
        soft = resource.prlimit(tid, which)[0]
    except OSError:
        return 0
    return 100 if soft == resource.RLIM_INFINITY else soft


def _of_group(group: int, tracee: Tracee) -> Iterator[int]:
    """The threads of a process group; 0 is one's own."""
    for pid in in_group(group, tracee):
        yield from _threads(pid)


def _of_user(identities: Identities, uid: int) -> Iterator[int]:
    """The threads of a user."""
    for tid in [tid for pid in sorted(members()) for tid in _threads(pid)]:
        other = identities.find(tid)
        if other is not None and other.uid == uid:
            yield tid


def _threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


# -- sched_setscheduler ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wish:
    """How a thread is to be scheduled."""

    policy: int
    priority: int
    nice: int | None = None
    resets: bool = False


@answers(SchedSetScheduler)
def set_scheduler(identities: Identities, call: SchedSetScheduler) -> Outcome:
    """By another policy."""
    if not call.priority:
        return None
    wish = _Wish(call.policy & ~_RESETS, call.priority.read().value, resets=bool(call.policy & _RESETS))
    return _schedule(identities, call, wish)


@answers(SchedSetParam)
def set_parameter(identities: Identities, call: SchedSetParam) -> Outcome:
    """With another priority."""
    if not call.priority:
        return None
    return _schedule(identities, call, _Wish(_AS_IT_IS, call.priority.read().value))


@answers(SchedSetAttr)
def set_attributes(identities: Identities, call: SchedSetAttr) -> Outcome:
    """With all that belongs to it."""
    data = call.tracee.memory.read(call.attributes, _ATTRIBUTES.size) if call.attributes else b""
    if len(data) < _ATTRIBUTES.size:
        return None
    _, policy, flags, nice, priority = _ATTRIBUTES.unpack(data)
    if flags & _KEEP_POLICY:
        policy = _AS_IT_IS
    if flags & _KEEP_PARAMETERS:
        return _schedule(identities, call, _Wish(policy, 0, None, bool(flags & _ATTR_RESETS)))
    return _schedule(identities, call, _Wish(policy, priority, nice, bool(flags & _ATTR_RESETS)))


@answers(SchedSetAffinity)
def set_affinity(identities: Identities, call: SchedSetAffinity) -> Outcome:
    """On other processors."""
    tid = call.pid or call.tracee.tid
    other = identities.find(tid)
    if tid != call.tracee.tid and other is not None and not identities.of(call.tracee).may_schedule(other):
        raise fail(errno.EPERM)
    return None


def _schedule(identities: Identities, call: Any, wish: _Wish) -> Outcome:
    """EPERM unless that may be; what makes no sense is the kernel's to refuse."""
    tid, who = call.pid or call.tracee.tid, identities.of(call.tracee)
    makes_sense = tid > 0 and wish.policy in _POLICIES
    other = identities.find(tid) if makes_sense and not who.has(CAP_SYS_NICE) else None
    if other is not None and not (who.may_schedule(other) and _is_allowed(who, tid, wish)):
        raise fail(errno.EPERM)
    return None


def _is_allowed(who: Identity, tid: int, wish: _Wish) -> bool:
    """What sched(7) lets those without privileges do, "privileges and resource limits"."""
    try:
        now = os.sched_getscheduler(tid)
        priority = os.sched_getparam(tid).sched_priority
        nice = os.getpriority(os.PRIO_PROCESS, tid)
    except OSError:
        return True
    before, policy = now & ~_RESETS, wish.policy
    if policy == _AS_IT_IS:
        policy = before
    if now & _RESETS and not wish.resets and wish.policy != _AS_IT_IS:
        return False
    if policy in _REALTIME:
        return _may_hurry(tid, wish.priority, priority, is_new=policy != before)
    if policy in _FAIR and wish.nice is not None and wish.nice < nice:
        return _may_be_as(who, tid, wish.nice)
    if before == os.SCHED_IDLE != policy:
        return _may_be_as(who, tid, nice)
    return policy != _DEADLINE


def _may_hurry(tid: int, wanted: int, now: int, *, is_new: bool) -> bool:
    limit = _limit(tid, resource.RLIMIT_RTPRIO)
    if wanted not in _PRIORITIES:
        return True
    return not (is_new and not limit) and (wanted <= now or wanted <= limit)


# -- ioprio_set -----------------------------------------------------------------------------------


@answers(IoPrioSet)
def set_io_priority(identities: Identities, call: IoPrioSet) -> Outcome:
    """Of a thread, a process group, or all processes of a user."""
    who = identities.of(call.tracee)
    is_realtime = call.priority >> _IO_CLASS_SHIFT & 7 == _IO_REALTIME
    if is_realtime and not (who.has(CAP_SYS_ADMIN) or who.has(CAP_SYS_NICE)):
        raise fail(errno.EPERM)
    if call.which == _IO_PROCESS:
        _check_io(identities, who, call.who or call.tracee.tid)
        return None
    if call.which not in (_IO_GROUP, _IO_USER):
        return None
    found, is_user = False, call.which == _IO_USER
    # The user 0 is root here, and not one's own as for setpriority.
    for tid in _of_user(identities, call.who) if is_user else _of_group(call.who, call.tracee):
        _check_io(identities, who, tid)
        try:
            call.replace(which=_IO_PROCESS, who=tid).run()
        except ProcessLookupError:
            continue
        found = True
    if not found:
        raise fail(errno.ESRCH)
    return 0


@answers(IoPrioGet)
def get_io_priority(identities: Identities, call: IoPrioGet) -> Outcome:
    """The best one of all processes of a user."""
    if call.which != _IO_USER:
        return None
    found: list[int] = []
    for tid in _of_user(identities, call.who):
        try:
            found.append(call.replace(which=_IO_PROCESS, who=tid).run())
        except ProcessLookupError:
            continue
    if not found:
        raise fail(errno.ESRCH)
    return min(found)


def _check_io(identities: Identities, who: Identity, tid: int) -> None:
    other = identities.find(tid)
    if other is not None and other.uid not in (who.uid, who.euid) and not who.has(CAP_SYS_NICE):
        raise fail(errno.EPERM)


# -- limits ---------------------------------------------------------------------------------------


@answers(PrLimit64)
def process_limit(identities: Identities, call: PrLimit64) -> Outcome:
    """A limit of a process."""
    tid, who = call.pid or call.tracee.tid, identities.of(call.tracee)
    wanted = call.new.read() if call.new else None
    if who.has(CAP_SYS_RESOURCE):
        return None
    other = None if tid in (call.tracee.tid, call.tracee.pid) else identities.find(tid)
    if other is not None and not who.may_limit(other):
        raise fail(errno.EPERM)
    if wanted is not None:
        _check_limit(tid, call.resource, wanted.rlim_cur, wanted.rlim_max)
    return None


@answers(SetRLimit)
def set_limit(identities: Identities, call: SetRLimit) -> Outcome:
    """A limit of the process itself."""
    if identities.of(call.tracee).has(CAP_SYS_RESOURCE):
        return None
    wanted = call.limit.read()
    most = (1 << 8 * call.tracee.abi.word) - 1
    hard = resource.RLIM_INFINITY if wanted.rlim_max == most else wanted.rlim_max
    _check_limit(call.tracee.pid, call.resource, wanted.rlim_cur, hard)
    return None


def _check_limit(tid: int, which: int, soft: int, hard: int) -> None:
    """EPERM for a hard limit that is higher than the one there is."""
    hard, soft = [-1 if one == (1 << 64) - 1 else one for one in (hard, soft)]
    if hard != -1 and (soft == -1 or soft > hard):
        return  # EINVAL
    try:
        now = resource.prlimit(tid, which)[1]
    except (OSError, ValueError):
        return
    if now != resource.RLIM_INFINITY and (hard == -1 or hard > now):
        raise fail(errno.EPERM)
