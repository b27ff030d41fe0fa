"""State: the file tree of a view and who stands where in it; what all answers work on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from diorama.abi.fcntl import AT_FDCWD
from diorama.catalogue.model import PathRule, Request
from diorama.dispatch.files.listings import Listings
from diorama.dispatch.files.standins import Content, StandIns
from diorama.view.filesystem import Attributes
from diorama.view.host import Host, RealHost
from diorama.view.inodes import Inodes
from diorama.view.mounts import MountTree, Place
from diorama.view.resolve import ResolutionError, Resolver
from diorama.view.task import Task, Tasks

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee

__all__ = ["Files", "fail"]


def fail(code: int) -> OSError:
    """The error that gives the program this errno."""
    return OSError(code, os.strerror(code))


class Files:
    """The state.  Answers run on several guardians at once; each part locks what it shares."""

    def __init__(self, host: Host | None = None) -> None:
        self.host = host or RealHost()
        self.tree = MountTree()
        self.inodes = Inodes()
        self.tasks = Tasks(self.tree, self.host, self.inodes)
        self.resolver = Resolver(self.tree, self.host, self.inodes, self.tasks)
        self.standins = StandIns(self.inodes)
        self.listings = Listings()
        self._of_tracee: dict[Any, Task] = {}
        self._leases: dict[Task, Content] = {}

    # -- tasks --------------------------------------------------------------------------------

    def task(self, tracee: Tracee) -> Task:
        """The file context of a tracee; one that nobody announced stands where a first one does."""
        task = self._of_tracee.get(tracee)
        return task if task is not None else self.enter(tracee, self.tasks.first(tracee.tid))

    def enter(self, tracee: Tracee, task: Task) -> Task:
        """Make a tracee known."""
        self._of_tracee[tracee] = task
        return self.tasks.enter(task)

    def leave(self, tracee: Tracee) -> None:
        """Forget a tracee."""
        task = self._of_tracee.pop(tracee, None)
        if task is not None:
            self.tasks.leave(task)
            self._release(task)

    # -- places -------------------------------------------------------------------------------

    def find(self, call: Request, rule: PathRule, *, parent: bool = False, restrict: int = 0) -> Place | None:
        """Where a path of a call leads; None if that is for the kernel to find out.

        `OSError` only if the way met a mount: else the kernel meets the same, and knows what to check first.
        """
        path: bytes | None = getattr(call, rule.field)
        task = self.task(call.tracee)
        if not path:
            return self.at_descriptor(task, rule.dirfd(call)) if rule.accepts_empty(call) else None
        if not rule.applies(call):
            return None
        return self.walk(
            task, rule.dirfd(call), path, follow=rule.follows(call), parent=parent, restrict=restrict
        )

    def walk(
        self,
        task: Task,
        dirfd: int,
        path: bytes,
        *,
        follow: bool = True,
        parent: bool = False,
        restrict: int = 0,
    ) -> Place | None:
        """As `find`, for a path that does not stand in a request."""
        try:
            start = self._start(task, dirfd, path)
        except OSError:
            return None
        try:
            return self.resolver.resolve(task, start, path, follow=follow, parent=parent, restrict=restrict)
        except ResolutionError as error:
            if error.touched:
                raise
            return None

    def locate(
        self, call: Request, rule: PathRule, *, parent: bool = False, restrict: int = 0
    ) -> Place | None:
        """As `find`, but None also for a place that the kernel finds by itself."""
        place = self.find(call, rule, parent=parent, restrict=restrict)
        return place if place is not None and place.touched else None

    def at_descriptor(self, task: Task, fd: int) -> Place | None:
        """What an empty path at a descriptor stands for, if that is not the kernel's own object."""
        if fd != AT_FDCWD:
            return self.tasks.virtual(task, fd)
        if task.context.cwd_mount.filesystem is None:
            return None
        return self.tasks.cwd(task)

    def _start(self, task: Task, dirfd: int, path: bytes) -> Place:
        if path.startswith(b"/"):
            return task.root
        return self.tasks.cwd(task) if dirfd == AT_FDCWD else self.tasks.descriptor(task, dirfd)

    # -- contents -----------------------------------------------------------------------------

    def content(self, task: Task, place: Place, attributes: Attributes) -> Content:
        """The memfd of a regular file, kept open here until the task asks for another or ends."""
        content = self.standins.lease(place, attributes)
        self._release(task)
        self._leases[task] = content
        return content

    def close(self) -> None:
        """Remove what the view put on disk, and release what it mounted."""
        self.standins.close()
        for mount in self.tree.mounts:
            if mount.filesystem is not None:
                mount.filesystem.close()

    def _release(self, task: Task) -> None:
        content = self._leases.pop(task, None)
        if content is not None:
            self.standins.release(content)
