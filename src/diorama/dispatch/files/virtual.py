"""Virtual: opening what is in a file system of ours, by the rules of do_open() and may_open() (fs/namei.c).

Who may open what is decided here.  What is opened then is a real object: the memfd of a regular file, or what
stands for another; it is given to the program where the engine can, or else opened by the program itself.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Final

from diorama.abi import fcntl
from diorama.dispatch.files.attributes import drop_special_bits
from diorama.dispatch.files.entries import check_may_change, check_may_make, create, find, new_file
from diorama.dispatch.files.patience import wait_for
from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.synthetic import name_of
from diorama.dispatch.files.through import open_through
from diorama.dispatch.files.whole import can_be_high, make_whole
from diorama.engine.held import Descriptor
from diorama.view.filesystem import Attributes, OpenFile
from diorama.view.mounts import Place

if TYPE_CHECKING:
    from diorama.abi.fcntl import OpenHow
    from diorama.catalogue.files import OpenAt, OpenAt2
    from diorama.dispatch.files.content import Content
    from diorama.view.task import Task

__all__ = ["OpenedDirectly", "open_content", "open_device", "open_virtual"]

_TMPFILE: Final = fcntl.O_TMPFILE & ~fcntl.O_DIRECTORY
_DONE: Final = fcntl.O_CREAT | fcntl.O_EXCL | fcntl.O_NOFOLLOW | _TMPFILE | fcntl.O_DIRECTORY
_HUGE: Final = 1 << 30
_WANTED: Final = (os.R_OK, os.W_OK, os.R_OK | os.W_OK, os.R_OK | os.W_OK)


class OpenedDirectly(Exception):
    """In the place of a path: `fd` is what stands for a file that is read and written directly."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.fd = fd


def open_virtual(
    files: Files, call: OpenAt | OpenAt2, place: Place, how: OpenHow
) -> tuple[bytes, int]:
    """The path and the flags with which the kernel opens what stands for a file; `OpenedDirectly`."""
    task, flags = files.task(call.tracee), how.flags
    if flags & fcntl.O_PATH:
        return _open_path(files, task, place, flags)
    if flags & _TMPFILE:
        return _open_unnamed(files, task, place, how)
    if not flags & fcntl.O_CREAT:
        return _open_existing(files, task, place, flags)
    if flags & fcntl.O_DIRECTORY:
        raise fail(errno.EINVAL)
    if place.slash:
        raise fail(errno.EISDIR)
    if not place.missing:
        return _open_existing(files, task, place, flags)
    filesystem = place.filesystem
    assert filesystem is not None
    with files.synthetic.naming(filesystem):
        inode = find(filesystem, place.directory, name_of(place))
        if inode is None:
            try:
                return _create(files, task, place, how)
            except FileExistsError:
                inode = find(filesystem, place.directory, name_of(place))
                if inode is None:
                    raise
            # It was made past this view since it was looked for.
    return _open_existing(files, task, place._replace(inode=inode, missing=False), flags)


def _create(files: Files, task: Task, place: Place, how: OpenHow) -> tuple[bytes, int]:
    filesystem = place.filesystem
    assert filesystem is not None
    check_may_change(place.mount)
    above = check_may_make(files, task, filesystem, place.directory)
    attributes = new_file(files, task, stat.S_IFREG | how.mode & 0o7777, above)
    made, opened = create(files, place, attributes, how.flags & ~fcntl.O_TRUNC)
    return open_content(files, task, made, how.flags & ~fcntl.O_TRUNC, opened)


def _open_path(files: Files, task: Task, place: Place, flags: int) -> tuple[bytes, int]:
    """A descriptor that only names a file: whoever may search the way may have it."""
    attributes = _attributes(files, place)
    flags &= fcntl.O_PATH | fcntl.O_CLOEXEC | fcntl.O_DIRECTORY | fcntl.O_NOFOLLOW
    if flags & fcntl.O_DIRECTORY and attributes.kind != stat.S_IFDIR:
        raise fail(errno.ENOTDIR)
    if attributes.kind == stat.S_IFREG:
        path, flags = open_content(files, task, place, flags)
        content = files.synthetic.contents.find(place.filesystem, place.inode)
        if content is not None:
            content.is_named = True
        return path, flags
    try:
        return files.stand_in(place, attributes), flags
    except PermissionError:  # a device that we may not make: any file can stand for what cannot be opened
        return files.standins.special(place, stat.S_IFSOCK), flags


def open_device(
    files: Files, task: Task, place: Place, flags: int, shown: Attributes | None = None
) -> Descriptor | None:
    """What a file system of ours gives for one of its devices; None if that is none, or not opened.

    `OpenedDirectly` for one whose reads and writes are answered one by one.  `shown` is the status that tells
    who may, if that is not its own.
    """
    filesystem = place.filesystem
    assert filesystem is not None
    if place.missing or flags & (fcntl.O_PATH | fcntl.O_DIRECTORY) or _is_new(flags):
        return None  # what is wrong with that counts for all that exists
    attributes = _attributes(files, place)
    if attributes.kind not in (stat.S_IFCHR, stat.S_IFBLK):
        return None
    if not files.tasks.credentials(task).permits(shown or attributes, _WANTED[flags & fcntl.O_ACCMODE]):
        raise fail(errno.EACCES)
    if files.direct.is_seen:
        files.direct.settle()
        special = filesystem.open_special(place.inode, flags)
        if special is not None:
            raise OpenedDirectly(files.direct.open(place, special, flags, special))
    fd = filesystem.open_device(place.inode, flags)
    files.inodes.add(os.fstat(fd), place)
    return Descriptor(fd, cloexec=bool(flags & os.O_CLOEXEC))


def _is_new(flags: int) -> bool:
    return bool(flags & fcntl.O_CREAT and flags & fcntl.O_EXCL)


def _open_existing(files: Files, task: Task, place: Place, flags: int) -> tuple[bytes, int]:
    attributes = _attributes(files, place)
    kind = attributes.kind
    if _is_new(flags):
        raise fail(errno.EEXIST)
    if kind == stat.S_IFLNK:
        raise fail(errno.ENOTDIR if flags & fcntl.O_DIRECTORY else errno.ELOOP)
    if kind == stat.S_IFDIR and flags & fcntl.O_CREAT:
        raise fail(errno.EISDIR)
    if kind != stat.S_IFDIR and flags & fcntl.O_DIRECTORY:
        raise fail(errno.ENOTDIR)
    _check_permission(files, task, place, attributes, flags)
    if kind == stat.S_IFREG:
        if flags & fcntl.O_TRUNC:
            drop_special_bits(files, task, place, attributes)
        return open_content(files, task, place, flags)
    if kind == stat.S_IFSOCK:
        raise fail(errno.ENXIO)
    path = files.stand_in(place, attributes)
    # Not followed: it is no link, and what is there must be what we have put there.
    return path, flags & ~_DONE | (fcntl.O_DIRECTORY if kind == stat.S_IFDIR else fcntl.O_NOFOLLOW)


def _check_permission(files: Files, task: Task, place: Place, attributes: Attributes, flags: int) -> None:
    wanted = _WANTED[flags & fcntl.O_ACCMODE]
    is_file, is_directory = attributes.kind == stat.S_IFREG, attributes.kind == stat.S_IFDIR
    if flags & fcntl.O_TRUNC and (is_file or is_directory):
        wanted |= os.W_OK
    if is_directory and wanted & os.W_OK:
        raise fail(errno.EISDIR)
    if is_file and wanted & os.W_OK:
        check_may_change(place.mount)
    who = files.tasks.credentials(task)
    if not who.permits(attributes, wanted):
        raise fail(errno.EACCES)
    if flags & fcntl.O_NOATIME and not who.owns(attributes):
        raise fail(errno.EPERM)


def open_content(
    files: Files, task: Task, place: Place, flags: int, opened: OpenFile | None = None
) -> tuple[bytes, int]:
    """As `open_virtual`, for a regular file; `opened` is what its file system has made of it already."""
    assert place.filesystem is not None
    if opened is None and not flags & fcntl.O_PATH:
        opened = place.filesystem.open_file(place.inode, flags)
    try:
        content, high = _content_of(files, task, place, flags, opened)
    except PermissionError:
        # Who only writes need not be able to read what there is.
        if opened is not None and flags & fcntl.O_ACCMODE == fcntl.O_WRONLY and files.direct.is_seen:
            raise OpenedDirectly(files.direct.open(place, opened, flags)) from None
        _let_go(opened)
        raise
    except OpenedDirectly:
        raise
    except BaseException:
        _let_go(opened)
        raise
    if opened is not None:
        files.synthetic.contents.holding.hold(content, opened)
    if not flags & fcntl.O_PATH:
        open_it = partial(files.synthetic.contents.opening, content, flags)
        if content.pieces is None:
            open_it()
        else:
            wait_for(task.tid, open_it)  # to write to it takes all of it
    _give_high(files, task, content, flags, high=high)
    if opened is not None and files.writes_through:
        _give_through(files, task, content, opened, flags)
    # The path is a link, which must be followed.
    return content.path, flags & ~_DONE


def _content_of(
    files: Files, task: Task, place: Place, flags: int, opened: OpenFile | None
) -> tuple[Content, bool]:
    """The memfd of a file, and whether it may be in pieces; `OpenedDirectly` for what has none."""
    assert place.filesystem is not None
    high = _is_high(files, task, place, flags)
    if opened is not None and files.direct.is_seen and (opened.direct or _is_huge(files, place, high=high)):
        raise OpenedDirectly(files.direct.open(place, opened, flags))
    fresh = opened is not None and not (opened.keeps or flags & fcntl.O_TRUNC)
    attributes = place.filesystem.attributes(place.inode)
    return files.content(task, place, attributes, fresh=fresh, high=high), high


def _is_high(files: Files, task: Task, place: Place, flags: int) -> bool:
    """Whether what is opened is large and only read, and so may be held in pieces."""
    assert place.filesystem is not None
    limit = place.filesystem.large_above
    if limit is None or place.filesystem.attributes(place.inode).size <= limit:
        return False
    if flags & fcntl.O_PATH:
        return files.direct.is_seen
    return not flags & (fcntl.O_ACCMODE | fcntl.O_TRUNC) and can_be_high(files, task)


def _give_high(files: Files, task: Task, content: Content, flags: int, *, high: bool) -> None:
    """What is in pieces gets a descriptor at which it is seen that it is read: `OpenedDirectly`."""
    if content.pieces is None or files.lazy.is_seen or flags & fcntl.O_PATH:
        return
    if high:
        raise OpenedDirectly(os.open(content.path, flags & ~_DONE | os.O_CLOEXEC))
    make_whole(files, task, "open", content.pieces)


def _give_through(files: Files, task: Task, content: Content, opened: OpenFile, flags: int) -> None:
    """What is written through gets a descriptor at which that is seen, if there can be one."""
    if content.filesystem.takes_writes and opened.writes:
        files.lazy.on_add(os.fstat(content.fd))  # so that duplicating it is seen
        if can_be_high(files, task):
            raise OpenedDirectly(open_through(content, flags & ~_DONE))
        content.is_unseen = True


def _let_go(opened: OpenFile | None) -> None:
    if opened is not None:
        opened.close()


def _is_huge(files: Files, place: Place, *, high: bool) -> bool:
    """Whether a file is too large to be kept here, and is not yet, nor will be in pieces."""
    assert place.filesystem is not None
    if high or place.filesystem.attributes(place.inode).size <= _HUGE:
        return False
    content = files.synthetic.contents.find(place.filesystem, place.inode)
    return content is None or content.pieces is not None


def _open_unnamed(files: Files, task: Task, place: Place, how: OpenHow) -> tuple[bytes, int]:
    """A file without a name, in a directory."""
    attributes = _attributes(files, place)
    if attributes.kind != stat.S_IFDIR:
        raise fail(errno.ENOTDIR)
    if not how.flags & fcntl.O_ACCMODE:
        raise fail(errno.EINVAL)
    check_may_change(place.mount)
    filesystem = place.filesystem
    assert filesystem is not None
    above = check_may_make(files, task, filesystem, place.inode)
    made = new_file(files, task, stat.S_IFREG | how.mode & 0o7777, above)
    inode, opened = filesystem.create_unnamed(place.inode, made, how.flags)
    files.synthetic.unnamed(filesystem, inode)
    unnamed = Place(place.mount, place.path + b"/#%d" % inode, inode, removed=True, touched=True)
    path, flags = open_content(files, task, unnamed, how.flags, opened)
    content = files.synthetic.contents.find(filesystem, inode)
    assert content is not None
    content.may_be_linked = not how.flags & fcntl.O_EXCL
    files.synthetic.contents.orphan(filesystem, inode)
    return path, flags


def _attributes(files: Files, place: Place) -> Attributes:
    if place.missing:
        raise fail(errno.ENOENT)
    assert place.filesystem is not None
    return files.synthetic.attributes(place.filesystem, place.inode)
