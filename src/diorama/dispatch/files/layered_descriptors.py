"""Layered descriptors: changing the attributes of what is open, in trees merged from directories.

What is open in the writable layer the kernel changes.  What is open in a lower one is copied up, and the copy
is changed, by its path.
"""

from __future__ import annotations

import errno
import os

from diorama.abi.fcntl import AT_FDCWD, O_PATH
from diorama.catalogue.files import FChMod, FChModAt2, FChOwn, FChOwnAt, UTimeNsAt
from diorama.catalogue.model import Request
from diorama.catalogue.xattr import FRemoveXattr, FSetXattr, RemoveXattr, SetXattr
from diorama.dispatch.files.answers import Outcome
from diorama.dispatch.files.layered import change, gives, refuse_private, whole
from diorama.dispatch.files.state import Files
from diorama.errors import Unsupported
from diorama.view.mounts import Place

__all__ = ["change_open_file"]

Change = FChMod | FChOwn | FSetXattr | FRemoveXattr | UTimeNsAt


def change_open_file(files: Files, call: Change, fd: int) -> Outcome:
    """Answer a request that changes the attributes of an open file; None if that is the kernel's."""
    task = files.task(call.tracee)
    link = b"/proc/%d/fd/%d" % (task.tid, fd)
    try:
        place = files.tasks.descriptor(task, fd)
        status, real = os.stat(link), os.readlink(link)
    except OSError:
        return None
    if place.mount.layers is None or not real.startswith(b"/") or files.tasks.flags(task, fd) & O_PATH:
        return None
    refuse_private(call)
    layers, path = whole(place)
    is_ours = layers.in_upper(real) and layers.real_owner(real, status.st_mode) is None
    if is_ours and not (isinstance(call, FChOwn) and gives(files)):
        return None
    own = status.st_dev, status.st_ino
    with layers.lock:
        try:
            seen = layers.find(path).status
        except OSError:
            seen = None
        if is_ours and (seen is None or own != (seen.st_dev, seen.st_ino)):
            return None
        if seen is None or own not in ((seen.st_dev, seen.st_ino), layers.original(seen)):
            raise Unsupported(call.NAME, "of a file that was removed from a lower layer", errno.EROFS)
        return _change_by_path(files, call, place._replace(missing=False))


def _change_by_path(files: Files, call: Change, place: Place) -> Outcome:
    request = call.instead(_by_path(call, place.view_path))
    return change(files, request, request.PATHS[0], place)


def _by_path(call: Change, path: bytes) -> Request:
    """The request that does the same to what a path leads to."""
    if isinstance(call, FChMod):
        return FChModAt2(AT_FDCWD, path, call.mode, 0)
    if isinstance(call, FChOwn):
        return FChOwnAt(AT_FDCWD, path, call.owner, call.group, 0)
    if isinstance(call, FSetXattr):
        return SetXattr(path, call.name, call.value, call.size, call.flags)
    if isinstance(call, FRemoveXattr):
        return RemoveXattr(path, call.name)
    return call.replace(dirfd=AT_FDCWD, path=path)
