"""Making: mkdir(2), mknod(2), symlink(2) and link(2) in file systems of ours."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from diorama.abi.fcntl import AT_EMPTY_PATH, AT_SYMLINK_FOLLOW
from diorama.catalogue.paths import LinkAt, MkDirAt, MkNodAt, SymlinkAt
from diorama.dispatch.files.answers import Outcome, on_synthetic
from diorama.dispatch.files.entries import check_free, check_may_make, make, new_file
from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.synthetic import name_of
from diorama.view.credentials import CAP_DAC_READ_SEARCH, CAP_MKNOD, Credentials
from diorama.view.filesystem import Attributes
from diorama.view.mounts import Place

__all__ = ["link", "may_link"]

_PATH_MAX: Final = 4096
_LINK_FLAGS: Final = AT_SYMLINK_FOLLOW | AT_EMPTY_PATH
_NODES: Final = (stat.S_IFREG, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)
_DEVICES: Final = (stat.S_IFCHR, stat.S_IFBLK)


@on_synthetic(MkDirAt)
def make_directory(files: Files, call: MkDirAt, place: Place) -> Outcome:
    """Make a directory."""
    _make(files, call, place, stat.S_IFDIR | call.mode & 0o1777)
    return 0


@on_synthetic(MkNodAt)
def make_node(files: Files, call: MkNodAt, place: Place) -> Outcome:
    """Make a file, a FIFO, a socket without an owner, or a device."""
    kind = stat.S_IFMT(call.mode) or stat.S_IFREG
    if kind not in _NODES:
        raise fail(errno.EPERM if kind == stat.S_IFDIR else errno.EINVAL)
    _make(files, call, place, kind | call.mode & 0o7777, call.device if kind in _DEVICES else 0)
    return 0


@on_synthetic(SymlinkAt)
def make_symlink(files: Files, call: SymlinkAt, place: Place) -> Outcome:
    """Make a symbolic link."""
    if not call.target:
        raise fail(errno.ENOENT)
    if len(call.target) >= _PATH_MAX:
        raise fail(errno.ENAMETOOLONG)
    _make(files, call, place, stat.S_IFLNK | 0o777, target=call.target)
    return 0


def _make(
    files: Files,
    call: MkDirAt | MkNodAt | SymlinkAt,
    place: Place,
    mode: int,
    device: int = 0,
    target: bytes = b"",
) -> None:
    filesystem, task = place.filesystem, files.task(call.tracee)
    assert filesystem is not None
    with files.synthetic.naming(filesystem):
        check_free(place, is_directory=stat.S_ISDIR(mode))
        above = check_may_make(files, task, filesystem, place.directory)
        who = files.tasks.credentials(task)
        if stat.S_IFMT(mode) in _DEVICES and not who.has(CAP_MKNOD):
            raise fail(errno.EPERM)
        make(files, place, new_file(files, task, mode, above, device), target)


# -- links ----------------------------------------------------------------------------------------


def link(files: Files, call: LinkAt, old: Place | None, new: Place | None) -> Outcome:
    """Give a file of ours another name; at least one of the places is in a file system of ours."""
    if call.flags & ~_LINK_FLAGS:
        raise fail(errno.EINVAL)
    if old is None or new is None:
        raise files.reason(call, call.PATHS[old is not None])
    if old.missing:
        raise fail(errno.ENOENT)
    if not call.oldpath:
        _check_empty(files, call)
    filesystem = old.filesystem
    if filesystem is None or new.filesystem is not filesystem or old.mount is not new.mount:
        if new.filesystem is not None:
            check_free(new)
        raise fail(errno.EXDEV)
    with files.synthetic.naming(filesystem):
        check_free(new)
        _link(files, call, old, new)
    return 0


def _check_empty(files: Files, call: LinkAt) -> None:
    """Who may link what a descriptor refers to: since Linux 6.10 also who has opened it."""
    who = files.tasks.credentials(files.task(call.tracee))
    if not (who.has(CAP_DAC_READ_SEARCH) or _LETS_OPENERS_LINK):
        raise fail(errno.ENOENT)


def _link(files: Files, call: LinkAt, old: Place, new: Place) -> None:
    filesystem, task = new.filesystem, files.task(call.tracee)
    assert filesystem is not None
    attributes = files.synthetic.attributes(filesystem, old.inode)
    who = files.tasks.credentials(task)
    if not may_link(who, attributes):
        raise fail(errno.EPERM)
    check_may_make(files, task, filesystem, new.directory)
    if attributes.kind == stat.S_IFDIR:
        raise fail(errno.EPERM)
    with files.synthetic.contents.kept(filesystem, old.inode) as content:
        is_orphan = attributes.links == 0
        if is_orphan and (content is None or not content.may_be_linked):
            raise fail(errno.ENOENT)
        if content is not None and not filesystem.saves_late:
            files.synthetic.contents.save(content)  # to some file systems the other name is another file
        filesystem.link(old.inode, new.directory, name_of(new))
        if content is not None:
            content.is_orphan = False
    files.synthetic.made(filesystem, new.directory, name_of(new), attributes.kind)
    if is_orphan:
        files.synthetic.named(filesystem, old.inode, new)


def may_link(who: Credentials, attributes: Attributes) -> bool:
    """may_linkat() of fs/namei.c: hard links to files of others are restricted (proc_sys_fs(5))."""
    if who.owns(attributes) or not _protects_links():
        return True
    if attributes.kind != stat.S_IFREG or attributes.mode & stat.S_ISUID:
        return False
    both = stat.S_ISGID | stat.S_IXGRP
    return attributes.mode & both != both and who.permits(attributes, os.R_OK | os.W_OK)


def _protects_links() -> bool:
    try:
        with open("/proc/sys/fs/protected_hardlinks", "rb") as file:
            return file.read(1) == b"1"
    except OSError:
        return False


_LETS_OPENERS_LINK: Final = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) >= (6, 10)
