"""Links: readlink(2), of links in the view and of the links in /proc that lead to virtual objects."""

from __future__ import annotations

import errno
import stat

from diorama.catalogue.paths import ReadLinkAt
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.names import name_of_link
from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.translation import at_host
from diorama.view.inspection import LINKS, check_inspection
from diorama.view.mounts import Place


@answers(ReadLinkAt)
def read_link(files: Files, call: ReadLinkAt) -> Outcome:
    """The target of a link."""
    rule = call.PATHS[0]
    place = files.find(call, rule)
    if place is None:
        return None
    if place.filesystem is not None:
        if place.missing:
            raise fail(errno.ENOENT)
        if not place.path and stat.S_ISDIR(place.mount.kind):
            raise fail(errno.EINVAL)  # whether its server answers or not, by which umount(8) goes
        # As Linux, nobody is asked for the target of what is no link: encfs, for one, has an answer.
        if place.filesystem.attributes(place.inode).kind != stat.S_IFLNK:
            raise fail(errno.EINVAL)
        return _write(call, place.filesystem.readlink(place.inode))
    name = _name(files, call, place)
    if name is not None:
        return _write(call, name)
    return at_host(call, rule, place) if place.touched and not place.straight else None


def _name(files: Files, call: ReadLinkAt, place: Place) -> bytes | None:
    """What a link of /proc leads to, if it is not what the kernel would say."""
    link = place.host_path
    if not link.startswith(b"/proc/"):
        return None
    task = files.task(call.tracee)
    check_inspection(files.tasks, task, link, LINKS)
    try:
        return name_of_link(files, task, link)
    except OSError:
        return None


def _write(call: ReadLinkAt, text: bytes) -> int:
    # `size` is an int, as readlink(2) has it.
    if not 0 < call.size < 1 << 31:
        raise fail(errno.EINVAL)
    return call.buffer.write(text)
