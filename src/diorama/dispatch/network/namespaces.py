"""Namespaces: network namespaces of the kernel's, made by programs of a view that has networks.

Whoever gets one has left the networks of the view: its sockets are the kernel's own, in a namespace from
which nothing outside is reached; those that it has from before are still what they were.  Whether it may have
one is the kernel's to decide.  Nobody enters one that is none of the view's, since that would lead around its
networks; who comes back has those of the view again.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from diorama.abi.process import CLONE_NEWNET
from diorama.catalogue.processes import SetNs, Unshare
from diorama.dispatch.network.answers import Outcome, answers
from diorama.engine.taking import process_behind
from diorama.errors import Unsupported

if TYPE_CHECKING:
    from diorama.dispatch.network.state import Networks
    from diorama.view.stacks import Stacks
    from diorama.view.task import Task

__all__: list[str] = []


@answers(Unshare)
def unshare(networks: Networks, call: Unshare) -> Outcome:
    """The kernel's, and then the thread has left the networks of the view."""
    task = networks.task(call.tracee)
    if not (call.flags & CLONE_NEWNET and task.stacks):
        return None
    result = call.run()
    _have(networks, task, task.stacks.leave())
    return result


@answers(SetNs)
def enter_namespace(networks: Networks, call: SetNs) -> Outcome:
    """Enter a namespace of the view's, or come back to the one that it began in."""
    task = networks.task(call.tracee)
    target = _target(call)
    if not target.startswith("net:") or not (task.stacks or task.stacks.before):
        return None
    is_ours = target == _namespace("/proc/self/ns/net")
    others = [other for other in networks.files.tasks.all() if other.stacks.before is not None]
    if not is_ours and target not in [_namespace(f"/proc/{other.tid}/ns/net") for other in others]:
        raise Unsupported(call.NAME, "of a network that is none of the view's", errno.EPERM)
    result = call.run(type=call.type or CLONE_NEWNET)
    _have(networks, task, networks.files.tasks.stacks if is_ours else task.stacks.leave())
    return result


def _target(call: SetNs) -> str:
    """The network namespace that is to be entered, of a file of `/proc/PID/ns` or of a process (pidfd)."""
    pid = process_behind(call.tracee.tid, call.fd)
    if pid is None:
        return _namespace(f"/proc/{call.tracee.tid}/fd/{call.fd}")
    return _namespace(f"/proc/{pid}/ns/net") if call.type & CLONE_NEWNET else ""


def _namespace(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _have(networks: Networks, task: Task, stacks: Stacks) -> None:
    task.stacks = stacks
    files = networks.files
    files.changed(task)
    if task.tid != task.pid or len(os.listdir(f"/proc/{task.pid}/task")) > 1:
        files.on_division(task)
