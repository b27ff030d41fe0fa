"""Opening: open(2) and its relatives."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from diorama.abi import fcntl
from diorama.abi.fcntl import AT_FDCWD, OpenHow
from diorama.catalogue.files import OpenAt, OpenAt2
from diorama.dispatch.files.acting import assume_umask
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.direct_calls import open_high
from diorama.dispatch.files.generated import SystemFile, is_reading, open_memory, subject_of
from diorama.dispatch.files.layered_open import changes_nothing, open_layered
from diorama.dispatch.files.numbered import by_number
from diorama.dispatch.files.objections import check_arguments
from diorama.dispatch.files.owned_open import device_of, may_open, open_temporary, prepare
from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.virtual import OpenedDirectly, open_device, open_virtual
from diorama.engine.held import Descriptor
from diorama.view.filesystem import Attributes
from diorama.view.host import Status
from diorama.view.inspection import OPENED, check_inspection
from diorama.view.mounts import Place
from diorama.view.naming import place_of_name
from diorama.view.task import Task

_TMPFILE: Final = fcntl.O_TMPFILE & ~fcntl.O_DIRECTORY
_MAKING: Final = fcntl.O_CREAT | fcntl.O_EXCL
_UNSURE: Final = fcntl.O_CREAT | fcntl.O_DIRECTORY


@answers(OpenAt)
def open_at(files: Files, call: OpenAt) -> Outcome:
    """Open in the view."""
    how = OpenHow(call.flags, call.mode)
    return _open(files, call, how)


@answers(OpenAt2)
def open_at2(files: Files, call: OpenAt2) -> Outcome:
    """Open in the view, with the rules of the caller for the resolution."""
    if call.size < OpenHow.size(call.tracee.abi):
        return None
    return _open(files, call, call.how.read())


def _open(files: Files, call: OpenAt | OpenAt2, how: OpenHow) -> Outcome:
    rule = call.PATHS[0]
    if isinstance(call, OpenAt2) or how.flags & _TMPFILE or how.flags & _UNSURE == _UNSURE:
        check_arguments(call)
    # With O_CREAT, a slash at the end is an error whatever is there.
    making = how.flags & _MAKING == _MAKING or (how.flags & fcntl.O_CREAT and call.path.endswith(b"/"))
    place = files.find(call, rule, parent=bool(making), restrict=how.resolve)
    task = files.task(call.tracee)
    numbered = None if place is None or making else by_number(files, task, place, how.flags)
    if numbered is not None:
        return _open_ours(files, call, numbered[0], how, numbered[1])
    if place is not None and not making and (made := _generated(files, call, place, how)) is not None:
        return made
    if place is None or not (place.touched or place.mount.owners) or _is_native(place, how.flags):
        if place is not None and not place.link and files.tasks.opened.any(task):
            _forget(files, task, place)
        return None
    if place.filesystem is None:
        return _open_on_host(files, call, place, how)
    return _open_ours(files, call, place, how)


def _open_ours(
    files: Files, call: OpenAt | OpenAt2, place: Place, how: OpenHow, shown: Attributes | None = None
) -> Outcome:
    """Open what is in a file system of ours; `shown` as in `open_device`."""
    task = files.task(call.tracee)
    try:
        opened = open_device(files, task, place, how.flags, shown)
        if opened is not None:
            return opened
        path, flags = open_virtual(files, call, place, how)
    except OpenedDirectly as found:
        return open_high(call.tracee, found.fd, cloexec=bool(how.flags & os.O_CLOEXEC))
    if _can_give(files, call, task, path, flags):
        try:
            fd = os.open(path, flags | os.O_CLOEXEC)
        finally:
            files.unpin(task)  # what is open stays, and of what is not (ETXTBSY) the task says no more
        return Descriptor(fd, cloexec=bool(flags & os.O_CLOEXEC))
    changed = _at(call, path, how, flags)
    if call.tracee.gives_at_once or not files.is_to_be_kept(task):
        return changed
    try:
        return changed.run()
    finally:
        files.unpin(task)  # now, not with its next call that is seen here


def _open_on_host(files: Files, call: OpenAt | OpenAt2, place: Place, how: OpenHow) -> Outcome:
    if place.mount.layers is not None:
        return open_layered(files, call, place, how)
    if place.mount.owners is not None:
        return _open_owned(files, call, place, how)
    return _open_host(files, call, place, how)


def _is_native(place: Place, flags: int) -> bool:
    """Whether the kernel, which ends at the same place, changes no layer by opening it."""
    return place.straight and place.mount.layers is not None and changes_nothing(flags)


def _can_give(files: Files, call: OpenAt | OpenAt2, task: Task, path: bytes, flags: int) -> bool:
    """Whether we are to open what stands for a file: where that is cheap, or where only we may."""
    if not path.startswith(b"/proc/") and stat.S_ISFIFO(os.lstat(path).st_mode):
        return False  # that may block
    if not files.is_ours(task):
        return True
    # SECCOMP_IOCTL_NOTIF_ADDFD takes no descriptor that was opened with O_PATH.
    return call.tracee.gives_at_once and not flags & fcntl.O_PATH


def _generated(files: Files, call: OpenAt | OpenAt2, place: Place, how: OpenHow) -> Outcome:
    """A file of /proc whose content is that of the view."""
    if place.filesystem is not None or place.missing:
        return None
    path = place.host_path
    if path.startswith(b"/proc/") and not how.flags & fcntl.O_PATH:
        check_inspection(files.tasks, files.task(call.tracee), path, OPENED, how.flags)
    system = files.system.get(path)
    if system is not None and how.flags & (os.O_ACCMODE | fcntl.O_PATH) in (os.O_WRONLY, os.O_RDWR):
        return _for_writing(files, call, system, how.flags)
    if not is_reading(how.flags) or not (system or path.startswith(b"/proc/")):
        return None
    subject = subject_of(files, files.task(call.tracee), path)
    if subject is None:
        return None
    if not files.has_our_rights(call.tracee):
        # Whether it may is found out by letting it.
        call.tracee.syscall.close(_at(call, path, how, how.flags).run())
    try:
        fd = open_memory(files, subject, how.flags)
    except PermissionError:
        return None  # the program itself may, of itself; or the kernel says why not
    return Descriptor(fd, cloexec=bool(how.flags & os.O_CLOEXEC))


def _for_writing(files: Files, call: OpenAt | OpenAt2, system: SystemFile, flags: int) -> Outcome:
    """A file of the system that is to be written; EACCES for one that tells something only."""
    if system.write is None or flags & os.O_ACCMODE != os.O_WRONLY:
        raise fail(errno.EACCES)
    return Descriptor(system.write(files.task(call.tracee)), cloexec=bool(flags & os.O_CLOEXEC))


def _at(call: OpenAt | OpenAt2, path: bytes, how: OpenHow, flags: int) -> OpenAt | OpenAt2:
    """The call with another path, which has been resolved, and other flags."""
    if isinstance(call, OpenAt):
        return call.replace(dirfd=AT_FDCWD, path=path, flags=flags)
    mode = how.mode if flags & (fcntl.O_CREAT | _TMPFILE) else 0
    return call.replace(dirfd=AT_FDCWD, path=path, how=OpenHow(flags, mode))


# -- on the host ----------------------------------------------------------------------------------


def _refuse_device(flags: int) -> None:
    """A device is a name only in a mount that has none."""
    if not flags & fcntl.O_PATH:
        raise fail(errno.EACCES)


def _open_host(files: Files, call: OpenAt | OpenAt2, place: Place, how: OpenHow) -> Outcome:
    status = None if place.missing else _status(files, place)
    mode = 0 if status is None else status.st_mode
    if "nodev" in place.mount.options and (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
        _refuse_device(how.flags)
    flags = _read_only_flags(place, how.flags, mode) if place.mount.read_only else how.flags
    straight = place.straight and flags == how.flags
    changed = call if straight else _at(call, place.host_path, how, flags)
    task = files.task(call.tracee)
    is_base = place.mount is task.tree.base
    is_minded = place.mount.is_restricted or place.mount.owners is not None
    noted = not is_base and (is_minded or stat.S_ISDIR(mode))
    if not noted and files.tasks.opened.any(task):
        _forget(files, task, place)
    if status is not None and not (is_base or noted):
        files.note_reached(status, place)
    if straight and not noted:
        return None
    if _can_act(files, call, place, flags, mode):
        fd = os.open(place.host_path, flags | os.O_CLOEXEC | os.O_NOCTTY)
        if noted:
            files.note_opened(call.tracee, os.fstat(fd), place.mount)
        return Descriptor(fd, cloexec=bool(flags & os.O_CLOEXEC))
    if not (noted or _is_named_late(files, call, place, flags)):
        made = _make(files, call, place, how, flags)
        return changed if made is None else made
    fd = changed.run()
    found = files.tasks.status(task, fd)
    if noted:
        files.note_opened(call.tracee, found, place.mount)
    else:
        files.note_reached(found, place)
    return fd


def _open_owned(files: Files, call: OpenAt | OpenAt2, place: Place, how: OpenHow) -> Outcome:
    """In a tree that remembers what may be opened, and whose it is that is made."""
    try:
        prepared = prepare(files, call, place, how)
    except FileExistsError:
        if how.flags & _MAKING == _MAKING:
            raise
        return _open(files, call, how)  # somebody else has made it meanwhile
    if prepared is not None:
        return _open_host(files, call, place._replace(missing=False, straight=False), prepared)
    found = may_open(files, call, place, how)
    if found is not None and found.seen.is_device:
        return _at(call, device_of(found, place), how, how.flags & ~fcntl.O_CREAT)
    if found is not None and how.flags & _TMPFILE and not place.mount.read_only:
        return open_temporary(files, call, place.mount, found, how)
    return _open_host(files, call, place, how)


def _is_named_late(files: Files, call: OpenAt | OpenAt2, place: Place, flags: int) -> bool:
    """Whether a file is to be made that has a name outside of its mount too, and not by us."""
    task = files.task(call.tracee)
    if call.tracee.gives_at_once or not (place.missing and flags & fcntl.O_CREAT):
        return False
    if place.mount is task.tree.base:
        return False
    named = place_of_name(task.tree, task.root, place.mount.real(place.path))
    return named is not None and named.mount is not place.mount


def _make(files: Files, call: OpenAt | OpenAt2, place: Place, how: OpenHow, flags: int) -> Descriptor | None:
    """Make a file in the program's stead, if there is none by that name and we may."""
    if not (call.tracee.gives_at_once and place.missing and flags & fcntl.O_CREAT) or flags & fcntl.O_PATH:
        return None
    if not files.has_our_rights(call.tracee) or place.slash:
        return None
    assume_umask(call.tracee)
    try:
        fd = os.open(place.host_path, flags | os.O_EXCL | os.O_CLOEXEC | os.O_NOCTTY, how.mode & 0o7777)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EEXIST):
            return None  # the program itself may, or somebody else has made it meanwhile
        raise
    files.note_reached(os.fstat(fd), place)
    return Descriptor(fd, cloexec=bool(flags & os.O_CLOEXEC))


def _can_act(files: Files, call: OpenAt | OpenAt2, place: Place, flags: int, mode: int) -> bool:
    """Whether we may open in the program's stead: what is there, cannot block, and is the same to us."""
    if not call.tracee.gives_at_once or place.missing or flags & (_TMPFILE | fcntl.O_CREAT | fcntl.O_PATH):
        return False
    return (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and files.has_our_rights(call.tracee)


def _status(files: Files, place: Place) -> Status | None:
    try:
        look = files.host.stat if place.link else files.host.lstat
        return look(place.host_path)
    except OSError:
        return None


def _read_only_flags(place: Place, flags: int, mode: int) -> int:
    """What remains of the flags on a read-only mount; EROFS, and what comes before it."""
    if flags & fcntl.O_PATH or stat.S_ISLNK(mode):
        return flags
    if place.slash and flags & fcntl.O_CREAT:
        raise fail(errno.EISDIR)
    if flags & _TMPFILE and not stat.S_ISDIR(mode):
        raise fail(errno.ENOENT if place.missing else errno.ENOTDIR)
    if flags & _TMPFILE or (place.missing and flags & fcntl.O_CREAT):
        raise fail(errno.EROFS)
    if flags & _MAKING == _MAKING:
        raise fail(errno.EEXIST)
    is_special = not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    # Both bits together are for neither reading nor writing, open(2).
    writes = flags & fcntl.O_ACCMODE in (fcntl.O_WRONLY, fcntl.O_RDWR)
    if (writes or flags & fcntl.O_TRUNC) and not place.missing and not is_special:
        raise fail(errno.EISDIR if stat.S_ISDIR(mode) else errno.EROFS)
    if flags & fcntl.O_EXCL or stat.S_ISDIR(mode):
        return flags
    return flags & ~fcntl.O_CREAT


def _forget(files: Files, task: Task, place: Place) -> None:
    """What is opened by its plain host path is no longer meant through the mount it was opened by before."""
    try:
        status = files.host.stat(place.host_path)
    except OSError:
        return
    files.tasks.opened.drop(task, (status.st_dev, status.st_ino))
