"""Table: the mounts that a task sees, as lines of mountinfo with their ids.

What the host has mounted is seen where no mount of the view is above it, and once more in each mount of a
host directory that it lies in.  Ids of ours begin where the kernel's, which are used again, never come.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diorama.abi.mountinfo import MountLine
from diorama.abi.stat import split_device
from diorama.view.host import Host
from diorama.view.mounts import Mount, MountTree, Place, next_id
from diorama.view.naming import is_covered, is_visible, path_from

__all__ = ["MountTable", "Row"]

_OWN = ("nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow")
"""Options of one mount, which are not those of what is mounted."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table, and the mount of the view; `inner` is the kernel's id of what is the host's.

    `real` is a path of the host at its root, None for a file system of ours.
    """

    line: MountLine
    mount: Mount
    inner: int | None = None
    real: bytes | None = None


class MountTable:
    """Makes the table.  Any thread."""

    __slots__ = ("_host", "_inner", "_lock")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._inner: dict[tuple[Mount, int], int] = {}
        self._lock = threading.Lock()

    def rows(self, tree: MountTree, root: Place, lines: Sequence[MountLine]) -> list[Row]:
        """What a task with this root sees, in the order of mounting; `lines` are the host's own."""
        found: list[Row] = []
        for mount in (*tree.mounts, *tree.covers):
            if mount.blend is None and is_visible(mount):
                found += self._of_mount(mount, root, lines)
        return found

    def inner_id(self, mount: Mount, number: int) -> int:
        """The id of what the kernel has mounted below a mount's host directory, as it is found in it."""
        with self._lock:
            found = self._inner.get((mount, number))
            if found is None:
                found = self._inner[mount, number] = next_id()
            return found

    def _of_mount(self, mount: Mount, root: Place, lines: Sequence[MountLine]) -> list[Row]:
        if mount.is_bottom:
            places = [(line, _inside(mount, line)) for line in lines]
            return [
                Row(replace(line, point=point), mount, line.id, line.point)
                for line, inside in places
                if inside is not None and (point := _point(root, mount, inside)) is not None
            ]
        point = path_from(root, mount.root)
        found: list[Row] = []
        if point is not None:
            real = None if mount.filesystem is not None else mount.real(b"")
            found.append(Row(self._own(mount, point, lines), mount, real=real))
        if mount.host is None:
            return found
        for line in lines:
            inside = _inside(mount, line)
            point = _point(root, mount, inside) if inside else None
            if point is not None:
                number, parent = self.inner_id(mount, line.id), self._id(mount, line.parent, lines)
                shown = replace(line, id=number, parent=parent, point=point)
                found.append(Row(shown, mount, line.id, line.point))
        return found

    def _own(self, mount: Mount, point: bytes, lines: Sequence[MountLine]) -> MountLine:
        """The line of a mount of the view."""
        parent = self._parent(mount, lines)
        access = b"ro" if mount.read_only else b"rw"
        flags = ("noexec",) if mount.no_exec else ()
        if mount.host is not None:
            below = _containing(lines, mount.host)
            if below is not None:
                inside = mount.host.removeprefix(below.point.rstrip(b"/"))
                return replace(
                    below,
                    id=mount.id,
                    parent=parent,
                    root=below.root.rstrip(b"/") + inside or b"/",
                    point=point,
                    options=(
                        b"ro" if mount.read_only else below.options[0],
                        *map(os.fsencode, flags),
                        *below.options[1:],
                    ),
                    optional=(),
                )
        own = tuple(os.fsencode(option) for option in mount.options if option not in (*_OWN, "ro", "rw"))
        own_flags = tuple(os.fsencode(name) for name in _OWN if name in mount.options or name in flags)
        times = () if b"noatime" in own_flags else (b"relatime",)
        return MountLine(
            id=mount.id,
            parent=parent,
            device=split_device(self._device(mount)),
            root=mount.subtree or b"/",
            point=point,
            options=(access, *own_flags, *times),
            optional=(),
            type=os.fsencode(mount.type),
            source=os.fsencode(mount.source) or b"none",
            super_options=(access, *own),
        )

    def _device(self, mount: Mount) -> int:
        return mount.st_dev if mount.filesystem is not None else self._host.stat(mount.real(b"")).st_dev

    def _parent(self, mount: Mount, lines: Sequence[MountLine]) -> int:
        """The id of what a mount is mounted on."""
        assert mount.point is not None
        on, path = mount.point.mount, mount.point.path
        if on.blend is not None:
            return self._parent(on, lines)
        if on.host is None:
            return on.id
        below = _containing(lines, on.host + path)
        return on.id if below is None else self._id(on, below.id, lines)

    def _id(self, mount: Mount, number: int, lines: Sequence[MountLine]) -> int:
        """The id of what has this number for the kernel, where it is seen through a mount of the host."""
        if mount.is_bottom:
            return number
        line = next((line for line in lines if line.id == number), None)
        inside = None if line is None else _inside(mount, line)
        return self.inner_id(mount, number) if inside else mount.id


def _inside(mount: Mount, line: MountLine) -> bytes | None:
    return mount.inside(line.point.rstrip(b"/"))


def _point(root: Place, mount: Mount, inside: bytes) -> bytes | None:
    """Where a mount of the host is found through one of the view; None if it is not."""
    if is_covered(mount, inside, exactly=False):
        return None
    return path_from(root, Place(mount, inside))


def _containing(lines: Sequence[MountLine], path: bytes) -> MountLine | None:
    """The line of what a host path is in, found as the kernel walks there, from mount to mount."""
    found = next((line for line in lines if line.point == b"/"), None)
    while found is not None:
        above, below = found, [line for line in lines if line.parent == found.id and line is not found]
        ahead = [line for line in below if _is_below(path, line.point)]
        found = min(ahead, key=lambda line: len(line.point), default=None)
        if found is None:
            return above
    return None


def _is_below(path: bytes, point: bytes) -> bool:
    return (path + b"/").startswith(point.rstrip(b"/") + b"/")
