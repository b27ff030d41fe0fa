"""Translation: the general answer to a request that names files.

For each path: None when the kernel finds the same by itself; the path of the host place that it leads to
otherwise.  What leads into a file system of ours and has no answer of its own is refused.
"""

from __future__ import annotations

import errno
from typing import Any, Final, TypeVar

from diorama.abi.fcntl import AT_FDCWD
from diorama.catalogue.model import PathRule, Request
from diorama.catalogue.paths import LinkAt, RenameAt2, UnlinkAt
from diorama.dispatch.files.acting import act
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.state import Files, fail
from diorama.errors import Unsupported
from diorama.view.mounts import Place

__all__ = ["at_host", "refuse_writing", "translate"]

R = TypeVar("R", bound=Request)

_REMOVING: Final = (UnlinkAt, RenameAt2)


def translate(files: Files, call: Request) -> Outcome:
    """Put host paths in the place of those that meet a mount."""
    changed = call
    for rule in call.PATHS:
        place = files.locate(call, rule, parent=_is_name(call, rule))
        if place is None:
            continue
        if call.writes:
            refuse_writing(call, rule, place)
        if place.filesystem is not None:
            raise _refusal(call, place)
        changed = at_host(changed, rule, place)
    return None if changed is call else act(files, call, changed)


@answers(RenameAt2, LinkAt)
def translate_pair(files: Files, call: RenameAt2 | LinkAt) -> Outcome:
    """Two paths that must lead into one mount."""
    places = [files.find(call, rule, parent=_is_name(call, rule)) for rule in call.PATHS]
    known = [place for place in places if place is not None]
    if not any(place.touched for place in known):
        return None
    if len({place.mount for place in known}) > 1:
        raise fail(errno.EXDEV)
    changed: Request = call
    for rule, place in zip(call.PATHS, places, strict=True):
        if place is not None:
            refuse_writing(call, rule, place)
            changed = at_host(changed, rule, place)
    return None if all(place.straight for place in known) else act(files, call, changed)


def at_host(call: R, rule: PathRule, place: Place) -> R:
    """The call with one of its paths replaced by that of a place on the host."""
    changes: dict[str, Any] = {rule.field: place.host_path}
    if rule.anchor is not None:
        changes[rule.anchor] = AT_FDCWD
    return call.replace(**changes)


def refuse_writing(call: Request, rule: PathRule, place: Place) -> None:
    """Raise what a read-only mount, or a mount point, answers, in the order of the kernel's checks."""
    if _is_name(call, rule) and not place.path and place.mount.point is not None:
        raise fail(errno.EBUSY if isinstance(call, _REMOVING) else errno.EEXIST)
    if not place.mount.read_only:
        return
    if isinstance(call, _REMOVING):
        raise fail(errno.EROFS)
    if _is_name(call, rule):
        raise fail(errno.EROFS if place.missing else errno.EEXIST)
    raise fail(errno.ENOENT if place.missing else errno.EROFS)


def _is_name(call: Request, rule: PathRule) -> bool:
    """Whether the last component is a name to be made or removed, rather than a file to be found."""
    return isinstance(call, _REMOVING) or (rule.creates(call) and not rule.follows(call))


def _refusal(call: Request, place: Place) -> OSError:
    if place.missing:
        return fail(errno.ENOENT)
    assert place.filesystem is not None
    return Unsupported(call.NAME, f"not supported on a {place.filesystem.title} file system")
