"""Mediator: answers requests for the file tree, as the innermost handler of a view.

The answers themselves are in `diorama.dispatch.files`; here are the mounts, the list of what the view must
see, and what happens to tasks.
"""

from __future__ import annotations

import os
import stat
from importlib import import_module
from typing import TYPE_CHECKING, Final

from diorama.dispatch.files.answers import ANSWERS, Outcome
from diorama.dispatch.files.programs import tell_name
from diorama.dispatch.files.state import Files
from diorama.dispatch.files.translation import translate
from diorama.dispatch.subscription import ArgumentTest
from diorama.errors import UsageError, warn_once
from diorama.view.host import Host
from diorama.view.resolve import ResolutionError
from diorama.view.task import CLONE_FILES, CLONE_FS, Context, Task

if TYPE_CHECKING:
    from diorama.catalogue.model import Request, Tracee
    from diorama.dispatch.files.deciding import Deciding
    from diorama.engine.decider import Decider
    from diorama.view.mounts import Mount, Place

__all__ = ["Mediator"]

_SHARED: Final = CLONE_FS | CLONE_FILES
_SUBJECTS: Final = (
    "descriptors",
    "directories",
    "execution",
    "inheritance",
    "links",
    "namespaces",
    "opening",
    "sockets",
    "status",
    "tables",
    "translation",
)


class Mediator:
    """The file tree of one view.

    `mount` before programs run; everything else is called on guardians, by several at once.
    """

    def __init__(self, host: Host | None = None, *, grows: bool = False) -> None:
        for subject in _SUBJECTS:
            import_module(f"diorama.dispatch.files.{subject}")
        self.files = Files(host)
        self._deciding: Deciding | None = None
        self._grows = grows

    def requests(self, *, tells_clones: bool) -> frozenset[type[Request]]:
        """What must be asked here: nothing without mounts, else what names files, and more by what they are.

        `tells_clones`: the engine tells of clones and execs without being asked.
        """
        from diorama.catalogue import requests
        from diorama.dispatch.files.descriptors import CHANGING, LOOKING, TELLING
        from diorama.dispatch.files.inheritance import UNTOLD

        self.files.tells_execs = tells_clones
        mounts = self.files.tree.mounts[1:]
        if not (mounts or self._grows):
            return frozenset()
        wanted = frozenset(ANSWERS) | {request for request in requests() if request.PATHS}
        if tells_clones:
            wanted -= UNTOLD
        if self._grows:
            return wanted
        if all(mount.filesystem is None for mount in mounts):
            wanted -= LOOKING
            if not any(mount.read_only for mount in mounts):
                wanted -= TELLING
        if not any(mount.read_only for mount in mounts):
            wanted -= CHANGING
        return wanted

    @property
    def tests(self) -> dict[type[Request], ArgumentTest]:
        """A send without an address never concerns a mount."""
        from diorama.catalogue.sockets import SendTo
        from diorama.engine._native import TEST_NE

        return {SendTo: ArgumentTest("address", TEST_NE, 0)}

    @property
    def has_mounts(self) -> bool:
        """Whether programs see anything but the host."""
        return len(self.files.tree.mounts) > 1

    def mount(
        self, mount: Mount, target: str | bytes | os.PathLike[str], *, is_expected: bool = False
    ) -> None:
        """Attach a mount to a path, relative ones to the caller's directory; `UsageError`.

        `is_expected`: nobody need be told that there is nothing of that name.
        """
        # Not `abspath`: `..` after a symbolic link is for the resolution.
        place = self._target(os.path.join(os.getcwdb(), os.fsencode(target)))
        name = os.fsdecode(place.view_path)
        if place.missing and is_expected:
            pass
        elif place.missing:
            warn_once(f"mount {name}", "no such file or directory; reachable by name, but in no listing")
        elif stat.S_ISDIR(mount.kind) != stat.S_ISDIR(self._kind(place)):
            what, on = ("directory", "file") if stat.S_ISDIR(mount.kind) else ("file", "directory")
            raise UsageError(f"cannot mount {mount.source} on {name}: a {what} needs a {what}, not a {on}")
        self.files.tree.attach(mount, place)
        if self._deciding is not None:
            self._deciding.mounted()

    def _target(self, path: bytes) -> Place:
        files = self.files
        us = Task(os.getpid(), os.getpid(), Context(files.tree.base.root, files.tree.base, files.tree))
        try:
            return files.resolver.resolve(us, us.root, path)
        except ResolutionError as error:
            reason = (error.strerror or "not accessible").lower()
            raise UsageError(f"cannot mount on {os.fsdecode(path)}: {reason}") from None

    def _kind(self, place: Place) -> int:
        if place.filesystem is not None:
            return place.filesystem.attributes(place.inode).kind
        return stat.S_IFMT(self.files.host.stat(place.host_path).st_mode)

    def decider(self) -> Decider:
        """What settles calls without Python, kept up to date from now on."""
        if self._deciding is None:
            from diorama.dispatch.files.deciding import Deciding

            self._deciding = Deciding(self.files)
        return self._deciding.decider

    def close(self) -> None:
        """The view has ended."""
        self.files.close()

    # -- called on guardians ------------------------------------------------------------------

    def answer(self, call: Request) -> Outcome:
        """Decide about a request."""
        self.files.task(call.tracee).credentials = None
        return ANSWERS.get(type(call), translate)(self.files, call)

    def rooted(self, tracee: Tracee) -> None:
        """The first task of a program."""
        task = self.files.enter(tracee, self.files.tasks.first(tracee.tid))
        task.is_starting = True
        self.files.changed(task)

    def cloned(self, parent: Tracee, child: Tracee, flags: int) -> None:
        """A task inherits, by these clone flags."""
        inherited = self.files.task(parent).child(child.tid, child.pid, flags)
        self.files.enter(child, inherited)
        if self._deciding is None:
            return
        if parent.pid != child.pid:
            self._deciding.inherit(parent.pid, inherited)
        elif flags & _SHARED != _SHARED:
            self._deciding.divide(inherited)

    def executed(self, tracee: Tracee) -> None:
        """A task runs another program."""
        files = self.files
        task = files.task(tracee)
        files.tasks.rename(task, tracee.tid)
        if task.calling is not None:
            tell_name(tracee, task.calling)
        task.executed()
        files.programs.end(task)
        files.changed(task)

    def exited(self, tracee: Tracee) -> None:
        """A task ended; its process goes on if an exec gave its thread id to another."""
        self.files.leave(tracee)
        if self._deciding is None or tracee.tid != tracee.pid or self._tell_of_heir(tracee.pid):
            return
        self._deciding.forget(tracee.pid)
        self._tell_of_heir(tracee.pid)  # it may have come just now

    def _tell_of_heir(self, pid: int) -> bool:
        heir = self.files.tasks.find(pid)
        if heir is not None:
            self.files.changed(heir)
        return heir is not None
