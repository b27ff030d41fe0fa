"""Layered xattrs: what layers note in extended attributes of files is no attribute of the file.

As with overlayfs the names are not listed, nothing is found by them, and none can be set.
"""

from __future__ import annotations

import errno

from diorama.abi.fcntl import O_PATH
from diorama.catalogue.xattr import (
    FGetXattr,
    FListXattr,
    GetXattr,
    GetXattrAt,
    LGetXattr,
    ListXattr,
    ListXattrAt,
    LListXattr,
)
from diorama.dispatch.files.answers import SYNTHETIC, Outcome, answers
from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.translation import at_host
from diorama.view.layers import PRIVATE_XATTRS

__all__ = ["look_at_open_file"]

_Listing = ListXattr | LListXattr | ListXattrAt | FListXattr
_Looking = GetXattr | LGetXattr | GetXattrAt | ListXattr | LListXattr | ListXattrAt


@answers(GetXattr, LGetXattr, GetXattrAt, ListXattr, LListXattr, ListXattrAt)
def look(files: Files, call: _Looking) -> Outcome:
    """Look at the attributes of what a path leads to."""
    rule = call.PATHS[0]
    place = files.locate(call, rule)
    if place is None:
        return None
    if place.filesystem is not None:
        return SYNTHETIC[type(call)](files, call, place)
    changed = at_host(call, rule, place)
    return changed if place.mount.layers is None else _look(changed)


def look_at_open_file(files: Files, call: FGetXattr | FListXattr) -> Outcome:
    """Look at the attributes of an open file; None if that is the kernel's."""
    task = files.task(call.tracee)
    try:
        place = files.tasks.descriptor(task, call.fd)
        if place.mount.layers is None or files.tasks.flags(task, call.fd) & O_PATH:
            return None
    except OSError:
        return None
    return _look(call)


def _look(call: _Looking | FGetXattr | FListXattr) -> Outcome:
    if isinstance(call, _Listing):
        return _list(call)
    if call.name.startswith(PRIVATE_XATTRS):
        raise fail(errno.ENODATA)
    return call


def _list(call: _Listing) -> int:
    """Without room for the names, what is told is how much is enough."""
    length = call.run()
    if not call.size or length <= 0:
        return length
    memory, at = call.tracee.memory, call.names.address
    names = memory.read(at, length).split(b"\0")[:-1]
    shown = b"".join(name + b"\0" for name in names if not name.startswith(PRIVATE_XATTRS))
    if 0 < len(shown) < length:
        memory.write(at, shown)
    return len(shown)
