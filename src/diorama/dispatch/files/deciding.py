"""Deciding: keeps the native library's decider told of what the file tree knows.

What it must know before a program can make its next call: the mounts, what is remembered of each process
that is not plain, and the real objects that stand for virtual ones.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from diorama.dispatch.settling import settle_calls, settle_mounts
from diorama.engine.decider import Decider

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.view.host import Status
    from diorama.view.mounts import Mount
    from diorama.view.task import Identity, Task

__all__ = ["Deciding"]


class Deciding:
    """The decider of one view."""

    def __init__(self, files: Files) -> None:
        self.decider = Decider()
        self._files = files
        self._calls = settle_calls()
        self._opened: dict[int, frozenset[Identity]] = {}
        self.mounted()
        files.inodes.on_add = self._identify
        files.on_change = self._remember
        files.on_restriction = self.mounted

    def mounted(self) -> None:
        """Something was mounted, or may be done by us no longer."""
        files = self._files
        virtual = any(mount.filesystem is not None for mount in files.tree.mounts)
        prefix = files.standins.home() if virtual else None
        self.decider.load(self._calls, settle_mounts(files.tree), prefix, on_behalf=files.acts)

    def forget(self, pid: int) -> None:
        """A process has ended."""
        self._opened.pop(pid, None)
        self.decider.forget(pid)

    def _identify(self, status: Status) -> None:
        # All memfds are on one device, and nothing that has a path is.
        is_file = stat.S_ISREG(status.st_mode)
        self.decider.identity(status.st_dev, 0 if is_file else status.st_ino)

    def _remember(self, task: Task) -> None:
        root = self._files.tree.root
        mount = task.context.cwd_mount
        self.decider.process(
            task.pid,
            cwd_mount=-1 if mount is root else self._number(mount),
            ask_exec=task.is_starting or task.pending is not None or task.executable is not None,
            ask_clone=not task.is_plain(root),
        )
        self._remember_opened(task)

    def _remember_opened(self, task: Task) -> None:
        known, opened = self._opened.get(task.pid, frozenset()), dict(task.opened)
        for dev, ino in known - opened.keys():
            self.decider.opened(task.pid, dev, ino, -1)
        for (dev, ino), mount in opened.items():
            if mount is self._files.tree.root:
                continue
            self.decider.opened(task.pid, dev, ino, self._number(mount))
        if opened:
            self._opened[task.pid] = frozenset(opened)
        else:
            self._opened.pop(task.pid, None)

    def _number(self, mount: Mount) -> int:
        return self._files.tree.mounts.index(mount)
