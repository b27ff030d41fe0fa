"""Owned: files in trees of the host that remember owners, modes, devices and attributes.

The host's own checks let the supervisor do everything there, so what Linux would check is checked here, with
the owner and the mode that are remembered and the credentials of the task.  Then the call *goes on*: it is
answered as in any other mount, and so made on the host.  Only what changes or shows what is remembered is
answered in these files (`owned_status`, `owned_attributes`, `owned_names`, `owned_open`, `owned_xattrs`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from diorama.abi.fcntl import AT_FDCWD, O_PATH
from diorama.catalogue.files import FStat
from diorama.catalogue.paths import FChDir
from diorama.dispatch.files.answers import Outcome, fail
from diorama.dispatch.files.objections import is_name
from diorama.view.mounts import Place

if TYPE_CHECKING:
    from diorama.catalogue.model import Request
    from diorama.dispatch.files.state import Files
    from diorama.view.credentials import Credentials
    from diorama.view.filesystem import Attributes
    from diorama.view.owning import Owned, Owners
    from diorama.view.task import Task

__all__ = [
    "GOES_ON",
    "GoesOn",
    "Remembered",
    "answer_owned",
    "check",
    "check_executable",
    "check_writable",
    "look",
    "on_owned",
    "open_place",
    "parent_attributes",
]


class GoesOn(Enum):
    """There is nothing to answer: the call is one as in any other mount."""

    GOES_ON = 0


GOES_ON: Final = GoesOn.GOES_ON

Answer = Callable[["Files", Any, Place], Outcome | GoesOn]
F = TypeVar("F", bound=Answer)
_OWNED: Final[dict[type[Request], Answer]] = {}
_DELETED: Final = b" (deleted)"
_NAMES_ONLY: Final[frozenset[type[Request]]] = frozenset({FStat, FChDir})
"""What may be asked of a descriptor that only names a file (O_PATH, open(2))."""


def on_owned(*requests: type[Request]) -> Callable[[F], F]:
    """Register a function for these requests about what is in a tree that remembers."""

    def register(function: F) -> F:
        _OWNED.update(dict.fromkeys(requests, function))
        return function

    return register


def answer_owned(files: Files, call: Request) -> Outcome | GoesOn:
    """Answer a request, if it is about a tree that remembers and is to be answered as such."""
    answer = _OWNED.get(type(call))
    place = None if answer is None else _place(files, call)
    if answer is None or place is None or place.mount.owners is None:
        return GOES_ON
    return answer(files, call, place)


def _place(files: Files, call: Request) -> Place | None:
    task = files.task(call.tracee)
    if not call.PATHS:
        fd: int = getattr(call, "fd")  # noqa: B009
        place = open_place(files, task, fd)
        if place is not None and type(call) not in _NAMES_ONLY and files.tasks.flags(task, fd) & O_PATH:
            raise fail(errno.EBADF)
        return place
    rule = call.PATHS[0]
    path: bytes | None = getattr(call, rule.field)
    if path:
        return files.find(call, rule, parent=is_name(call, rule))
    if path is None or rule.accepts_empty(call):
        return open_place(files, task, rule.dirfd(call))
    return None


def open_place(files: Files, task: Task, fd: int) -> Place | None:
    """What a descriptor, or AT_FDCWD, refers to, at its link; None if that is in no tree that remembers."""
    link = b"/proc/%d/cwd" % task.tid if fd == AT_FDCWD else b"/proc/%d/fd/%d" % (task.tid, fd)
    try:
        place = files.tasks.cwd(task) if fd == AT_FDCWD else files.tasks.descriptor(task, fd)
        mount = place.mount
        if mount.owners is None and mount.is_bottom and task.tree.base.owners is not None:
            # It has lost its name there.
            text = files.host.readlink(link)
            inside = task.tree.base.inside(text.removesuffix(_DELETED)) if text.endswith(_DELETED) else None
            if inside is not None:
                place = Place(task.tree.base, inside, removed=True)
    except OSError:
        return None
    return None if place.mount.owners is None else place._replace(link=link, touched=True)


class Remembered(NamedTuple):
    """A file in such a tree: the path by which the host has it, its status there, and what is to be seen."""

    owners: Owners
    path: bytes
    status: os.stat_result
    seen: Owned

    @property
    def attributes(self) -> Attributes:
        """What permissions follow from."""
        return self.seen.attributes


def look(place: Place) -> Remembered:
    """What is at a place in a tree that remembers."""
    owners = place.mount.owners
    assert owners is not None
    path = place.link or place.mount.real(place.path)
    status = os.stat(path) if place.link else os.lstat(path)
    return Remembered(owners, path, status, owners.look(path, status))


def parent_attributes(place: Place) -> Attributes:
    """Of the directory that a name is in."""
    return look(Place(place.mount, place.path[: place.path.rindex(b"/")])).attributes


def check(files: Files, call: Request, attributes: Attributes, wanted: int) -> Credentials:
    """EACCES unless who asks may do what the R_OK, W_OK, X_OK bits say; who that is."""
    who = files.tasks.credentials(files.task(call.tracee))
    if not who.permits(attributes, wanted):
        raise fail(errno.EACCES)
    return who


def check_writable(files: Files, call: Request, place: Place) -> None:
    """EACCES unless who asks may write to what is there, a socket, as far as that is remembered."""
    if place.mount.owners is not None and not place.missing:
        check(files, call, look(place).attributes, os.W_OK)


def check_executable(files: Files, task: Task, place: Place) -> None:
    """EACCES unless a task may execute what is there, as far as that is remembered."""
    if place.mount.owners is None or place.missing:
        return
    if not files.tasks.credentials(task).permits(look(place).attributes, os.X_OK):
        raise fail(errno.EACCES)
