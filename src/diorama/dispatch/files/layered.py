"""Layered: names and attributes in trees that are merged from directories of the host.

What would change something has it copied up first, and then is made on the host path of the copy, by the
program or by us.  What lies below a name is hidden by us, since it must happen at a stroke.

Permissions.  Where a copy has the owner and the mode of the original, the kernel checks them when the call is
made.  Before there is a copy, and where an ordinary user's copy cannot have the owner, they are checked here;
in lenient layers (copy-on-write) what is somebody else's may be changed by whoever can read it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any, Final

from diorama.abi import fcntl
from diorama.abi.fcntl import AT_FDCWD
from diorama.catalogue.files import FChModAt2, FChOwnAt, FileSetAttr, Truncate, UTimeNsAt
from diorama.catalogue.model import PathRule, Request, Tracee
from diorama.catalogue.paths import LinkAt, MkDirAt, MkNodAt, RenameAt2, SymlinkAt, UnlinkAt
from diorama.catalogue.xattr import (
    FRemoveXattr,
    FSetXattr,
    LRemoveXattr,
    LSetXattr,
    RemoveXattr,
    RemoveXattrAt,
    SetXattr,
    SetXattrAt,
)
from diorama.dispatch.files.acting import act
from diorama.dispatch.files.answers import Outcome
from diorama.dispatch.files.attributes import may_give, number
from diorama.dispatch.files.objections import check_arguments
from diorama.dispatch.files.state import Files, fail
from diorama.errors import Unsupported
from diorama.view.acl import ACCESS, Acl
from diorama.view.credentials import Credentials
from diorama.view.filesystem import Attributes
from diorama.view.layers import PRIVATE_XATTRS, FoundInLayers, WholeLayers
from diorama.view.mounts import Place
from diorama.view.task import Task

__all__ = [
    "absent",
    "change",
    "change_pair",
    "check_directory",
    "copied_up",
    "gives",
    "is_of_layers",
    "making",
    "may",
    "parent_of",
    "refuse_private",
    "whole",
]

_NAMES: Final = (MkDirAt, MkNodAt, SymlinkAt)
_OWNING: Final = (FChModAt2, FChOwnAt, FileSetAttr)
_SETTING: Final = (SetXattr, LSetXattr, SetXattrAt, FSetXattr)
_REMOVING: Final = (RemoveXattr, LRemoveXattr, RemoveXattrAt, FRemoveXattr)
_READ_ONLY: Final = 1
_SPECIAL: Final = 0o7000
_NAME_MAX: Final = 255
_DOTS: Final = (b".", b"..")


def whole(place: Place) -> tuple[WholeLayers, bytes]:
    """The layers that a place is in, and its path there."""
    assert place.mount.layers is not None
    return place.mount.layers.whole(place.path)


def parent_of(path: bytes) -> bytes:
    """The directory that a path of the layers is in."""
    return path[: path.rindex(b"/")]


def absent(path: bytes) -> OSError:
    """What the kernel says of a name that is not there: ENOENT, or that there can be no such."""
    is_long = len(path) - path.rindex(b"/") - 1 > _NAME_MAX
    return fail(errno.ENAMETOOLONG if is_long else errno.ENOENT)


# -- permissions ----------------------------------------------------------------------------------


def _attributes(files: Files, layers: WholeLayers, found: FoundInLayers) -> Attributes:
    """As they are in the view."""
    owner, status = layers.owner(found), found.status
    uid, gid = (status.st_uid, status.st_gid) if owner is None else (owner.uid, owner.gid)
    if files.mapping is not None:
        uid, gid = files.mapping.user(uid), files.mapping.group(gid)
    mode = status.st_mode if owner is None else stat.S_IFMT(status.st_mode) | owner.mode
    return Attributes(mode, uid=uid, gid=gid)


def _is_lenient(layers: WholeLayers, who: Credentials, attributes: Attributes) -> bool:
    """Whether it is somebody else's, in layers where that does not matter."""
    return layers.lenient and attributes.uid != who.uid == os.geteuid() != 0


def may(files: Files, tracee: Tracee, layers: WholeLayers, found: FoundInLayers, wanted: int) -> bool:
    """Whether a program may do with a file what the R_OK, W_OK, X_OK bits say."""
    who = files.tasks.credentials(files.task(tracee))
    attributes = _attributes(files, layers, found)
    if wanted & os.W_OK and _is_lenient(layers, who, attributes):
        wanted &= ~os.W_OK
        if stat.S_ISREG(attributes.mode):
            wanted |= os.R_OK  # else it cannot be copied up
    if not wanted or layers.owner(found) is not None:
        return who.permits(attributes, wanted)
    if not files.has_our_rights(tracee):
        return _asked_by_program(tracee, found.real, wanted)
    if os.access(found.real, wanted, effective_ids=True, follow_symlinks=False):
        return True
    # What cannot be written where it is can be in its copy.
    is_read_only = os.statvfs(found.real).f_flag & _READ_ONLY
    return bool(is_read_only) and who.permits(attributes, wanted)


def copied_up(files: Files, task: Task, place: Place) -> bytes:
    """The host path of a file where it may be read and written, for a task that may; EACCES."""
    layers, path = whole(place)
    with layers.lock:
        found = layers.find(path)
        who, attributes = files.tasks.credentials(task), _attributes(files, layers, found)
        wanted = os.R_OK if _is_lenient(layers, who, attributes) else os.R_OK | os.W_OK
        if not who.permits(attributes, wanted):
            raise fail(errno.EACCES)
        return layers.raise_up(path)


def _asked_by_program(tracee: Tracee, real: bytes, wanted: int) -> bool:
    flags = fcntl.AT_EACCESS | fcntl.AT_SYMLINK_NOFOLLOW
    try:
        tracee.syscall.faccessat2(AT_FDCWD, real, wanted, flags)
    except OSError as error:
        return error.errno == errno.EROFS
    return True


def check_directory(files: Files, tracee: Tracee, layers: WholeLayers, path: bytes) -> None:
    """EACCES unless a program may make and remove names in a directory."""
    if not may(files, tracee, layers, layers.find(path), os.W_OK | os.X_OK):
        raise fail(errno.EACCES)


def _check_victim(
    files: Files, tracee: Tracee, layers: WholeLayers, path: bytes, found: FoundInLayers
) -> None:
    """EACCES or EPERM unless a program may take a name away."""
    check_directory(files, tracee, layers, parent_of(path))
    who = files.tasks.credentials(files.task(tracee))
    directory = _attributes(files, layers, layers.find(parent_of(path)))
    if _is_lenient(layers, who, directory):
        return
    if not who.may_replace(directory, _attributes(files, layers, found)):
        raise fail(errno.EPERM)


# -- one path -------------------------------------------------------------------------------------


def change(files: Files, call: Request, rule: PathRule, place: Place) -> Outcome:
    """Answer a request that changes what one of its paths leads to."""
    layers, path = whole(place)
    check_arguments(call)
    if path[path.rfind(b"/") + 1 :] in _DOTS:
        return _at(call, rule, layers.real(path), place)  # the kernel's refusal
    with layers.lock:
        if isinstance(call, UnlinkAt):
            return _unlink(files, call, rule, place)
        if isinstance(call, _NAMES):
            return _make(files, call, rule, place)
        return _alter(files, call, rule, place)


def _at(call: Request, rule: PathRule, real: bytes, place: Place | None = None) -> Request:
    slash = b"/" if place is not None and place.slash and not real.endswith(b"/") else b""
    changes: dict[str, Any] = {rule.field: real + slash}
    if rule.anchor is not None:
        changes[rule.anchor] = AT_FDCWD
    return call.replace(**changes)


def _unlink(files: Files, call: UnlinkAt, rule: PathRule, place: Place) -> Outcome:
    layers, path = whole(place)
    if call.flags & ~fcntl.AT_REMOVEDIR:
        raise fail(errno.EINVAL)
    if place.missing:
        raise absent(path)
    found = layers.find(path)
    is_directory = stat.S_ISDIR(found.status.st_mode)
    if place.slash and not call.flags:
        raise fail(errno.EISDIR if is_directory else errno.ENOTDIR)
    _check_victim(files, call.tracee, layers, path, found)
    if bool(call.flags) != is_directory:
        raise fail(errno.EISDIR if is_directory else errno.ENOTDIR)
    real = layers.plain_removal(path)
    if real is not None:
        return act(files, call, _at(call, rule, real))
    layers.remove(path)
    return 0


def _make(files: Files, call: MkDirAt | MkNodAt | SymlinkAt, rule: PathRule, place: Place) -> Outcome:
    layers, path = whole(place)
    _check_new(files, call, place)
    real, covered = layers.room(path)
    if not covered:
        return act(files, call, _at(call, rule, real))
    layers.make_over(path, making(files, call.tracee, _maker(call), _mode(call)))
    return 0


def _mode(call: MkDirAt | MkNodAt | SymlinkAt) -> int | None:
    """The permissions that a program gives: mkdir(2) takes no set-ID bits."""
    if isinstance(call, MkDirAt):
        return call.mode & 0o1777
    return call.mode if isinstance(call, MkNodAt) else None


def _check_new(files: Files, call: Request, place: Place) -> None:
    """Raise what speaks against a new name, in the order of the kernel's checks."""
    layers, path = whole(place)
    if not place.missing:
        raise fail(errno.EEXIST)
    if len(path) - path.rindex(b"/") - 1 > _NAME_MAX:
        raise fail(errno.ENAMETOOLONG)
    if place.slash and not isinstance(call, MkDirAt):
        raise fail(errno.ENOENT)
    check_directory(files, call.tracee, layers, parent_of(path))


def _maker(call: MkDirAt | MkNodAt | SymlinkAt) -> Callable[[bytes], None]:
    if isinstance(call, MkDirAt):
        return lambda path: os.mkdir(path, call.mode & 0o1777)
    if isinstance(call, MkNodAt):
        return lambda path: os.mknod(path, call.mode, call.device)
    return lambda path: os.symlink(call.target, path)


def making(
    files: Files, tracee: Tracee, make: Callable[[bytes], None], mode: int | None
) -> Callable[[bytes], None]:
    """What makes a file in the stead of a program: with its umask, and as its own."""
    who = files.tasks.maker(files.task(tracee))

    def make_as_program(path: bytes) -> None:
        make(path)
        made = os.lstat(path)
        if not files.has_our_rights(tracee):
            directory = os.lstat(os.path.dirname(path))
            os.chown(
                path, who.uid, -1 if directory.st_mode & stat.S_ISGID else who.gid, follow_symlinks=False
            )
        if mode is not None and not _has_default_acl(os.path.dirname(path)):
            os.chmod(path, mode & ~who.umask & 0o7777 | made.st_mode & stat.S_ISGID)

    return make_as_program


def _has_default_acl(directory: bytes) -> bool:
    try:
        return bool(os.getxattr(directory, "system.posix_acl_default"))
    except OSError:
        return False


def _alter(files: Files, call: Request, rule: PathRule, place: Place) -> Outcome:
    """Change what is there."""
    layers, path = whole(place)
    if place.missing:
        raise absent(path)
    refuse_private(call)
    found = layers.find(path)
    mode = found.status.st_mode
    if isinstance(call, Truncate) and not stat.S_ISREG(mode):
        return _at(call, rule, found.real, place)  # the kernel's refusal
    owning = isinstance(call, _OWNING) or (isinstance(call, UTimeNsAt) and bool(call.times))
    _check_change(files, call, layers, found, owning=owning)
    if isinstance(call, FChModAt2) and not stat.S_ISLNK(mode):
        layers.raise_up(path, owning=True)
        if layers.change_mode(path, call.mode):
            return 0
    if isinstance(call, FChOwnAt):
        layers.raise_up(path, owning=True)
        if layers.change_owner(path, _id(call.owner), _id(call.group)):
            _lose_bits(files, call, layers, path)
            return 0
        if gives(files):
            return _give(files, call, layers, path)
    if isinstance(call, _SETTING) and call.name == ACCESS and layers.owner(layers.find(path)) is not None:
        return _set_list(call, layers, path)
    return act(files, call, _at(call, rule, layers.raise_up(path, owning=owning), place))


def _set_list(call: SetXattr | LSetXattr | FSetXattr | SetXattrAt, layers: WholeLayers, path: bytes) -> int:
    """Set an access control list of what is somebody else's, if that are but permission bits (cp -a)."""
    value = call.value.read() if not isinstance(call, SetXattrAt) else b""
    acl = Acl.unpack(value) if value else None
    if acl is None or not acl.is_mode:
        raise fail(errno.EOPNOTSUPP)
    acl.check()
    owner = layers.owner(layers.find(path))
    layers.change_mode(path, (owner.mode if owner is not None else 0) & _SPECIAL | acl.mode)
    return 0


def gives(files: Files) -> bool:
    """Whether owners that are chosen in the view are recorded, since the host lets nobody have them."""
    return files.tasks.identity is not None and os.geteuid() != 0


def _lose_bits(files: Files, call: FChOwnAt, layers: WholeLayers, path: bytes) -> None:
    """Let a file that is given lose its set-user-ID bit, also one that is given to its owner (chown(2))."""
    was = _attributes(files, layers, layers.find(path))
    lost = files.tasks.credentials(files.task(call.tracee)).drops(was)
    if lost:
        layers.change_mode(path, stat.S_IMODE(was.mode) & ~lost)


def _give(files: Files, call: FChOwnAt, layers: WholeLayers, path: bytes) -> int:
    """Record an owner, for who may give the file to him; ids are those of the host."""
    found = layers.find(path)
    who = files.tasks.credentials(files.task(call.tracee))
    was, uid, gid = _attributes(files, layers, found), number(call.owner), number(call.group)
    mapping = files.mapping
    seen_uid = uid if uid is None or mapping is None else mapping.user(uid)
    seen_gid = gid if gid is None or mapping is None else mapping.group(gid)
    lost = who.drops(was)
    if not may_give(who, was, seen_uid, seen_gid) or (lost and not who.owns(was)):
        raise fail(errno.EPERM)
    if was.kind not in (stat.S_IFREG, stat.S_IFDIR):
        raise Unsupported(call.NAME, "layers remember only who owns files and directories", errno.EPERM)
    layers.give(path, uid, gid, stat.S_IMODE(was.mode) & ~lost)
    return 0


def refuse_private(call: Request) -> None:
    """EOPNOTSUPP or ENODATA for a change of an attribute that would be the layer's own."""
    if not isinstance(call, _SETTING + _REMOVING) or not call.name.startswith(PRIVATE_XATTRS):
        return
    raise fail(errno.ENODATA if isinstance(call, _REMOVING) else errno.EOPNOTSUPP)


def _id(number: int) -> int:
    return -1 if number == 0xFFFFFFFF else number


def _check_change(
    files: Files, call: Request, layers: WholeLayers, found: FoundInLayers, *, owning: bool
) -> None:
    if not files.has_our_rights(call.tracee):
        return  # the copy has owner and mode, and the call is the program's own
    who = files.tasks.credentials(files.task(call.tracee))
    attributes = _attributes(files, layers, found)
    if owning:
        if not who.owns(attributes) and not _is_lenient(layers, who, attributes):
            raise fail(errno.EPERM)
        return
    if isinstance(call, (Truncate, UTimeNsAt, *_SETTING, *_REMOVING)) and not may(
        files, call.tracee, layers, found, os.W_OK
    ):
        if isinstance(call, UTimeNsAt) and who.owns(attributes):
            return
        raise fail(errno.EACCES)


def is_of_layers(call: RenameAt2 | LinkAt, old: Place | None, new: Place) -> bool:
    """Whether both are in one mount of layers that may be changed, and neither is a mount point.

    An open file without a name may be given one anywhere.
    """
    if new.mount.layers is None or new.mount.read_only or not new.path:
        return False
    if old is None:
        return isinstance(call, LinkAt)
    is_open_file = old.mount.is_bottom and old.path.startswith(b"/proc/")
    return (old.mount is new.mount and bool(old.path)) or (isinstance(call, LinkAt) and is_open_file)


# -- two paths ------------------------------------------------------------------------------------


def change_pair(files: Files, call: RenameAt2 | LinkAt, old: Place | None, new: Place) -> Outcome:
    """Answer a request to rename or link within one mount."""
    layers, _ = whole(new)
    check_arguments(call)
    with layers.lock:
        if isinstance(call, RenameAt2):
            assert old is not None
            return _rename(files, call, old, new)
        return _link(files, call, old, new)


def _rename(files: Files, call: RenameAt2, old: Place, new: Place) -> Outcome:
    (layers, source), (_, target) = whole(old), whole(new)
    flags = call.flags
    exchanges = bool(flags & fcntl.RENAME_EXCHANGE)
    if flags & ~(fcntl.RENAME_NOREPLACE | fcntl.RENAME_EXCHANGE) or (
        exchanges and flags & fcntl.RENAME_NOREPLACE
    ):
        raise fail(errno.EINVAL)
    for path, code in ((source, errno.EBUSY), (target, errno.EEXIST)):
        if not path or path[path.rindex(b"/") + 1 :] in _DOTS:
            raise fail(code if flags & fcntl.RENAME_NOREPLACE else errno.EBUSY)
    _check_rename_places(layers, call, old, new)
    before = layers.find(source)
    after = None if new.missing else layers.find(target)
    same = (before.status.st_dev, before.status.st_ino)
    if after is not None and same == (after.status.st_dev, after.status.st_ino):
        return 0
    _check_victim(files, call.tracee, layers, source, before)
    if after is None:
        check_directory(files, call.tracee, layers, parent_of(target))
    else:
        _check_victim(files, call.tracee, layers, target, after)
        _check_types(before, after, exchanges=exchanges)
    moves = [before] if after is None or not exchanges else [before, after]
    if parent_of(source) != parent_of(target):
        for one in moves:
            if stat.S_ISDIR(one.status.st_mode) and not may(files, call.tracee, layers, one, os.W_OK):
                raise fail(errno.EACCES)
    layers.rename(source, target, exchanges=exchanges)
    return 0


def _check_rename_places(layers: WholeLayers, call: RenameAt2, old: Place, new: Place) -> None:
    """Raise what speaks against the two names as such."""
    (_, source), (_, target) = whole(old), whole(new)
    if old.missing:
        raise absent(source)
    if new.missing and len(target) - target.rindex(b"/") - 1 > _NAME_MAX:
        raise fail(errno.ENAMETOOLONG)
    if call.flags & fcntl.RENAME_NOREPLACE and not new.missing:
        raise fail(errno.EEXIST)
    exchanges = call.flags & fcntl.RENAME_EXCHANGE
    if exchanges and new.missing:
        raise fail(errno.ENOENT)
    is_directory = stat.S_ISDIR(layers.look(source).st_mode)
    if exchanges and new.slash and not stat.S_ISDIR(layers.look(target).st_mode):
        raise fail(errno.ENOTDIR)
    if not is_directory and (old.slash or (new.slash and not exchanges)):
        raise fail(errno.ENOTDIR)
    if target.startswith(source + b"/"):
        raise fail(errno.EINVAL)
    if source.startswith(target + b"/"):
        raise fail(errno.EINVAL if exchanges else errno.ENOTEMPTY)


def _check_types(before: FoundInLayers, after: FoundInLayers, *, exchanges: bool) -> None:
    if exchanges:
        return
    if stat.S_ISDIR(before.status.st_mode) != stat.S_ISDIR(after.status.st_mode):
        raise fail(errno.EISDIR if stat.S_ISDIR(after.status.st_mode) else errno.ENOTDIR)


def _link(files: Files, call: LinkAt, old: Place | None, new: Place) -> Outcome:
    """One more name; what it is of may be an open file without a name, which is in no mount."""
    layers, path = whole(new)
    if old is not None and old.missing:
        raise fail(errno.ENOENT)
    _check_new(files, call, new)
    if old is None or old.mount.layers is None:
        real, covered = layers.room(path, alone=True)
        if covered:
            link = b"/proc/%d/fd/%d" % (call.tracee.tid, call.olddirfd) if old is None else old.host_path
            layers.make_over(path, lambda staged: _link_open_file(link, staged))
            return 0
        return _at(call, call.PATHS[1], real)
    _, source = whole(old)
    if stat.S_ISDIR(layers.look(source).st_mode):
        raise fail(errno.EPERM)
    found, real, covered = layers.link_room(source, path)
    if covered:
        layers.make_over(path, lambda staged: os.link(found, staged, follow_symlinks=False))
        return 0
    return act(files, call, _at(_at(call, call.PATHS[0], found), call.PATHS[1], real))


def _link_open_file(link: bytes, path: bytes) -> None:
    # Only with a descriptor the library makes the call that follows links.
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(link, path, src_dir_fd=root, follow_symlinks=True)
    finally:
        os.close(root)
