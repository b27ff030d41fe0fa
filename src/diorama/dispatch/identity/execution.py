"""Execution: who a program runs as, by the file that it is (execve(2), capabilities(7)).

Set-user-ID bits and file capabilities count as the view shows them, of the file that is run in the end: of a
script it is the interpreter.  What the kernel would make of them on the host is another thing, and is kept
away (`PR_SET_NO_NEW_PRIVS`).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from diorama.abi.capability import FileCapabilities
from diorama.abi.elf import AT_EGID, AT_EUID, AT_GID, AT_SECURE, AT_UID
from diorama.catalogue.processes import ExecveAt
from diorama.dispatch.files.owned import look
from diorama.dispatch.identity.answers import Outcome, answers
from diorama.view.capabilities import NOTHING, Privileges, execute

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.auxiliary import Change
    from diorama.dispatch.identity.state import Identities
    from diorama.view.mounts import Place
    from diorama.view.task import Task

__all__ = ["about_to_execute", "tell"]

_ATTRIBUTE: Final = "security.capability"
_SET_GROUP_ID: Final = stat.S_ISGID | stat.S_IXGRP
_NOSUID: Final = "nosuid"


@answers(ExecveAt)
def execve(identities: Identities, call: ExecveAt) -> Outcome:
    """See it: who runs afterwards is settled when the file has been found."""
    identities.task(call.tracee).becoming = None
    return None if identities.files.tells_execs else call.run()


def about_to_execute(identities: Identities, task: Task, place: Place | None) -> None:
    """A task executes what is at a place, None if only the kernel knows; EPERM."""
    file = NOTHING if place is None else _privileges(identities, place)
    task.becoming = execute(identities.of_task(task), file)


def tell(task: Task, _tracee: Tracee) -> Change:
    """What a program finds about its identity when it begins, getauxval(3)."""
    who = task.identity
    if who is None:
        return {}
    return {AT_UID: who.uid, AT_EUID: who.euid, AT_GID: who.gid, AT_EGID: who.egid, AT_SECURE: task.is_secure}


def _privileges(identities: Identities, place: Place) -> Privileges:
    """What a file gives who executes it; nothing for what is not there."""
    try:
        mode, uid, gid = _owner(identities, place)
        if _NOSUID in place.mount.options or _is_on_nosuid(place):
            return NOTHING
        capabilities = _capabilities(place)
    except OSError:
        return NOTHING
    return Privileges(
        uid if mode & stat.S_ISUID else None,
        gid if mode & _SET_GROUP_ID == _SET_GROUP_ID else None,
        capabilities,
    )


def _owner(identities: Identities, place: Place) -> tuple[int, int, int]:
    """Mode and owners of a file, as the view shows them."""
    if place.filesystem is not None:
        attributes = place.filesystem.attributes(place.inode)
        return attributes.mode, attributes.uid, attributes.gid
    if place.mount.owners is not None:
        seen = look(place).seen
        return seen.mode, seen.uid, seen.gid
    status, mapping = os.stat(place.host_path), identities.mapping
    return status.st_mode, mapping.user(status.st_uid), mapping.group(status.st_gid)


def _is_on_nosuid(place: Place) -> bool:
    if place.filesystem is not None or place.mount.owners is not None:
        return False
    return bool(os.statvfs(place.host_path).f_flag & os.ST_NOSUID)


def _capabilities(place: Place) -> FileCapabilities | None:
    try:
        if place.filesystem is not None:
            data = place.filesystem.get_xattr(place.inode, _ATTRIBUTE.encode())
        elif place.mount.owners is not None:
            found = look(place)
            remembered = found.owners.attributes(found.path, found.status).get(_ATTRIBUTE.encode())
            if remembered is None:
                return None
            data = remembered
        else:
            data = os.getxattr(place.host_path, _ATTRIBUTE)
    except OSError:  # ENODATA, or a file system without any
        return None
    return FileCapabilities.parse(data)
