"""Objections: what the kernel objects to before it changes a file, where a view must say it first.

On a read-only mount, at a mount point and between two mounts the kernel of the host would do what must not be
done, or say something else.  What stands here is raised in the order of fs/namei.c, since programs tell
EEXIST from EROFS and EXDEV.  Where all is well the call is made on the host, which has all other objections.
"""

from __future__ import annotations

import errno
import stat
from typing import Any, Final

from diorama.abi.arch import Abi
from diorama.abi.fcntl import AT_REMOVEDIR, RENAME_EXCHANGE, RENAME_NOREPLACE
from diorama.abi.time import UTIME_NOW, UTIME_OMIT
from diorama.catalogue.files import Truncate, UTimeNsAt
from diorama.catalogue.model import PathRule, Request
from diorama.catalogue.mounts import Acct, SwapOff, SwapOn
from diorama.catalogue.paths import LinkAt, MkDirAt, RenameAt2, UnlinkAt
from diorama.catalogue.xattr import FSetXattr, LSetXattr, SetXattr
from diorama.dispatch.files.state import Files, fail
from diorama.engine.ourcall import OurMemory, make_call
from diorama.view.mounts import Place

__all__ = [
    "Done",
    "check_arguments",
    "is_name",
    "parent_of",
    "refuse_link",
    "refuse_rename",
    "refuse_writing",
]

_REMOVING: Final = (UnlinkAt, RenameAt2)
_XATTR_FLAGS: Final = 3
_XATTR_NAME_MAX: Final = 255
_XATTR_SIZE_MAX: Final = 65536
_NAME_MAX: Final = 255
_NSEC: Final = 10**9
_POINTED: Final = frozenset({"how", "times"})
_OPENING: Final = (Acct, SwapOff, SwapOn, Truncate)
_DOTS: Final = (b"/.", b"/..")


def is_name(call: Request, rule: PathRule) -> bool:
    """Whether the last component is a name to be made or removed, rather than a file to be found."""
    return isinstance(call, _REMOVING) or (rule.creates(call) and not rule.follows(call))


def parent_of(place: Place) -> Place:
    """The place by the mount that its parent directory is in: of a mount point, what it covers."""
    while not place.path and place.mount.point is not None:
        place = place.mount.point
    return place


def check_arguments(call: Request) -> None:
    """Raise what the kernel objects to before it looks at a path, if this call has directories to begin at.

    The kernel itself is asked, with a directory that is none: EBADF comes after that.
    """
    anchors = [rule.anchor for rule in call.PATHS if rule.anchor is not None]
    if not anchors:
        _check_values(call)
        return
    values = {name: _ours(call, name) for name in call.FIELDS}
    values |= dict.fromkeys(anchors, -1)
    values |= {rule.field: b"x" for rule in call.PATHS}
    memory = OurMemory()
    try:
        number, args = type(call)(*values.values()).encode(Abi.native()[0], memory)
        make_call(number, *args)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.EFAULT, errno.ENOSYS):
            raise


def _ours(call: Request, name: str) -> Any:
    value: Any = getattr(call, name)
    if name not in _POINTED:
        return value
    return value.read() if value else None


def _check_values(call: Request) -> None:
    if isinstance(call, Truncate) and call.length < 0:
        raise fail(errno.EINVAL)
    if isinstance(call, SetXattr | LSetXattr | FSetXattr):
        if call.flags & ~_XATTR_FLAGS:
            raise fail(errno.EINVAL)
        if not 0 < len(call.name) <= _XATTR_NAME_MAX:
            raise fail(errno.ERANGE)
        if call.size > _XATTR_SIZE_MAX:
            raise fail(errno.E2BIG)


# -- one path -------------------------------------------------------------------------------------


def refuse_writing(files: Files, call: Request, rule: PathRule, place: Place) -> None:
    """Raise what a read-only mount, or a mount point, answers."""
    if not is_name(call, rule):
        if place.mount.read_only:
            _refuse_changing(files, call, place)
        return
    parent = parent_of(place)
    if parent is place and not place.mount.read_only:
        return
    check_arguments(call)
    if isinstance(call, UnlinkAt):
        _refuse_removing(files, call, place, parent)
    else:
        _refuse_making(call, place, parent)


def _refuse_changing(files: Files, call: Request, place: Place) -> None:
    check_arguments(call)
    if place.missing:
        raise fail(errno.ENOENT)
    if isinstance(call, _OPENING):
        kind = _kind(files, place)
        if kind != stat.S_IFREG:
            raise fail(errno.EISDIR if kind == stat.S_IFDIR else errno.EINVAL)
    if isinstance(call, UTimeNsAt):
        _check_times(call)
    raise fail(errno.EROFS)


def _check_times(call: UTimeNsAt) -> None:
    times = call.times.read() if call.times else None
    if times is None:
        return
    for one in (times.atime_nsec, times.mtime_nsec):
        if not 0 <= one < _NSEC and one not in (UTIME_NOW, UTIME_OMIT):
            raise fail(errno.EINVAL)


def _refuse_making(call: Request, place: Place, parent: Place) -> None:
    if not place.missing or place.path.endswith(_DOTS):
        raise fail(errno.EEXIST)
    if len(place.path) - place.path.rfind(b"/") - 1 > _NAME_MAX:
        raise fail(errno.ENAMETOOLONG)
    if place.slash and not isinstance(call, MkDirAt):
        raise fail(errno.ENOENT)
    if parent.mount.read_only:
        raise fail(errno.EROFS)


def _refuse_removing(files: Files, call: UnlinkAt, place: Place, parent: Place) -> None:
    is_directory = bool(call.flags & AT_REMOVEDIR)
    if place.path.endswith(_DOTS):
        dots = errno.ENOTEMPTY if place.path.endswith(b"/..") else errno.EINVAL
        raise fail(dots if is_directory else errno.EISDIR)
    if parent.mount.read_only:
        raise fail(errno.EROFS)
    if parent is place:
        return
    _check_kind(_kind(files, place), is_directory, slash=place.slash)
    raise fail(errno.EBUSY)


def _check_kind(kind: int, is_directory: bool, *, slash: bool) -> None:
    if is_directory and kind != stat.S_IFDIR:
        raise fail(errno.ENOTDIR)
    if not is_directory and kind == stat.S_IFDIR:
        raise fail(errno.EISDIR)
    if slash and kind != stat.S_IFDIR:
        raise fail(errno.ENOTDIR)


def _kind(files: Files, place: Place) -> int:
    if place.filesystem is not None:
        return place.filesystem.attributes(place.inode).kind
    if place.link:
        return stat.S_IFMT(files.host.stat(place.link).st_mode)
    return stat.S_IFMT(files.host.lstat(place.mount.real(place.path)).st_mode)


# -- two paths ------------------------------------------------------------------------------------


class Done(Exception):
    """There is nothing to do: the call succeeds."""


def refuse_link(files: Files, call: LinkAt, old: Place | None, new: Place) -> None:
    """Raise what stands between a file, None for that of a descriptor, and its new name."""
    parent = parent_of(new)
    if parent is new and old is not None and old.mount is new.mount and not new.mount.read_only:
        return
    check_arguments(call)
    _refuse_making(call, new, parent)
    link = _link_to(call, old)
    if link is not None:
        # By which mount it was opened only its name on the host can tell.
        apart = parent.mount.inside(files.host.readlink(link)) is None
    else:
        apart = old is not None and old.mount is not parent.mount
    if apart:
        raise fail(errno.EXDEV)


def _link_to(call: LinkAt, old: Place | None) -> bytes | None:
    """The link in /proc by which an open file is named."""
    if old is not None:
        return old.link if old.link and old.mount.is_bottom else None
    if call.oldpath or call.olddirfd < 0:
        return None
    return b"/proc/%d/fd/%d" % (call.tracee.tid, call.olddirfd)


def refuse_rename(files: Files, call: RenameAt2, old: Place, new: Place) -> None:
    """Raise what stands between two names; `Done`."""
    source, target = parent_of(old), parent_of(new)
    if source is old and target is new and old.mount is new.mount and not old.mount.read_only:
        return
    check_arguments(call)
    if source.mount is not target.mount:
        raise fail(errno.EXDEV)
    keeps = call.flags & RENAME_NOREPLACE
    if old.path.endswith(_DOTS) or new.path.endswith(_DOTS):
        raise fail(errno.EEXIST if keeps and new.path.endswith(_DOTS) else errno.EBUSY)
    if source.mount.read_only:
        raise fail(errno.EROFS)
    if old.missing or (new.missing and call.flags & RENAME_EXCHANGE):
        raise fail(errno.ENOENT)
    if keeps and not new.missing:
        raise fail(errno.EEXIST)
    if _is_same(files, source, target):
        raise Done
    is_directory = _kind(files, old) == stat.S_IFDIR
    if not is_directory and (old.slash or new.slash):
        raise fail(errno.ENOTDIR)
    if not call.flags & RENAME_EXCHANGE and not new.missing:
        _check_kind(_kind(files, new), is_directory, slash=False)
    raise fail(errno.EBUSY)


def _is_same(files: Files, old: Place, new: Place) -> bool:
    """Whether two names are of one file, of which one is to become the other."""
    if old.filesystem is not None:
        return old.inode == new.inode
    try:
        first, second = (files.host.lstat(place.mount.real(place.path)) for place in (old, new))
    except OSError:
        return False
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)
