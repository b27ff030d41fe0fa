"""Removing: unlink(2) and rmdir(2) in file systems of ours."""

from __future__ import annotations

import errno

from diorama.abi.fcntl import AT_REMOVEDIR
from diorama.catalogue.paths import UnlinkAt
from diorama.dispatch.files.answers import Outcome, on_synthetic
from diorama.dispatch.files.entries import Victim, check_may_change
from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.synthetic import name_of
from diorama.view.mounts import Place


@on_synthetic(UnlinkAt)
def remove(files: Files, call: UnlinkAt, place: Place) -> Outcome:
    """Remove a name."""
    if call.flags & ~AT_REMOVEDIR:
        raise fail(errno.EINVAL)
    as_directory = bool(call.flags & AT_REMOVEDIR)
    _check_name(place, as_directory=as_directory)
    check_may_change(place.mount)
    filesystem = place.filesystem
    assert filesystem is not None
    with files.synthetic.naming(filesystem):
        victim = Victim(files, files.task(call.tracee), place)
        if not as_directory and place.slash:
            _refuse_slash(victim)
        status = victim.check_removal(as_directory=as_directory)
        if victim.is_mount_point:
            raise fail(errno.EBUSY)
        assert victim.inode is not None
        files.synthetic.keep_for_holders(filesystem, victim.inode)
        filesystem.remove(place.directory, victim.name)
        files.synthetic.removed(place._replace(inode=victim.inode), status)
    return 0


def _check_name(place: Place, *, as_directory: bool) -> None:
    name = name_of(place)
    if not as_directory:
        if name in (b"", b".", b".."):
            raise fail(errno.EISDIR)
    elif not name:
        raise fail(errno.EBUSY)
    elif name in (b".", b".."):
        raise fail(errno.EINVAL if name == b"." else errno.ENOTEMPTY)


def _refuse_slash(victim: Victim) -> None:
    if victim.status is None:
        raise fail(errno.ENOENT)
    raise fail(errno.EISDIR if victim.is_directory else errno.ENOTDIR)
