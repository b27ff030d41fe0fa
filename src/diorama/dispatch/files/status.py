"""Status: stat(2), statx(2), access(2) and statfs(2) of virtual files."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from diorama.abi import fcntl
from diorama.abi.fcntl import AT_FDCWD
from diorama.abi.stat import (
    ST_NOATIME,
    ST_NODEV,
    ST_NODIRATIME,
    ST_NOEXEC,
    ST_NOSUID,
    ST_NOSYMFOLLOW,
    ST_RDONLY,
    ST_RELATIME,
    ST_VALID,
    STATX_ATTR_MOUNT_ROOT,
    STATX_BASIC_STATS,
    STATX_BTIME,
    STATX_MNT_ID,
    STATX_MNT_ID_UNIQUE,
    Stat,
    StatFs,
    StatX,
    split_device,
)
from diorama.catalogue.files import FAccessAt2, FStat, FStatAt, Statx
from diorama.catalogue.model import PathRule, Request
from diorama.catalogue.mounts import FStatfs, FStatfs64, Statfs, Statfs64
from diorama.dispatch.files.acting import perform
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.identities import number_of, unique_id, write_with_ids
from diorama.dispatch.files.layered_status import (
    access_layered,
    fstat_layered,
    stat_layered,
    statx_layered,
)
from diorama.dispatch.files.names import reached_place
from diorama.dispatch.files.state import Files, fail
from diorama.dispatch.files.translation import at_host
from diorama.view.filesystem import Attributes
from diorama.view.mounts import Mount, Place

_BLOCK: Final = 4096
_NSEC: Final = 10**9
_STAT_FLAGS: Final = fcntl.AT_SYMLINK_NOFOLLOW | fcntl.AT_NO_AUTOMOUNT | fcntl.AT_EMPTY_PATH
_STATX_FLAGS: Final = _STAT_FLAGS | fcntl.AT_STATX_FORCE_SYNC | fcntl.AT_STATX_DONT_SYNC
_IDS: Final = STATX_MNT_ID | STATX_MNT_ID_UNIQUE
_ACCESS_MODES: Final = fcntl.R_OK | fcntl.W_OK | fcntl.X_OK
_FILES: Final = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
_MOUNT_FLAGS: Final = (
    ("nosuid", ST_NOSUID),
    ("nodev", ST_NODEV),
    ("noexec", ST_NOEXEC),
    ("noatime", ST_NOATIME),
    ("nodiratime", ST_NODIRATIME),
    ("nosymfollow", ST_NOSYMFOLLOW),
)
_ACCESS_FLAGS: Final = fcntl.AT_EACCESS | fcntl.AT_SYMLINK_NOFOLLOW | fcntl.AT_EMPTY_PATH


@answers(FStatAt)
def stat_at(files: Files, call: FStatAt) -> Outcome:
    """Status by path."""
    if not call.path and files.has_layers:
        outcome = fstat_layered(files, call, call.dirfd)
        if outcome is not None:
            return outcome
    place = files.locate(call, call.PATHS[0])
    if place is None:
        made = _made_at(files, call)
        return None if made is None else _stat_made(call, made)
    if place.mount.layers is not None:
        return stat_layered(files, call, place)
    if place.filesystem is None:
        return at_host(call, call.PATHS[0], place)
    _check_flags(call.flags, _STAT_FLAGS)
    call.status.write(_stat(place, _attributes(files, place)))
    return 0


@answers(FStat)
def fstat(files: Files, call: FStat) -> Outcome:
    """Status of a descriptor."""
    task = files.task(call.tracee)
    place = files.tasks.standing(task, call.fd)
    if place is not None and place.filesystem is None:
        return call.instead(FStatAt(AT_FDCWD, place.host_path, call.status, 0))
    if place is None:
        made = files.generated.behind(files.host, b"/proc/%d/fd/%d" % (task.tid, call.fd))
        if made is None:
            return fstat_layered(files, call, call.fd) if files.has_layers else None
        return _stat_made(call, made)
    call.status.write(_stat(place, _attributes(files, place)))
    return 0


def _made_at(files: Files, call: FStatAt | Statx) -> bytes | None:
    """The path of the file of /proc that was made for a descriptor, meant by itself or by its link."""
    task = files.task(call.tracee)
    if not call.path:
        return files.generated.behind(files.host, b"/proc/%d/fd/%d" % (task.tid, call.dirfd))
    if b"/fd/" not in call.path and files.generated.is_empty:
        return None
    place = files.find(call, call.PATHS[0])
    if place is None or place.missing or place.filesystem is not None:
        return None
    return files.generated.behind(files.host, place.host_path)


def _stat_made(call: FStat | FStatAt, path: bytes) -> int:
    """The status of a file of /proc, of which a memfd has the content."""
    found = os.stat(path)
    times = {
        f"st_{one}time{unit}": value
        for one in "amc"
        for unit, value in zip(("", "_nsec"), divmod(getattr(found, f"st_{one}time_ns"), _NSEC), strict=True)
    }
    names = ("st_dev", "st_ino", "st_mode", "st_nlink", "st_uid", "st_gid", "st_blksize")
    call.status.write(Stat(**{name: getattr(found, name) for name in names}, **times))
    return 0


@answers(Statx)
def statx(files: Files, call: Statx) -> Outcome:
    """Extended status."""
    if not call.path and files.has_layers:
        outcome = fstat_layered(files, call, call.dirfd)
        if outcome is not None:
            return outcome
    rule = call.PATHS[0]
    place = files.find(call, rule)
    made = _made_at(files, call) if place is None or not place.touched else None
    if made is not None:
        return call.replace(dirfd=fcntl.AT_FDCWD, path=made)
    if place is not None and place.filesystem is not None:
        _check_flags(call.flags, _STATX_FLAGS)
        call.status.write(_statx(place, _attributes(files, place), call.mask))
        return 0
    translated = place is not None and place.touched and not place.straight
    if translated and place is not None and place.mount.layers is not None:
        seen = statx_layered(call, place)
        if seen is not None:
            write_with_ids(files, call, place, seen)
            return 0
    changed = at_host(call, rule, place) if place is not None and translated else call
    known = reached_place(files, files.task(call.tracee), call, place) if call.mask & _IDS else None
    if known is None or known.mount.is_bottom:
        return None if changed is call else changed
    changed.run()
    write_with_ids(files, call, known, call.status.read())
    return 0


@answers(FAccessAt2)
def access(files: Files, call: FAccessAt2) -> Outcome:
    """Permissions."""
    rule = call.PATHS[0]
    place = files.locate(call, rule)
    if place is None:
        return _access_by_descriptor(files, call, rule)
    if place.mount.layers is not None and not place.mount.read_only:
        return access_layered(files, call, place)
    if place.filesystem is None:
        if place.mount.no_exec and call.mode & fcntl.X_OK and _is_regular(files, place):
            raise fail(errno.EACCES)
        changed = at_host(call, rule, place)
        if not (call.writes and place.mount.read_only) or _is_special(files, place):
            return changed
        # Who may not write anyway is told that.
        perform(files, call, changed)
        raise fail(errno.EROFS)
    _check_access(files, call, place)
    return 0


def _check_access(files: Files, call: FAccessAt2, place: Place) -> None:
    filesystem = place.filesystem
    assert filesystem is not None
    _check_flags(call.flags, _ACCESS_FLAGS)
    attributes = _attributes(files, place)
    if call.mode & ~_ACCESS_MODES:
        raise fail(errno.EINVAL)
    if place.mount.no_exec and call.mode & fcntl.X_OK and stat.S_ISREG(attributes.mode):
        raise fail(errno.EACCES)
    who = files.tasks.credentials(files.task(call.tracee))
    who = who if call.flags & fcntl.AT_EACCESS else who.real()
    if not (attributes.unchecked or who.permits(attributes, call.mode)):
        raise fail(errno.EACCES)
    if call.mode and attributes.unchecked:
        filesystem.check_access(place.inode, call.mode)
    if call.mode & fcntl.W_OK and place.mount.read_only and attributes.kind in _FILES:
        raise fail(errno.EROFS)


def _access_by_descriptor(files: Files, call: FAccessAt2, rule: PathRule) -> Outcome:
    if call.path or not rule.accepts_empty(call):
        return None
    task = files.task(call.tracee)
    mount = files.mount_of(task, call.dirfd)
    if mount is None:
        return None
    mode = 0 if call.dirfd == fcntl.AT_FDCWD else files.tasks.status(task, call.dirfd).st_mode
    if mount.no_exec and call.mode & fcntl.X_OK and stat.S_ISREG(mode):
        raise fail(errno.EACCES)
    if not mount.read_only or not call.writes:
        return None
    if call.dirfd != fcntl.AT_FDCWD and _special(files.tasks.status(task, call.dirfd).st_mode):
        return None
    call.run()
    raise fail(errno.EROFS)


@answers(Statfs, Statfs64)
def statfs(files: Files, call: Statfs | Statfs64) -> Outcome:
    """The file system of a path."""
    place = files.locate(call, call.PATHS[0])
    if place is None:
        return None
    if place.filesystem is not None:
        _attributes(files, place)
        return _write_statfs(call, place)
    changed = at_host(call, call.PATHS[0], place)
    return _say_options(call, changed, place.mount) if place.mount.is_restricted else changed


@answers(FStatfs, FStatfs64)
def fstatfs(files: Files, call: FStatfs | FStatfs64) -> Outcome:
    """The file system of a descriptor."""
    task = files.task(call.tracee)
    place = files.tasks.standing(task, call.fd)
    if place is not None and place.filesystem is None:
        return _statfs_of_root(call, place)
    if place is not None:
        return _write_statfs(call, place)
    mount = files.mount_of(task, call.fd)
    return _say_options(call, call, mount) if mount is not None and mount.is_restricted else None


def _statfs_of_root(call: FStatfs | FStatfs64, place: Place) -> Outcome:
    """Of a mount of the host, whose root something of ours stands for."""
    path, status = place.host_path, call.status
    by_path = Statfs(path, status) if isinstance(call, FStatfs) else Statfs64(path, call.size, status)
    instead = call.instead(by_path)
    return _say_options(call, instead, place.mount) if place.mount.is_restricted else instead


def _say_options(call: Statfs | Statfs64 | FStatfs | FStatfs64, changed: Request, mount: Mount) -> int:
    changed.run()
    found = call.status.read()
    call.status.write(found.replace(f_flags=found.f_flags | _flags(mount)))
    return 0


def _flags(mount: Mount) -> int:
    flags = [flag for option, flag in _MOUNT_FLAGS if option in mount.options]
    return sum(flags, ST_VALID | (ST_RDONLY if mount.read_only else 0))


def _check_flags(flags: int, known: int) -> None:
    if flags & ~known:
        raise fail(errno.EINVAL)


def _is_regular(files: Files, place: Place) -> bool:
    try:
        return not place.missing and stat.S_ISREG(files.host.stat(place.host_path).st_mode)
    except OSError:
        return False


def _is_special(files: Files, place: Place) -> bool:
    try:
        return _special(files.host.stat(place.host_path).st_mode)
    except OSError:
        return False


def _special(mode: int) -> bool:
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _attributes(files: Files, place: Place) -> Attributes:
    if place.missing:
        raise fail(errno.ENOENT)
    assert place.filesystem is not None
    return files.synthetic.attributes(place.filesystem, place.inode)


def _stat(place: Place, attributes: Attributes) -> Stat:
    accessed, modified, changed = _times(attributes)
    return Stat(
        st_dev=place.mount.st_dev,
        st_ino=number_of(place, attributes),
        st_mode=attributes.mode,
        st_nlink=attributes.links,
        st_uid=attributes.uid,
        st_gid=attributes.gid,
        st_rdev=attributes.device,
        st_size=attributes.shown_size,
        st_blksize=_BLOCK,
        st_blocks=attributes.sectors,
        st_atime=accessed[0],
        st_atime_nsec=accessed[1],
        st_mtime=modified[0],
        st_mtime_nsec=modified[1],
        st_ctime=changed[0],
        st_ctime_nsec=changed[1],
    )


def _statx(place: Place, attributes: Attributes, mask: int) -> StatX:
    accessed, modified, changed = _times(attributes)
    created = divmod(attributes.created or 0, _NSEC)
    major, minor = split_device(place.mount.st_dev)
    unique = mask & STATX_MNT_ID_UNIQUE
    special_major, special_minor = split_device(attributes.device)
    return StatX(
        stx_mask=STATX_BASIC_STATS
        | (STATX_MNT_ID_UNIQUE if unique else STATX_MNT_ID)
        | (STATX_BTIME if attributes.created is not None else 0),
        stx_blksize=_BLOCK,
        stx_attributes=0 if place.path or place.mount.blend else STATX_ATTR_MOUNT_ROOT,
        stx_attributes_mask=STATX_ATTR_MOUNT_ROOT,
        stx_nlink=attributes.links,
        stx_uid=attributes.uid,
        stx_gid=attributes.gid,
        stx_mode=attributes.mode,
        stx_ino=number_of(place, attributes),
        stx_size=attributes.shown_size,
        stx_blocks=attributes.sectors,
        stx_atime=accessed[0],
        stx_atime_nsec=accessed[1],
        stx_btime=created[0],
        stx_btime_nsec=created[1],
        stx_ctime=changed[0],
        stx_ctime_nsec=changed[1],
        stx_mtime=modified[0],
        stx_mtime_nsec=modified[1],
        stx_rdev_major=special_major,
        stx_rdev_minor=special_minor,
        stx_dev_major=major,
        stx_dev_minor=minor,
        stx_mnt_id=unique_id(place.mount.id) if unique else place.mount.id,
    )


def _times(attributes: Attributes) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Access, modification and change, each as seconds and nanoseconds."""
    modified = attributes.modified
    accessed = modified if attributes.accessed is None else attributes.accessed
    changed = modified if attributes.changed is None else attributes.changed
    return divmod(accessed, _NSEC), divmod(modified, _NSEC), divmod(changed, _NSEC)


def _write_statfs(call: Request, place: Place) -> int:
    assert isinstance(call, Statfs | Statfs64 | FStatfs | FStatfs64)
    if isinstance(call, Statfs64 | FStatfs64) and call.size != StatFs.size(call.tracee.abi, "statfs64"):
        raise fail(errno.EINVAL)
    assert place.filesystem is not None
    statistics = place.filesystem.statistics()
    call.status.write(
        StatFs(
            f_type=place.filesystem.magic,
            f_bsize=statistics.block_size,
            f_blocks=statistics.blocks,
            f_bfree=statistics.free,
            f_bavail=statistics.free,
            f_files=statistics.files,
            f_ffree=statistics.free_files,
            f_fsid=_signed(place.mount.st_dev),
            f_namelen=statistics.name_max,
            f_frsize=statistics.block_size,
            f_flags=_flags(place.mount) | (0 if "noatime" in place.mount.options else ST_RELATIME),
        )
    )
    return 0


def _signed(word: int) -> int:
    return (word & 0xFFFFFFFF ^ 1 << 31) - (1 << 31)
