"""Binding: AF_UNIX sockets with names in file systems of ours; unix(7).

A name is a file of type socket; the socket itself is bound to a path of the host, in a directory of ours,
which takes the place of the name in addresses on their way to the kernel.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from diorama.abi.socket import UNIX_PATH_MAX, UnixAddress
from diorama.dispatch.files.entries import check_free, check_may_make, make, new_file
from diorama.dispatch.files.state import Files, fail
from diorama.view.mounts import Place

if TYPE_CHECKING:
    from diorama.catalogue.model import Request
    from diorama.catalogue.sockets import Bind

__all__ = ["bind", "bound_path"]


def bind(files: Files, call: Bind, place: Place, given: bytes) -> int:
    """Bind a socket to an address, which leads to a place of ours."""
    filesystem, task = place.filesystem, files.task(call.tracee)
    assert filesystem is not None
    with files.synthetic.naming(filesystem):
        try:
            check_free(place)
        except FileExistsError:
            raise fail(errno.EADDRINUSE) from None
        above = check_may_make(files, task, filesystem, place.directory)
        path = files.standins.room_for_socket()
        if len(path) > UNIX_PATH_MAX:
            raise fail(errno.ENAMETOOLONG)
        packed = UnixAddress(path).pack()
        files.addresses.bound(packed, given)
        call.replace(address=packed, address_size=len(packed)).run()
        made = make(files, place, new_file(files, task, stat.S_IFSOCK | 0o777, above))
        files.standins.bound(made, path)
    return 0


def bound_path(files: Files, call: Request, place: Place) -> bytes:
    """The path on the host of the socket that a name of ours leads to; ECONNREFUSED if there is none."""
    if place.missing:
        raise fail(errno.ENOENT)
    filesystem = place.filesystem
    assert filesystem is not None
    attributes = filesystem.attributes(place.inode)
    if not files.permits(files.task(call.tracee), attributes, os.W_OK):
        raise fail(errno.EACCES)
    path = files.standins.socket(filesystem, place.inode) if attributes.kind == stat.S_IFSOCK else None
    if path is None:
        raise fail(errno.ECONNREFUSED)
    return path
