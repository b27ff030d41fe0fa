"""Mapped: whose the files of the host are, in a view whose programs run as a user that was chosen.

What belongs to the supervisor's own user and group on the host is shown as that user's, as in a user
namespace, and who gives it to that user leaves it as it is.  Others are who they are on the host.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Final

from diorama.abi.fcntl import AT_FDCWD
from diorama.catalogue.files import FChOwn, FChOwnAt, FStat, FStatAt, Statx
from diorama.dispatch.files.answers import ANSWERS, Outcome
from diorama.dispatch.files.identities import write_with_ids
from diorama.dispatch.files.objections import check_arguments
from diorama.dispatch.files.owned import GOES_ON, GoesOn
from diorama.dispatch.files.shown import stat_of, statx_of
from diorama.dispatch.files.translation import translate
from diorama.view.mounts import Place

if TYPE_CHECKING:
    from diorama.catalogue.model import Request
    from diorama.dispatch.files.state import Files
    from diorama.view.identity import Mapping

__all__ = ["answer_mapped"]

_NOBODY: Final = 0xFFFFFFFF
_PROCESS: Final = re.compile(rb"/proc/(\d+)(?:/task/(\d+))?(?:/.*)?")
_DIRECTORY: Final = stat.S_IFDIR | 0o555


def answer_mapped(files: Files, call: Request, mapping: Mapping) -> Outcome | GoesOn:
    """Answer what tells or changes an owner, unless that is another's to answer."""
    if isinstance(call, FStatAt | FStat | Statx):
        return _show(files, call, mapping)
    if isinstance(call, FChOwnAt | FChOwn):
        return _give(files, call, mapping)
    return GOES_ON


def _show(files: Files, call: FStatAt | FStat | Statx, mapping: Mapping) -> Outcome | GoesOn:
    place = _place(files, call)
    if place is None or place.missing or place.filesystem is not None:
        return GOES_ON
    if place.mount.layers is not None or not files.has_our_rights(call.tracee):
        return _changed(files, call, mapping)
    if not isinstance(call, FStat):
        check_arguments(call)
    path = place.host_path
    path = files.generated.behind(files.host, path) or path
    status = os.stat(path) if place.link and path == place.link else os.lstat(path)
    uid, gid = _of_process(files, path, status) or (mapping.user(status.st_uid), mapping.group(status.st_gid))
    if not isinstance(call, Statx):
        call.status.write(stat_of(status, st_uid=uid, st_gid=gid))
        return 0
    shown = statx_of(path, call, follow=path == place.link).replace(stx_uid=uid, stx_gid=gid)
    if place.mount.is_bottom:
        call.status.write(shown)
    else:
        write_with_ids(files, call, place, shown)
    return 0


def _of_process(files: Files, path: bytes, status: os.stat_result) -> tuple[int, int] | None:
    """Whose a file of a process's directory is: its user's, or root's if it has closed its memory."""
    match = _PROCESS.fullmatch(path)
    task = None if match is None else files.tasks.find(int(match[2] or match[1]))
    if task is None or task.identity is None:
        return None
    if task.is_closed and status.st_mode != _DIRECTORY:
        return 0, 0
    return task.identity.euid, task.identity.egid


def _place(files: Files, call: FStatAt | FStat | Statx) -> Place | None:
    """What is meant: of a descriptor its link in /proc, unless it is one of ours."""
    task = files.task(call.tracee)
    if isinstance(call, FStat):
        fd = call.fd
    elif call.path:
        return files.find(call, call.PATHS[0])
    elif call.PATHS[0].accepts_empty(call):
        fd = call.dirfd
    else:
        return None
    if fd == AT_FDCWD:
        link, place = b"/proc/%d/cwd" % task.tid, files.tasks.cwd(task)
    else:
        link = b"/proc/%d/fd/%d" % (task.tid, fd)
        try:
            place = files.tasks.descriptor(task, fd)
        except OSError:
            return None
        if files.tasks.standing(task, fd) is not None:
            return None
    return place if place.filesystem is not None else place._replace(link=link)


def _changed(files: Files, call: FStatAt | FStat | Statx, mapping: Mapping) -> Outcome:
    """Answer, and put another owner into what the program was told."""
    outcome = ANSWERS[type(call)](files, call)
    if not isinstance(outcome, int):
        (outcome if isinstance(outcome, FStatAt | FStat | Statx) else call).run()
    if isinstance(call, Statx):
        extended = call.status.read()
        uid, gid = mapping.user(extended.stx_uid), mapping.group(extended.stx_gid)
        call.status.write(extended.replace(stx_uid=uid, stx_gid=gid))
    else:
        found = call.status.read()
        uid, gid = mapping.user(found.st_uid), mapping.group(found.st_gid)
        call.status.write(found.replace(st_uid=uid, st_gid=gid))
    return 0


def _give(files: Files, call: FChOwnAt | FChOwn, mapping: Mapping) -> Outcome | GoesOn:
    """Give a file of the host to somebody, as far as the supervisor's own user is meant."""
    owner = call.owner if call.owner == _NOBODY else mapping.host_user(call.owner)
    group = call.group if call.group == _NOBODY else mapping.host_group(call.group)
    if (owner, group) == (call.owner, call.group) or _is_synthetic(files, call):
        return GOES_ON
    changed = call.replace(owner=owner, group=group)
    outcome = ANSWERS.get(type(call), translate)(files, changed)
    return changed if outcome is None else outcome


def _is_synthetic(files: Files, call: FChOwnAt | FChOwn) -> bool:
    if isinstance(call, FChOwn):
        place = files.tasks.standing(files.task(call.tracee), call.fd)
    else:
        place = files.find(call, call.PATHS[0])
    return place is not None and place.filesystem is not None
