"""State: who is who in a view in which programs run as a user that was chosen.

What a task is stands in the task (`Task.identity`), inherited and executed with it.  A task of which nobody
has told has the identity with which programs begin, since all others are announced when they are made.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from diorama.abi.capability import CAP_SETGID, CAP_SETUID
from diorama.dispatch.identity.meeting import Meetings
from diorama.engine.descent import descends
from diorama.view.identity import Identity, Mapping

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.files.state import Files
    from diorama.view.task import Task

__all__ = ["Identities", "host_identity", "make_mapping"]


class Identities:
    """The identities of one view: `first` is the one that programs begin with.  Any thread."""

    def __init__(self, files: Files, first: Identity) -> None:
        self.files = files
        self.first = first
        self.runs_as = (first.uid, first.gid, first.groups) if _may_be(files, first) else None
        self.on_host = self.runs_as[:2] if self.runs_as else (os.getuid(), os.getgid())
        """User and group that all programs have on the host."""
        self.mapping = make_mapping(first, *self.on_host)
        self.is_told = False
        """Whether somebody asks to be told who sends messages (SO_PASSCRED)."""
        self.said: dict[int, tuple[int, int, int]] = {}
        """As whom processes have sent messages, if they have said so (SCM_CREDENTIALS)."""
        self.meetings = Meetings()

    def task(self, tracee: Tracee) -> Task:
        """The task of a tracee."""
        return self.files.task(tracee)

    def of(self, tracee: Tracee) -> Identity:
        """Who a tracee is."""
        return self.of_task(self.files.task(tracee))

    def of_task(self, task: Task) -> Identity:
        """Who a task is."""
        return task.identity or self.first

    def change(self, tracee: Tracee, identity: Identity) -> None:
        """A tracee is somebody else from now on."""
        task = self.files.task(tracee)
        if identity.closes_memory(self.of_task(task)):
            self.close(task)
        self.files.change_identity(task, identity)

    def close(self, task: Task, *, closed: bool = True) -> None:
        """Others may not look into the process of a task from now on, or may again."""
        for one in self.files.tasks.all():
            if one.pid == task.pid:
                one.is_closed = closed

    def is_closed(self, pid: int) -> bool:
        """Whether others of its user may not look into a process."""
        task = self.files.tasks.find(pid)
        return task is not None and task.is_closed

    def find(self, tid: int) -> Identity | None:
        """Who a thread is, also one outside of the view; None if there is none of this id."""
        task = self.files.tasks.find(tid)
        if task is not None:
            return self.of_task(task)
        try:
            return self.first if descends(tid) else self._outside(tid)
        except OSError:
            return None

    def _outside(self, tid: int) -> Identity:
        return host_identity(tid, self.mapping)


def _may_be(files: Files, first: Identity) -> bool:
    """Whether programs are to be this user on the host, too, so that it sees to permissions.

    Only if the supervisor may make them that, and nothing is mounted where it is we who see to permissions.
    """
    if first.uid == 0 or any(mount.owners or mount.layers for mount in files.tree.mounts):
        return False
    ours = files.host.credentials(os.getpid())
    return ours.has(CAP_SETUID) and ours.has(CAP_SETGID)


def make_mapping(first: Identity, uid: int, gid: int) -> Mapping:
    """How the ids of the host are shown to programs that begin with this identity, and are these there."""
    if uid == 0:
        return Mapping(uid, gid, uid, gid)
    return Mapping(uid, gid, first.uid, first.gid)


def host_identity(tid: int, mapping: Mapping) -> Identity:
    """Who a thread is on the host (proc(5)), as that is shown in the view; `OSError` if there is none."""
    with open(f"/proc/{tid}/status", "rb") as file:
        lines = dict(line.split(b":", 1) for line in file if b":" in line)
    uid, euid, suid, fsuid = [mapping.user(int(word)) for word in lines[b"Uid"].split()]
    gid, egid, sgid, fsgid = [mapping.group(int(word)) for word in lines[b"Gid"].split()]
    groups = tuple(sorted(mapping.group(int(word)) for word in lines[b"Groups"].split()))
    permitted, effective = int(lines[b"CapPrm"], 16), int(lines[b"CapEff"], 16)
    return Identity(
        uid, euid, suid, fsuid, gid, egid, sgid, fsgid, groups, permitted=permitted, effective=effective
    )
