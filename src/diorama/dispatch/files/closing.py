"""Closing: calls that close descriptors, where a file system wants its errors told by them.

What was written is saved before the descriptor is closed, so it is there for all when close(2) returns. What
went wrong is its result, as Linux has it of file systems that flush; the descriptor is closed in any case.
Who closes in passing (dup2, close_range) is told nothing: the next fsync or close of the file is.

Closing by exit, exec and death is not seen here.  The kernel tells of it afterwards
(`diorama.dispatch.files.saving`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import CLOSE_RANGE_CLOEXEC, O_ACCMODE, O_PATH
from diorama.catalogue.files import Close, CloseRange, Dup2, Dup3
from diorama.catalogue.model import Request
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.direct_calls import check_number
from diorama.dispatch.files.state import Files
from diorama.engine.taking import descriptors_of
from diorama.view.asking import patiently

if TYPE_CHECKING:
    from diorama.dispatch.files.content import Content
    from diorama.view.filesystem import OpenFile
    from diorama.view.task import Task

__all__ = ["CLOSING"]

CLOSING: Final = frozenset[type[Request]]({Close, CloseRange, Dup2, Dup3})
"""What concerns only file systems that tell errors of writing when a file is closed."""


@answers(Close)
def close(files: Files, call: Close) -> Outcome:
    """Save what was written, and close."""
    failure = _settle(files, files.task(call.tracee), call.fd)
    if failure is None:
        return None
    call.run()
    raise failure


@answers(Dup2, Dup3)
def replace(files: Files, call: Dup2 | Dup3) -> Outcome:
    """What the new number has been is closed."""
    check_number(files, call, call.fd, call.newfd)
    if call.fd != call.newfd:
        _settle_in_passing(files, files.task(call.tracee), call.newfd)
    return None


@answers(CloseRange)
def close_range(files: Files, call: CloseRange) -> Outcome:
    """Many at once; with CLOSE_RANGE_CLOEXEC none."""
    task = files.task(call.tracee)
    if call.flags & CLOSE_RANGE_CLOEXEC:
        return None
    for fd in descriptors_of(task.tid):
        if call.first <= fd <= call.last:
            _settle_in_passing(files, task, fd)
    return None


def _settle(files: Files, task: Task, fd: int) -> OSError | None:
    direct = files.direct.find(task, fd)
    if direct is not None:
        return _flush(direct.opened, task)
    content, writes = _opened(files, task, fd)
    if content is None:
        return None
    if not writes:
        return _unlock(files, task, content)
    with patiently():
        return files.synthetic.contents.settle_closing(content, task.pid)


def _flush(opened: OpenFile, task: Task) -> OSError | None:
    try:
        with patiently():
            opened.flush(task.pid)
    except OSError as error:
        return error
    return None


def _unlock(files: Files, task: Task, content: Content) -> OSError | None:
    """With any descriptor of a file that a process closes its locks are gone (fcntl(2))."""
    if not files.lockers.has(task.pid, content.filesystem):
        return None
    try:
        with patiently():
            files.synthetic.contents.holding.flush(content, task.pid, writes=False)
    except OSError as error:
        return error
    return None


def _settle_in_passing(files: Files, task: Task, fd: int) -> None:
    direct = files.direct.find(task, fd)
    if direct is not None:
        _flush(direct.opened, task)
        return
    content, writes = _opened(files, task, fd)
    if content is None:
        return
    if not writes:
        _unlock(files, task, content)
        return
    with patiently():
        content.failure = files.synthetic.contents.settle_closing(content, task.pid)


def _opened(files: Files, task: Task, fd: int) -> tuple[Content | None, bool]:
    """The file that a descriptor has open, if it is saved when that is closed, and whether it can write."""
    place = files.tasks.virtual(task, fd)
    if place is None or place.filesystem is None or not place.filesystem.tells_at_close:
        return None, False
    try:
        flags = files.tasks.flags(task, fd)
    except OSError:
        return None, False  # somebody else has closed it meanwhile
    if flags & O_PATH:
        return None, False
    return files.synthetic.contents.find(place.filesystem, place.inode), bool(flags & O_ACCMODE)
