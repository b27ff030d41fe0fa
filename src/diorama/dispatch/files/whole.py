"""Whole: files in pieces that have large descriptors, since calls about others are not seen.

Whatever would give such a file another descriptor, or have it read by who is not seen, has all of it fetched
before: then it is a memfd like any other.
"""

from __future__ import annotations

import errno
import resource
from functools import partial
from typing import TYPE_CHECKING, Final

from diorama.dispatch.files.direct import HIGH
from diorama.dispatch.files.patience import wait_for
from diorama.dispatch.files.through import find_through
from diorama.errors import Unsupported

if TYPE_CHECKING:
    from diorama.dispatch.files.pieces import Pieces
    from diorama.dispatch.files.state import Files
    from diorama.view.task import Task

__all__ = ["can_be_high", "is_high", "make_whole"]

_TOO_LARGE: Final = "a file in pieces that is larger than half of the free memory has no such descriptor"


def is_high(files: Files, task: Task, fd: int) -> bool:
    """Whether a descriptor is of a file that must have a large one."""
    if files.direct.find(task, fd) is not None:
        return True
    if not files.lazy.is_seen and files.lazy.find(task, fd) is not None:
        return True
    return find_through(files, task, fd) is not None


def can_be_high(files: Files, task: Task) -> bool:
    """Whether a task can have large descriptors, and calls about them are seen."""
    if not files.direct.is_seen:
        return False
    try:
        return resource.prlimit(task.tid, resource.RLIMIT_NOFILE)[0] > HIGH
    except OSError:
        return False  # it is another user, or gone


def make_whole(files: Files, task: Task, call: str, pieces: Pieces | None) -> None:
    """Have all of a file here before it gets a descriptor that is not seen; EMFILE if it is too large."""
    if pieces is None or files.lazy.is_seen:
        return
    contents = files.synthetic.contents
    content = next((one for one in contents if one.pieces is pieces), None)
    finish = partial(files.lazy.finish, pieces) if content is None else partial(contents.complete, content)
    try:
        wait_for(task.tid, finish)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise Unsupported(call, _TOO_LARGE, errno.EMFILE) from None
