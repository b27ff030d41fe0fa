"""Passing: descriptors that go from one process to another, by a message or by pidfd_getfd(2).

By which mount a directory was opened is remembered of the process that opened it.  One that receives it has
no note; so when it is sent, it is noted for all (`Opened.send`).  That would be wrong for those who have it
open already, plainly, so they are found and get a note that says so.  Finding them takes a look at all
descriptors of the view, once for each directory that is sent.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from diorama.abi.socket import sent_descriptors
from diorama.catalogue.processes import PidFdGetFd
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.through import unsee
from diorama.dispatch.files.whole import make_whole
from diorama.engine.descent import members
from diorama.engine.taking import descriptors_of
from diorama.errors import Unsupported

if TYPE_CHECKING:
    from diorama.abi.socket import MsgHdr
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.files.direct import DirectFile
    from diorama.dispatch.files.state import Files
    from diorama.view.task import ObjectId, Task

__all__ = ["note_sent"]

_CONTROL_MAX = 1 << 16


def note_sent(files: Files, tracee: Tracee, header: MsgHdr) -> None:
    """A message is to be sent: what of its descriptors was opened through a mount is noted for all."""
    task, opened = files.task(tracee), files.tasks.opened
    is_minded = opened.has_own(task) or len(files.direct) or len(files.lazy) or files.writes_through
    if not header.msg_control or not is_minded:
        return
    control = tracee.memory.read(header.msg_control, min(header.msg_controllen, _CONTROL_MAX))
    for fd in sent_descriptors(tracee.abi, control):
        _check_number("sendmsg", files.direct.find(task, fd))
        make_whole(files, task, "sendmsg", files.lazy.find(task, fd))
        unsee(files, task, "sendmsg", fd)
        identity = _identity(task.tid, fd)
        mount = None if identity is None else opened.find(task, identity)
        if identity is None or mount is None or opened.passed.get(identity) is mount:
            continue
        others = _plain_holders(files, identity, task.pid)
        opened.send(identity, mount)
        for other in others:
            opened.drop(other, identity)


def _check_number(call: str, file: DirectFile | None) -> None:
    """What is received has the lowest number, at which calls on such a file would not be seen."""
    if file is not None:
        raise Unsupported(call, "a file with direct input and output is not passed to others", errno.EINVAL)


def _plain_holders(files: Files, identity: ObjectId, sender: int) -> list[Task]:
    """All who have an object open and of whom nothing is known: they opened it plainly."""
    owners = [files.owner(pid, pid) for pid in members() - {sender} if _has_open(pid, identity)]
    return [one for one in owners if one is not None and files.tasks.opened.find(one, identity) is None]


def _has_open(pid: int, identity: ObjectId) -> bool:
    return any(_identity(pid, fd) == identity for fd in descriptors_of(pid))


def _identity(tid: int, fd: int) -> ObjectId | None:
    try:
        status = os.stat(f"/proc/{tid}/fd/{fd}")
    except OSError:
        return None
    return status.st_dev, status.st_ino


@answers(PidFdGetFd)
def take_descriptor(files: Files, call: PidFdGetFd) -> Outcome:
    """The taker knows of a descriptor what its owner knows."""
    task, opened = files.task(call.tracee), files.tasks.opened
    pid = _process_of(task.tid, call.pidfd)
    identity = None if pid is None else _identity(pid, call.fd)
    if identity is not None:
        _check_number(call.NAME, files.direct.at(identity))
        make_whole(files, task, call.NAME, files.lazy.at(identity))
    owner = None if pid is None else files.owner(pid, pid)
    if identity is None or owner is None or not opened.any(owner):
        return None
    mount = opened.find(owner, identity)
    if mount is not None:
        opened.add(task, identity, mount)
    else:
        opened.drop(task, identity)
    return None


def _process_of(tid: int, pidfd: int) -> int | None:
    try:
        with open(f"/proc/{tid}/fdinfo/{pidfd}", "rb") as info:
            found = [line for line in info if line.startswith(b"Pid:")]
    except OSError:
        return None
    pid = int(found[0].split()[1]) if found else 0
    return pid if pid > 0 else None
