"""Handles: name_to_handle_at(2), which programs also ask for the id of a mount."""

from __future__ import annotations

import errno
from typing import Final

from diorama.catalogue.files import NameToHandleAt
from diorama.dispatch.files.answers import Outcome, answers, fail
from diorama.dispatch.files.identities import mount_id_of, unique_id
from diorama.dispatch.files.names import reached_place
from diorama.dispatch.files.state import Files
from diorama.dispatch.files.translation import at_host

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
