"""Points: mount points that do not exist below their mounts, as entries of the directories that they are in.

A directory of the host is listed by the kernel, and when it comes to its end, what is missing follows.  The
offset then is a number of ours, which the file system gives to no entry of its own.  So rewinddir(3),
telldir(3), small buffers and shared descriptions work as for any directory.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.abi.dirent import DIRENT64, OLD_DIRENT, DirEntry, pack_entries
from diorama.abi.numbers import NUMBERS
from diorama.dispatch.files.borrowing import Offset
from diorama.engine.ourcall import OurMemory, make_call
from diorama.view.mounts import Mount, MountTree, Place

if TYPE_CHECKING:
    from diorama.catalogue.dirs import GetDents, GetDents64, ReadDir
    from diorama.dispatch.files.state import Files
    from diorama.view.host import Host, Status

__all__ = [
    "Points", "enter_in_listing", "entry_of", "has_points", "list_points", "missing_points", "points_below",
    "put_entries",
]  # fmt: skip

# ext4 has hashes of names for offsets, and all ones for the end; the upper half of a hash is never all ones.
# Others count entries or bytes, and some of these allow no more than the sizes of files, or 32 bits.
_BASES: Final = (0x7FFFFFFF_00000000, 1 << 43, 0x7FFF0000)
_MOST: Final = 1 << 15
_CHUNK: Final = 1 << 17


class Points:
    """The directories of the host that have such points, by identity.  Any thread."""

    __slots__ = ("_bases", "_known")

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Status] = {}
        self._bases: dict[int, int | None] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Status]:
        return iter(list(self._known.values()))

    def __contains__(self, status: Status) -> bool:
        return (status.st_dev, status.st_ino) in self._known

    def add(self, status: Status) -> None:
        """A directory has one."""
        self._known[status.st_dev, status.st_ino] = status

    def base(self, directory: bytes, device: int) -> int | None:
        """The first of our offsets on a device; None if it has no room for them."""
        if device not in self._bases:
            self._bases[device] = _find_base(directory)
        return self._bases[device]


def _find_base(directory: bytes) -> int | None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for base in _BASES:
            try:
                return os.lseek(fd, base, os.SEEK_SET)
            except OSError:
                continue
        return None
    finally:
        os.close(fd)


def points_below(mount: Mount, path: bytes) -> Iterator[tuple[bytes, Mount]]:
    """The names at which something is mounted in a directory of a mount, and the mount on top."""
    for point in list(mount.children):
        above, _, name = point.rpartition(b"/")
        if point and above == path:
            yield name, MountTree.top(Place(mount, point)).mount


def has_points(place: Place) -> bool:
    """Whether something is mounted below a place, not on it."""
    return any(point.startswith(place.path + b"/") for point in list(place.mount.children))


def enter_in_listing(files: Files, place: Place) -> bool:
    """There is nothing at a place but what is mounted there: whether a directory of the host has it then."""
    if place.filesystem is not None:
        return False
    try:
        status = files.host.stat(place.mount.real(place.path.rpartition(b"/")[0]))
    except OSError:
        return False
    files.points.add(status)
    if files.inodes.on_add is not None:
        files.inodes.on_add(status, None)
    return True


def entry_of(host: Host, name: bytes, mount: Mount, off: int) -> DirEntry:
    """The directory entry of a mount point below which there is nothing: it tells of the mount."""
    inode = mount.inode if mount.filesystem is not None else host.stat(mount.real(b"")).st_ino
    return DirEntry(inode, off, stat.S_IFMT(mount.kind) >> 12, name)


def missing_points(host: Host, mount: Mount, path: bytes) -> list[tuple[bytes, Mount]]:
    """Of `points_below` those for which there is nothing in a directory of the host."""
    return [(name, top) for name, top in points_below(mount, path) if _is_missing(host, mount, path, name)]


def _is_missing(host: Host, mount: Mount, path: bytes, name: bytes) -> bool:
    try:
        host.lstat(mount.real(path + b"/" + name))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


# -- listing them ---------------------------------------------------------------------------------


def list_points(files: Files, call: GetDents64 | GetDents | ReadDir, layout: str) -> int | None:
    """Read entries of a directory of the host that has missing points; None if this is none."""
    task = files.task(call.tracee)
    try:
        status = files.tasks.status(task, call.fd)
    except OSError:
        return None
    if status not in files.points:
        return None
    place = files.tasks.descriptor(task, call.fd)
    points = missing_points(files.host, place.mount, place.path)
    base = files.points.base(b"/proc/%d/fd/%d" % (task.tid, call.fd), status.st_dev) if points else None
    if base is None:
        return None
    with Offset(call.tracee, call.fd) as offset:
        at = offset.get() - base
        if not 0 <= at < _MOST:
            size = _list_natively(call, offset, layout)
            if size:
                return size
            at = 0
        entries = [entry_of(files.host, name, top, base + off) for off, (name, top) in enumerate(points, 1)]
        size, count = put_entries(call, entries[at:], layout)
        offset.set(base + at + count)
        return size


def put_entries(
    call: GetDents64 | GetDents | ReadDir, entries: list[DirEntry], layout: str
) -> tuple[int, int]:
    """Give the program as many entries as it has room for: the result of its call, and how many; EINVAL."""
    room = 1 << 16 if layout == OLD_DIRENT else call.size
    data, count = pack_entries(entries, call.tracee.abi, layout, room)
    if not count:
        if entries:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return 0, 0
    call.tracee.memory.write(call.buffer.address, data)
    return (1 if layout == OLD_DIRENT else len(data)), count


def _list_natively(call: GetDents64 | GetDents | ReadDir, offset: Offset, layout: str) -> int:
    if offset.ours is None or layout != DIRENT64 or call.tracee.abi is not Abi.native()[0]:
        return call.run()
    memory, size = OurMemory(), min(call.size, _CHUNK)
    address = memory.place(bytes(size))
    count = make_call(NUMBERS[call.tracee.abi.title]["getdents64"], offset.ours, address, size)
    call.tracee.memory.write(call.buffer.address, memory.copy(address, count))
    return count
