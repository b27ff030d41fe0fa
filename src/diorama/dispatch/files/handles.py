"""Handles: name_to_handle_at(2), which programs also ask for the id of a mount, and open_by_handle_at(2)."""

from __future__ import annotations

import errno
from typing import Final

from diorama.abi.fcntl import O_ACCMODE, O_PATH, O_TRUNC
from diorama.catalogue.files import NameToHandleAt, OpenByHandleAt
from diorama.dispatch.files.answers import Outcome, answers, fail
from diorama.dispatch.files.identities import mount_id_of, unique_id
from diorama.dispatch.files.names import reached_place
from diorama.dispatch.files.state import Files
from diorama.dispatch.files.translation import at_host
from diorama.errors import Unsupported

_AT_HANDLE_MNT_ID_UNIQUE: Final = 0x001


@answers(NameToHandleAt)
def name_handle(files: Files, call: NameToHandleAt) -> Outcome:
    """File systems of ours have no handles; the kernel's own tell the mount of the view."""
    rule = call.PATHS[0]
    place = files.find(call, rule)
    if place is not None and place.filesystem is not None:
        raise fail(errno.ENOENT if place.missing else errno.EOPNOTSUPP)
    translated = place is not None and place.touched and not place.straight
    changed = at_host(call, rule, place) if place is not None and translated else call
    known = reached_place(files, files.task(call.tracee), call, place)
    if known is None or known.missing or known.mount.is_bottom or not call.mount_id:
        return None if changed is call else changed
    try:
        changed.run()
    except OSError as error:
        # The id is told then too, which is how programs ask for it alone.
        if error.errno == errno.EOVERFLOW:
            _tell(call, mount_id_of(files, known))
        raise
    _tell(call, mount_id_of(files, known))
    return 0


def _tell(call: NameToHandleAt, id: int) -> None:
    is_unique = call.flags & _AT_HANDLE_MNT_ID_UNIQUE
    number = unique_id(id).to_bytes(8, "little") if is_unique else id.to_bytes(4, "little")
    call.tracee.memory.write(call.mount_id.address, number)


@answers(OpenByHandleAt)
def open_by_handle(files: Files, call: OpenByHandleAt) -> Outcome:
    """Nothing is opened for writing by a handle where it may be what layers have below.

    Whatever descriptor is given with it, a handle can be that of any file on the same file system.
    """
    if call.flags & O_PATH or not call.flags & (O_ACCMODE | O_TRUNC):
        return None
    mount = files.mount_of(files.task(call.tracee), call.mount_fd)
    if mount is not None and mount.read_only:
        raise fail(errno.EROFS)
    if files.has_layers:
        raise Unsupported(call.NAME, "for writing, in a view with layers", errno.ESTALE)
    return None
