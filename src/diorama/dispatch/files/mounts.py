"""Mounts: mount(2) and umount2(2), in the order of the kernel's checks (fs/namespace.c)."""

from __future__ import annotations

import errno
import os
from collections.abc import Container, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from diorama.abi import mount as abi
from diorama.abi.fcntl import AT_EACCESS, AT_FDCWD
from diorama.catalogue.mounts import Mount as MountCall
from diorama.catalogue.mounts import Umount2
from diorama.dispatch.files.again import show_again
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.mounting import is_mounted
from diorama.dispatch.files.sources import Sources
from diorama.dispatch.files.state import Files, fail
from diorama.errors import Unsupported, UsageError, warn_once
from diorama.view.mounts import Mount, Place

if TYPE_CHECKING:
    from diorama.catalogue.model import Request

__all__ = ["OPTIONS", "change_propagation", "check_locked", "set_flags", "sources_of", "usage_errors"]

_PAGE: Final = 4096
_PROPAGATION: Final = abi.MS_SHARED | abi.MS_PRIVATE | abi.MS_SLAVE | abi.MS_UNBINDABLE
_UNMOUNT: Final = abi.MNT_FORCE | abi.MNT_DETACH | abi.MNT_EXPIRE | abi.UMOUNT_NOFOLLOW
OPTIONS: Final[tuple[tuple[int, int, str], ...]] = (
    (abi.MS_NOSUID, abi.MOUNT_ATTR_NOSUID, "nosuid"),
    (abi.MS_NODEV, abi.MOUNT_ATTR_NODEV, "nodev"),
    (abi.MS_NOEXEC, abi.MOUNT_ATTR_NOEXEC, "noexec"),
    (abi.MS_NOATIME, abi.MOUNT_ATTR_NOATIME, "noatime"),
    (abi.MS_NODIRATIME, abi.MOUNT_ATTR_NODIRATIME, "nodiratime"),
    (abi.MS_NOSYMFOLLOW, abi.MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow"),
)
"""Flags of a mount: for mount(2), for mount_setattr(2), and as an option."""


def sources_of(files: Files, call: Request) -> Sources:
    """The tree of who makes a call, and its rights where ours are more."""
    tracee = call.tracee

    def check(path: bytes, mode: int) -> None:
        tracee.syscall.faccessat2(AT_FDCWD, path, mode, AT_EACCESS)

    ours = files.has_our_rights(tracee)
    return Sources(files, files.task(tracee), check=None if ours else check)


@contextmanager
def usage_errors(call: str) -> Generator[None, None, None]:
    """A user's mistake is an errno to the program; what that does not say is told."""
    try:
        yield
    except UsageError as error:
        if error.code == errno.EINVAL:
            warn_once(call, str(error))
        raise fail(error.code) from None


@answers(MountCall)
def mount(files: Files, call: MountCall) -> Outcome:
    """Mount, bind, move, or change a mount."""
    flags = call.flags
    if flags & abi.MGC_MASK == abi.MS_MGC_VAL:
        flags &= ~abi.MGC_MASK
    sources = sources_of(files, call)
    task = files.task(call.tracee)
    if files.serves_only and not _is_of_server(call.type):
        return None
    files.mounting.settled(task)
    options = _data(call)
    target = sources.find(call.target)
    with usage_errors(call.NAME):
        _mount(files, call, sources, flags, options, target)
    return 0


def _is_of_server(type: bytes | None) -> bool:
    """Whether a file system is served by who mounts it."""
    return type is not None and type.partition(b".")[0] in (b"fuse", b"fuseblk")


def _mount(
    files: Files, call: MountCall, sources: Sources, flags: int, options: list[str], target: Place
) -> None:
    tree = files.task(call.tracee).tree
    if flags & abi.MS_REMOUNT:
        _remount(files, call, flags, target)
    elif flags & abi.MS_BIND:
        place = sources.find(_given(call.source))
        made = files.mounting.bind(place, sources, recursive=bool(flags & abi.MS_REC))
        _attach(files, call, made, target)
    elif flags & _PROPAGATION:
        if files.mounting.has_left(target.mount):
            raise fail(errno.EINVAL)
        change_propagation(target, flags & ~(abi.MS_REC | abi.MS_SILENT))
    elif flags & abi.MS_MOVE:
        files.mounting.move(tree, sources.find(_given(call.source)), target)
    else:
        if call.type is None:
            raise fail(errno.EINVAL)
        asked = [*options, *(["ro"] if flags & abi.MS_RDONLY and "ro" not in options else [])]
        made = files.mounting.new(os.fsdecode(call.type), os.fsdecode(call.source or b""), asked, sources)
        set_flags(made, _named(flags))
        _attach(files, call, made, target)


def _attach(files: Files, call: MountCall, made: Mount, target: Place) -> None:
    tree = files.task(call.tracee).tree
    try:
        files.mounting.attach(tree, made, target)
    except BaseException:
        files.mounting.discard(made)
        raise
    if target.same(tree.base.root):
        show_again(files, call.tracee)


def set_flags(mount: Mount, names: list[str]) -> None:
    """Note which of the options that stand for flags a mount has."""
    known = {name for _, _, name in OPTIONS}
    kept = [option for option in mount.options if option not in known]
    mount.options = (*kept, *names, *(name for name in mount.locked if name not in names))


def check_locked(mount: Mount, names: Container[str]) -> None:
    """EPERM if a mount would lose one of the flags that cannot be taken from it."""
    if any(name not in names for name in mount.locked):
        raise fail(errno.EPERM)


def _named(flags: int) -> list[str]:
    return [name for flag, _, name in OPTIONS if flags & flag]


def _remount(files: Files, call: MountCall, flags: int, target: Place) -> None:
    """Change the flags of a mount; without MS_BIND the kernel's change those of its file system too."""
    tree = files.task(call.tracee).tree
    files.mounting.check_own(tree, "mount", target)
    check_locked(target.mount, _named(flags))
    files.mounting.set_read_only([target.mount], read_only=bool(flags & abi.MS_RDONLY))
    set_flags(target.mount, _named(flags))


def change_propagation(place: Place, kind: int) -> None:
    """All mounts of a view are private to their namespace; that is all they can be made."""
    if kind not in (abi.MS_SHARED, abi.MS_PRIVATE, abi.MS_SLAVE, abi.MS_UNBINDABLE):
        raise fail(errno.EINVAL)
    if not is_mounted(place) and not (place.filesystem is None and os.path.ismount(place.host_path)):
        raise fail(errno.EINVAL)
    if kind in (abi.MS_SHARED, abi.MS_UNBINDABLE):
        raise Unsupported("mount", "all mounts of a view are private", errno.EINVAL)


def _given(source: bytes | None) -> bytes:
    if not source:
        raise fail(errno.EINVAL)
    return source


def _data(call: MountCall) -> list[str]:
    if not call.options:
        return []
    text = call.tracee.memory.read_string(call.options, _PAGE)
    return [option for option in os.fsdecode(text).split(",") if option]


@answers(Umount2)
def unmount(files: Files, call: Umount2) -> Outcome:
    """Take a mount away."""
    flags = call.flags
    if flags & ~_UNMOUNT:
        raise fail(errno.EINVAL)
    sources, task = sources_of(files, call), files.task(call.tracee)
    files.mounting.settled(task)
    place = sources.find(call.target, follow=not flags & abi.UMOUNT_NOFOLLOW)
    if files.serves_only and place.mount.filesystem is None:
        return None
    if flags & abi.MNT_EXPIRE and flags & (abi.MNT_FORCE | abi.MNT_DETACH):
        raise fail(errno.EINVAL)
    lazy, expire = bool(flags & abi.MNT_DETACH), bool(flags & abi.MNT_EXPIRE)
    files.mounting.unmount(task.tree, place, lazy=lazy, expire=expire)
    return 0

