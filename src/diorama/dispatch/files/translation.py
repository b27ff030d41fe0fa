"""Translation: the general answer to a request that names files.

For each path: None when the kernel finds the same by itself; the path of the host place that it leads to
otherwise.  What leads into a file system of ours and has no answer of its own is refused.
"""

from __future__ import annotations

import errno
from typing import Any, TypeVar

from diorama.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW
from diorama.catalogue.model import PathRule, Request
from diorama.catalogue.mounts import Acct, SwapOff, SwapOn
from diorama.catalogue.paths import LinkAt, RenameAt2, UnlinkAt
from diorama.dispatch.files.acting import act
from diorama.dispatch.files.answers import SYNTHETIC, Outcome, answers
from diorama.dispatch.files.layered import change, change_pair, is_of_layers
from diorama.dispatch.files.making import link
from diorama.dispatch.files.objections import (
    Done,
    check_arguments,
    is_name,
    refuse_link,
    refuse_rename,
    refuse_writing,
)
from diorama.dispatch.files.points import has_points
from diorama.dispatch.files.renaming import rename
from diorama.dispatch.files.state import Files, fail
from diorama.errors import Unsupported
from diorama.view.credentials import CAP_SYS_ADMIN, CAP_SYS_PACCT
from diorama.view.mounts import Place

__all__ = ["at_host", "translate"]

R = TypeVar("R", bound=Request)


def translate(files: Files, call: Request) -> Outcome:
    """Put host paths in the place of those that meet a mount."""
    changed = call
    if isinstance(call, UnlinkAt) and call.flags & AT_REMOVEDIR:
        _refuse_removing(files, call)
    for rule in call.PATHS:
        place = files.locate(call, rule, parent=is_name(call, rule))
        if place is None:
            _refuse_by_descriptor(files, call, rule)
            continue
        if call.writes:
            refuse_writing(files, call, rule, place)
            if place.mount.layers is not None and not place.mount.read_only:
                return change(files, call, rule, place)
        if place.filesystem is not None:
            return SYNTHETIC.get(type(call), _refuse)(files, call, place)
        changed = at_host(changed, rule, place)
    return None if changed is call else act(files, call, changed)


def _refuse_by_descriptor(files: Files, call: Request, rule: PathRule) -> None:
    """An empty path that means the descriptor, which may have been opened through a read-only mount."""
    if not call.writes or getattr(call, rule.field) or not rule.accepts_empty(call):
        return
    mount = files.mount_of(files.task(call.tracee), rule.dirfd(call))
    if mount is not None and mount.read_only:
        check_arguments(call)
        raise fail(errno.EROFS)


@answers(RenameAt2, LinkAt)
def translate_pair(files: Files, call: RenameAt2 | LinkAt) -> Outcome:
    """Two paths that must lead into one mount."""
    first, second = call.PATHS
    old = files.find(call, first, parent=is_name(call, first))
    if old is None and getattr(call, first.field):
        return None  # the kernel fails at the same place, before it looks at the other path
    if isinstance(call, LinkAt) and old is not None and old.missing:
        if not old.touched:
            return None
        check_arguments(call)
        raise fail(errno.ENOENT)
    new = files.find(call, second, parent=True)
    known = [place for place in (old, new) if place is not None]
    pointed = isinstance(call, RenameAt2) and any(place.path and has_points(place) for place in known)
    if not (pointed or any(place.touched for place in known)):
        return None
    if any(place.filesystem is not None for place in known):
        return link(files, call, old, new) if isinstance(call, LinkAt) else rename(files, call, old, new)
    return _translate_pair(files, call, old, new, pointed=pointed)


def _translate_pair(
    files: Files, call: RenameAt2 | LinkAt, old: Place | None, new: Place | None, *, pointed: bool
) -> Outcome:
    """Two paths of which none leads into a file system of ours."""
    in_layers = new is not None and is_of_layers(call, old, new)
    try:
        if not in_layers:
            _refuse_pair(files, call, old, new)
    except Done:
        return 0
    if pointed:
        raise Unsupported(call.NAME, "of a directory in which something is mounted", errno.EBUSY)
    if in_layers and new is not None:
        return change_pair(files, call, old, new)
    by_descriptor = isinstance(call, LinkAt) and not call.oldpath and call.flags & AT_EMPTY_PATH
    if not by_descriptor and all(place is None or place.straight for place in (old, new)):
        return None
    changed: Request = call
    for rule, place in zip(call.PATHS, (old, new), strict=True):
        if place is not None:
            changed = at_host(changed, rule, place)
    return act(files, call, _by_link(call, changed) if by_descriptor else changed)


def _by_link(call: Any, changed: R) -> R:
    """Who opened the file is asked by the kernel, and that may be us; its link in /proc does as well."""
    link = b"/proc/%d/fd/%d" % (call.tracee.tid, call.olddirfd)
    flags = call.flags & ~AT_EMPTY_PATH | AT_SYMLINK_FOLLOW
    return changed.replace(olddirfd=AT_FDCWD, oldpath=link, flags=flags)


@answers(Acct, SwapOff, SwapOn)
def change_system(files: Files, call: Acct | SwapOff | SwapOn) -> Outcome:
    """What takes rights over the whole system, and is refused for want of them whatever the path."""
    needed = CAP_SYS_PACCT if isinstance(call, Acct) else CAP_SYS_ADMIN
    capabilities = files.tasks.credentials(files.task(call.tracee)).capabilities
    return translate(files, call) if capabilities >> needed & 1 else None


def _refuse_pair(files: Files, call: RenameAt2 | LinkAt, old: Place | None, new: Place | None) -> None:
    if isinstance(call, LinkAt) and new is not None:
        refuse_link(files, call, old, new)
    elif isinstance(call, RenameAt2) and old is not None and new is not None:
        refuse_rename(files, call, old, new)


def at_host(call: R, rule: PathRule, place: Place) -> R:
    """The call with one of its paths replaced by that of a place on the host."""
    changes: dict[str, Any] = {rule.field: place.host_path}
    if rule.anchor is not None:
        changes[rule.anchor] = AT_FDCWD
    return call.replace(**changes)


def _refuse_removing(files: Files, call: UnlinkAt) -> None:
    """A directory with a mount point in it is not empty, though the host may have nothing of that name."""
    place = files.find(call, call.PATHS[0], parent=True)
    if place is not None and place.path and has_points(place):
        raise fail(errno.ENOTEMPTY)


def _refuse(_files: Files, call: Request, place: Place) -> Outcome:
    if place.missing:
        raise fail(errno.ENOENT)
    assert place.filesystem is not None
    raise Unsupported(call.NAME, f"not supported on a {place.filesystem.title} file system")
