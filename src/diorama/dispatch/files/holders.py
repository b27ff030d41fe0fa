"""Holders: whether somebody still stands in a mount, or has something of it open, mapped or running.

The kernel keeps the books, so they are read where the kernel shows them: the links of `/proc/PID`.  What
stands for a virtual file is known by its identity, whichever process has it.  How a file of the host was
reached is known of a current directory, a root, an executable and an open directory; a file that was opened
through a mount of the host, and is the program's own, does not keep the mount busy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from diorama.engine.descent import filters_of

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.view.host import Status
    from diorama.view.mounts import Mount, Place
    from diorama.view.task import Task

__all__ = ["ended", "held_mounts", "lives", "processes"]


def held_mounts(files: Files, mounts: set[Mount]) -> set[Mount]:
    """Those of some mounts that are in use."""
    if not mounts:
        return set()
    found = {mount for task in files.tasks.all() if lives(task) for mount in _of_task(files, task)}
    found |= files.held_besides(mounts)
    if len(files.inodes):
        found |= {place.mount for place in _virtual(files)}
    return found & mounts


def lives(task: Task) -> bool:
    """Whether its first thread or itself has not ended: what has ended holds nothing (proc(5))."""
    try:
        return bool(os.readlink(f"/proc/{task.tid}/cwd"))
    except PermissionError:
        return True
    except OSError:
        return False


def ended(tasks: Iterable[Task]) -> bool:
    """Whether these tasks have ended, and all threads of their processes, of which nobody need have told."""
    return not any(lives(task) or _has_threads(task.pid) for task in tasks)


def _has_threads(pid: int) -> bool:
    """Whether a process has threads besides the first one, which may have ended before them."""
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def _of_task(files: Files, task: Task) -> Iterator[Mount]:
    """The mounts by which a task has come to what it holds of the host."""
    yield task.context.cwd_mount
    yield task.context.root.mount
    for program in (task.executable, task.pending):
        if program is not None:
            yield program.mount
    if not files.tasks.opened.any(task):
        return
    for status in _statuses(task.tid, _descriptors(task.tid)):
        mount = files.tasks.opened.find(task, (status.st_dev, status.st_ino))
        if mount is not None:
            yield mount


def _virtual(files: Files) -> Iterator[Place]:
    """The virtual objects that somebody has."""
    for pid in processes(files):
        for status in _statuses(pid, [*_descriptors(pid), "cwd", "root", "exe"]):
            place = files.inodes.find(status)
            if place is not None:
                yield place
        for device, inode in _mapped(pid):
            place = files.inodes.mapped(device, inode)
            if place is not None:
                yield place


def processes(files: Files) -> Iterator[int]:
    """Those that are known, and all that have a filter which we have not: some of them are not told of."""
    known = {task.pid for task in files.tasks.all()}
    yield from known
    ours = filters_of(os.getpid())
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        filters = None if pid in known else filters_of(pid)
        if pid not in known and (filters is None or ours is None or filters > ours):
            yield pid


def _descriptors(pid: int) -> list[str]:
    try:
        return [f"fd/{number}" for number in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return []


def _statuses(pid: int, links: list[str]) -> Iterator[Status]:
    """The status of what links of a process lead to."""
    for link in links:
        try:
            yield os.stat(f"/proc/{pid}/{link}")
        except OSError:
            continue  # closed meanwhile


def _mapped(pid: int) -> set[tuple[int, int]]:
    """The device and inode numbers of what a process has mapped."""
    found: set[tuple[int, int]] = set()
    try:
        with open(f"/proc/{pid}/maps", "rb") as maps:
            for line in maps:
                _, _, _, device, inode = line.split(None, 5)[:5]
                major, _, minor = device.partition(b":")
                if inode != b"0":
                    found.add((os.makedev(int(major, 16), int(minor, 16)), int(inode)))
    except OSError:
        pass
    return found
