"""Owned opening: open(2) of what is remembered.

Who may open is asked here, and what is not there is made first, as the program's own.  The descriptor is one
of the host's file, opened as in any other mount.  A device that is remembered is the host's of the same
number, if it has one in /dev: what the host lets nobody do with it stays forbidden.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import cache
from typing import Final

from diorama.abi import fcntl
from diorama.abi.fcntl import OpenHow
from diorama.catalogue.files import OpenAt, OpenAt2
from diorama.dispatch.files.lists import give_lists
from diorama.dispatch.files.objections import parent_of
from diorama.dispatch.files.owned import Remembered, check, look
from diorama.dispatch.files.owned_attributes import drop_privileges
from diorama.dispatch.files.owned_names import make_file
from diorama.dispatch.files.state import Files, fail
from diorama.engine.held import Descriptor
from diorama.view.mounts import Mount, Place

__all__ = ["device_of", "may_open", "open_temporary", "prepare"]

_TMPFILE: Final = fcntl.O_TMPFILE & ~fcntl.O_DIRECTORY
_MAKING: Final = fcntl.O_CREAT | fcntl.O_EXCL
_WANTED: Final = {
    fcntl.O_RDONLY: os.R_OK,
    fcntl.O_WRONLY: os.W_OK,
    fcntl.O_RDWR: os.R_OK | os.W_OK,
    fcntl.O_ACCMODE: os.R_OK | os.W_OK,
}
_NAME_MAX: Final = 255

Opening = OpenAt | OpenAt2


def prepare(files: Files, call: Opening, place: Place, how: OpenHow) -> OpenHow | None:
    """Make the file that an open is to make, if it is one for us; how it is to be opened then.  EEXIST."""
    is_making = place.missing and how.flags & fcntl.O_CREAT and not how.flags & (fcntl.O_PATH | _TMPFILE)
    if not is_making or place.slash or how.flags & fcntl.O_DIRECTORY:
        return None
    is_long = len(place.path) - place.path.rfind(b"/") - 1 > _NAME_MAX
    if is_long or parent_of(place) is not place or place.mount.read_only:
        return None
    make_file(files, call, place, how.mode)
    return OpenHow(how.flags & ~_MAKING, 0, how.resolve)


def may_open(files: Files, call: Opening, place: Place, how: OpenHow) -> Remembered | None:
    """EACCES or EPERM unless what is there may be opened so; None if there is something else to say of it."""
    flags = how.flags
    if place.missing or flags & fcntl.O_PATH or flags & _MAKING == _MAKING:
        return None
    found = look(place)
    if stat.S_ISLNK(found.status.st_mode):
        return None
    if flags & fcntl.O_DIRECTORY and not stat.S_ISDIR(found.status.st_mode):
        return None
    wanted = _WANTED[flags & fcntl.O_ACCMODE]
    if flags & fcntl.O_TRUNC:
        wanted |= os.W_OK
    if flags & _TMPFILE:
        check(files, call, found.attributes, os.W_OK | os.X_OK)
        return found
    if wanted & os.W_OK and stat.S_ISDIR(found.status.st_mode):
        return None
    who = check(files, call, found.attributes, wanted)
    if flags & os.O_NOATIME and not who.owns(found.attributes):
        raise fail(errno.EPERM)
    if wanted & os.W_OK and not place.mount.read_only:
        drop_privileges(who, found)
    return found


def open_temporary(
    files: Files, call: Opening, mount: Mount, directory: Remembered, how: OpenHow
) -> Descriptor:
    """A file without a name in a directory, the program's own."""
    who = files.tasks.maker(files.task(call.tracee))
    mode, uid, gid = who.make(stat.S_IFREG | how.mode & 0o7777, directory.attributes)
    fd = os.open(directory.path, how.flags | os.O_CLOEXEC, 0o600)
    link = b"/proc/self/fd/%d" % fd
    directory.owners.change(link, os.fstat(fd), uid=uid, gid=gid, mode=mode)
    give_lists(directory.owners, link, os.fstat(fd), directory.attributes, stat.S_IFREG | how.mode & 0o7777)
    files.note_opened(call.tracee, os.fstat(fd), mount)
    return Descriptor(fd, cloexec=bool(how.flags & os.O_CLOEXEC))


def device_of(found: Remembered, place: Place) -> bytes:
    """The path of the host's device that a remembered one is; EACCES, ENXIO."""
    if "nodev" in place.mount.options:
        raise fail(errno.EACCES)
    path = _devices().get((stat.S_IFMT(found.seen.mode), found.seen.device))
    if path is None:
        raise fail(errno.ENXIO)
    return path


@cache
def _devices() -> dict[tuple[int, int], bytes]:
    """The devices of the host by type and number."""
    found: dict[tuple[int, int], bytes] = {}
    with os.scandir(b"/dev") as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                found[stat.S_IFMT(status.st_mode), status.st_rdev] = entry.path
    return found
