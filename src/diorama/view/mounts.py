"""Mounts: the mount tree, shaped as the kernel's.

A mount is attached to a place in its parent mount; the one attached last to a place is on top, which means
that it is attached to the root of the one before.  A place is what the kernel's `struct path` is, a mount
and a location in it, and so does not depend on how it was reached.

Locations are paths from the root of the mount: each name with a slash before it, no `.`, no `..`, no symbolic
links; empty for the root.  Directories have one name only, so the path of a directory identifies it.

Threads: resolution reads `Mount.children` without a lock; `attach` replaces it as a whole, under one.
"""

from __future__ import annotations

import itertools
import stat
import threading
from typing import NamedTuple

from diorama.view.filesystem import FileSystem
from diorama.view.layers import Layers

__all__ = ["Mount", "MountTree", "Place"]

_numbers = itertools.count(1)


class Mount:
    """Something mounted: a subtree of the host, layers of such, or a file system.

    Exactly one is not None of `host` (the host path of its root, without a slash at the end, so empty for
    `/`), `layers` and `filesystem`; with the first two its files are real ones of the host.  `kind` is the
    file type of its root, `type` what mount tables call it, `source` what it was made of, `options` those
    that it was mounted with.  Compared by identity.
    """

    __slots__ = (
        "children", "filesystem", "host", "kind", "layers", "number", "options", "point", "read_only",
        "source", "type",
    )  # fmt: skip

    def __init__(
        self,
        *,
        host: bytes | None = None,
        layers: Layers | None = None,
        filesystem: FileSystem | None = None,
        kind: int = stat.S_IFDIR,
        read_only: bool = False,
        source: str = "",
        type: str = "none",
        options: tuple[str, ...] = (),
    ) -> None:
        if sum(one is not None for one in (host, layers, filesystem)) != 1:
            raise ValueError("a mount has a host path, layers or a file system")
        self.host = None if host is None else host.rstrip(b"/")
        self.layers = layers
        self.filesystem = filesystem
        self.kind = kind
        self.read_only = read_only or (filesystem is not None and not filesystem.writable)
        self.source = source
        self.type = type
        self.options = options
        self.number = next(_numbers)
        self.point: Place | None = None
        self.children: dict[bytes, Mount] = {}

    def __repr__(self) -> str:
        return f"<Mount {self.number} of {self.source or self.host!r}>"

    @property
    def root(self) -> Place:
        """The place of its root."""
        return Place(self, b"", self.filesystem.root if self.filesystem else 0)

    def real(self, path: bytes) -> bytes:
        """The host path of what is at `path` in it, or would be; ValueError for what is not on the host."""
        if self.host is not None:
            return self.host + path or b"/"
        if self.layers is not None:
            return self.layers.real(path)
        raise ValueError(f"{path!r} of {self.source} is not on the host")

    def inside(self, real: bytes) -> bytes | None:
        """The path in it of a host path; None if that is elsewhere."""
        if self.layers is not None:
            return self.layers.inside(real)
        if self.host is None:
            return None
        path = real.removeprefix(self.host)
        return path.rstrip(b"/") if path[:1] in (b"", b"/") and (path != real or not self.host) else None


class Place(NamedTuple):
    """Where a path leads.

    `inode` is that of the file system, 0 on the host.  `missing` says that there is nothing of that name, in
    a directory that exists.  `directory` is the inode of that directory, 0 where the file system was not
    asked.  `removed` says that the name is gone, while somebody has it open.  `touched` says that the way
    crossed a mount: the kernel, walking the same path, may end elsewhere.  `slash` says that the path insists
    on a directory.
    """

    mount: Mount
    path: bytes
    inode: int = 0
    missing: bool = False
    touched: bool = False
    slash: bool = False
    directory: int = 0
    removed: bool = False

    @property
    def filesystem(self) -> FileSystem | None:
        """The file system that it is in, None on the host."""
        return self.mount.filesystem

    @property
    def host_path(self) -> bytes:
        """The path on the host; ValueError for what is not on the host."""
        path = self.mount.real(self.path)
        return path + b"/" if self.slash and path != b"/" else path

    @property
    def view_path(self) -> bytes:
        """The path from the root of the view."""
        path, mount = self.path, self.mount
        while mount.point is not None:
            path, mount = mount.point.path + path, mount.point.mount
        return path or b"/"

    def same(self, other: Place) -> bool:
        """Whether both are one place, however reached."""
        return self.mount is other.mount and self.path == other.path


class MountTree:
    """The mounts of a view, beginning with the host's own tree."""

    __slots__ = ("_lock", "mounts", "root")

    def __init__(self, root: Mount | None = None) -> None:
        self.root = root or Mount(host=b"/", source="host")
        self.mounts: tuple[Mount, ...] = (self.root,)
        self._lock = threading.Lock()

    @property
    def base(self) -> Mount:
        """The mount that programs find at `/`: the host's own, unless something is mounted there."""
        return self.top(self.root.root).mount

    def attach(self, mount: Mount, place: Place) -> None:
        """Put a mount on a place, on top of what is mounted there."""
        with self._lock:
            place = self.top(place)
            parent = place.mount
            mount.point = Place(parent, place.path, place.inode)
            parent.children = {**parent.children, place.path: mount}
            self.mounts = (*self.mounts, mount)

    @staticmethod
    def top(place: Place) -> Place:
        """What is to be seen at a place: the root of the topmost mount on it, or itself."""
        found = place.mount.children.get(place.path)
        while found is not None:
            place = found.root._replace(touched=True)
            found = found.children.get(b"")
        return place
