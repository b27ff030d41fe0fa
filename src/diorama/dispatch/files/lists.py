"""Lists: access control lists as extended attributes, acl(5), where it is we who see to permissions."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final

from diorama.dispatch.files.state import fail
from diorama.view.acl import ACCESS, DEFAULT, Acl, begin, minimal

if TYPE_CHECKING:
    import os

    from diorama.view.credentials import Credentials
    from diorama.view.filesystem import Attributes
    from diorama.view.owning import Owners

__all__ = ["LISTS", "give_lists", "judge_list", "list_of"]

LISTS: Final = (ACCESS, DEFAULT)
_SPECIAL: Final = 0o7000


def list_of(attributes: Attributes, name: bytes) -> bytes:
    """The value of a list; ENODATA if there is none."""
    if stat.S_ISLNK(attributes.mode):
        raise fail(errno.EOPNOTSUPP)
    found = attributes.acl if name == ACCESS else attributes.default_acl
    if found is None:
        raise fail(errno.ENODATA)
    return found.pack()


def judge_list(
    who: Credentials, was: Attributes, name: bytes, value: bytes | None
) -> tuple[Acl | None, int | None]:
    """What setting a list means, or removing it: the list to keep, and the permission bits if they change.

    vfs_set_acl() of fs/posix_acl.c; EINVAL, EACCES, EPERM, EOPNOTSUPP.
    """
    acl = Acl.unpack(value) if value else None
    if stat.S_ISLNK(was.mode):
        raise fail(errno.EOPNOTSUPP)
    if name == DEFAULT and not stat.S_ISDIR(was.mode):
        if acl is not None:
            raise fail(errno.EACCES)
        return None, None
    if not who.owns(was):
        raise fail(errno.EPERM)
    if acl is not None:
        acl.check()
    if name == DEFAULT or acl is None:
        return acl, None
    special = was.mode & _SPECIAL
    if not who.keeps_group_bit(was.gid):
        special &= ~stat.S_ISGID
    return minimal(acl), special | acl.mode


def give_lists(owners: Owners, path: bytes, status: os.stat_result, directory: Attributes, mode: int) -> None:
    """Let what was made with this mode and type in a directory have what the default list there says."""
    _, acl, default = begin(directory.default_acl, mode)
    for name, one in ((ACCESS, acl), (DEFAULT, default)):
        if one is not None:
            owners.set_attribute(path, status, name, one.pack())
