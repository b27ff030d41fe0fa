"""Fdinfo: /proc/PID/fdinfo/N, with the mount and the inode that a file has in the view."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from diorama.dispatch.files.generated import Subject, makes
from diorama.dispatch.files.identities import mount_id, mount_id_of, number_of
from diorama.dispatch.files.names import place_of_object

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files

_MOUNT: Final = re.compile(rb"^(mnt_id:\t)(\d+)$", re.MULTILINE)
_INODE: Final = re.compile(rb"^(ino:\t)(\d+)$", re.MULTILINE)


@makes(rb"fdinfo/\d+")
def make_fdinfo(files: Files, subject: Subject) -> bytes:
    """Position, flags and locks are the kernel's."""
    text = subject.real()
    link = os.path.dirname(os.path.dirname(subject.path)) + b"/fd/" + os.path.basename(subject.path)
    status = files.host.stat(link)
    made = files.generated.find(status)
    if made is not None:
        return _INODE.sub(rb"\g<1>%d" % os.stat(made).st_ino, _MOUNT.sub(rb"\g<1>%d" % mount_id(made), text))
    place = place_of_object(files, subject.reader, subject.task, files.host.readlink(link), status)
    if place is None:
        return text
    if place.filesystem is not None:
        text = _INODE.sub(rb"\g<1>%d" % number_of(place), text)
    return _MOUNT.sub(lambda found: b"mnt_id:\t%d" % mount_id_of(files, place, int(found[2])), text)
