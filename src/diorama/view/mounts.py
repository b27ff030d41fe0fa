"""Mounts: the mount tree, shaped as the kernel's.

A mount is attached to a place in its parent mount; the one attached last to a place is on top, which means
that it is attached to the root of the one before.  A place is what the kernel's `struct path` is, a mount
and a location in it, and so does not depend on how it was reached.

Locations are paths from the root of the mount: each name with a slash before it, no `.`, no `..`, no symbolic
links; empty for the root.  Directories have one name only, so the path of a directory identifies it.

A mount that was taken away, or not put anywhere yet, is *loose*: it has no point and is not the bottom of a
tree.  Who stands in it goes on in it, and `..` ends at its root.  A tree is one mount namespace; another
begins as a copy, with mounts of its own that serve the same files.

Threads: resolution reads `Mount.children` and `Mount.point` without a lock; a change replaces each as a
whole, under the lock of the tree.
"""

from __future__ import annotations

import itertools
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from diorama.abi.stat import make_device
from diorama.view.filesystem import FileSystem
from diorama.view.layers import Layers, LayersBelow
from diorama.view.owning import Owners

__all__ = [
    "Backing", "Beside", "Blend", "Mount", "MountTree", "Place", "below", "copy_mounts", "is_within",
    "next_id",
]  # fmt: skip

_numbers = itertools.count(1)
_ids = itertools.count(1 << 30)


def next_id() -> int:
    """An id for a mount, far above those that the kernel gives, and uses again."""
    return next(_ids)


class Backing(Protocol):
    """What must be closed when a mount is no longer used."""

    def close(self) -> None:
        """Release it.  Nothing is asked afterwards."""
        ...


class Beside(Protocol):
    """What comes along with a mount, as the partitions of a disk do."""

    on_change: Callable[[], None]
    """To be called when that has become another."""

    def mounts(self, name: bytes) -> dict[bytes, Mount]:
        """The mounts by the names that they have beside one of this name, in the same directory."""
        ...


class Blend(NamedTuple):
    """What makes a mount a part of the one that it is on, to programs: no table has it, nobody unmounts it.

    It is there for tasks that it `concerns` only; `device` is what stat(2) tells of its files.
    """

    concerns: Callable[[Any], bool]
    device: int


class Mount:
    """Something mounted: a subtree of the host, layers of such, or a file system.

    Exactly one is not None of `host` (the host path of its root, without a slash at the end, so empty for
    `/`), `layers` and `filesystem`; with the first two its files are real ones of the host.  `kind` is the
    file type of its root, `type` what mount tables call it, `source` what it was made of, `options` those
    that it was mounted with, of which nobody can take away those that are `locked`; `id` is what mount tables
    tell it by.  Of a file system it shows what is at `subtree`, whose inode is `inode`; mounts of one file
    system have one `device`.  `is_bottom`: the host's own tree, below all that is mounted in a namespace.
    `backing` is what there is of it besides, to be closed when no mount shows it any more; `owners` is what a
    tree of the host remembers of its files.  `beside` comes and goes with it, and it does so with another one
    because of `along`.  `blend`: it is no mount to programs.  Compared by identity.
    """

    __slots__ = (
        "along", "backing", "beside", "blend", "children", "device", "filesystem", "host", "id", "inode",
        "is_bottom", "kind", "layers", "locked", "number", "options", "owners", "point", "read_only",
        "source", "subtree", "type",
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
        backing: Backing | None = None,
        owners: Owners | None = None,
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
        self.locked: tuple[str, ...] = ()
        self.backing = backing
        self.beside: Beside | None = None
        self.along: Beside | None = None
        self.blend: Blend | None = None
        self.owners = owners
        self.number = next(_numbers)
        self.device = self.number
        self.subtree = b""
        self.inode = filesystem.root if filesystem is not None else 0
        self.is_bottom = False
        self.id = next_id()
        self.point: Place | None = None
        self.children: dict[bytes, Mount] = {}

    def __repr__(self) -> str:
        return f"<Mount {self.number} of {self.source or self.host!r}>"

    @property
    def root(self) -> Place:
        """The place of its root."""
        return Place(self, b"", self.inode)

    @property
    def st_dev(self) -> int:
        """The device number of files in a file system of ours: an unnamed one, as nfs has, from the top."""
        return make_device(0, 0xFFFFF - self.device) if self.blend is None else self.blend.device

    @property
    def no_exec(self) -> bool:
        """Whether nothing in it may be executed."""
        return "noexec" in self.options

    @property
    def is_restricted(self) -> bool:
        """Whether the kernel would allow in it what its options do not."""
        return self.read_only or self.no_exec

    @property
    def is_loose(self) -> bool:
        """Whether it is in no tree."""
        return self.point is None and not self.is_bottom

    def copy(self) -> Mount:
        """Another mount of the same, with the same options, in no tree."""
        twin = Mount(
            host=self.host,
            layers=self.layers,
            filesystem=self.filesystem,
            kind=self.kind,
            read_only=self.read_only,
            source=self.source,
            type=self.type,
            options=self.options,
            backing=self.backing,
            owners=self.owners,
        )
        twin.device, twin.subtree, twin.inode = self.device, self.subtree, self.inode
        twin.locked = self.locked
        return twin

    def part(self, place: Place, kind: int) -> Mount:
        """As `copy`, of what is at a place in it, a file of type `kind`."""
        twin = self.copy()
        twin.kind, twin.inode = kind, place.inode
        if twin.host is not None:
            twin.host += place.path
        elif twin.layers is not None:
            twin.layers = LayersBelow.of(twin.layers, place.path)
        if twin.host is None:
            twin.subtree += place.path
        return twin

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
    crossed a mount: the kernel, walking the same path, may end elsewhere.  `straight` says that it does not,
    although a mount is touched: from the directory where the task really is, the way led through real
    directories only, or through what layers over the host's root have left as it is (to change that is still
    for the view).  `slash` says that the path insists on a directory.  `link` is one of /proc that leads to
    it: to what is open, whatever its name is by now.  `stands`: a directory of ours is there in the place of
    one of the host, and the kernel finds nothing from it.
    """

    mount: Mount
    path: bytes
    inode: int = 0
    missing: bool = False
    touched: bool = False
    slash: bool = False
    directory: int = 0
    removed: bool = False
    straight: bool = False
    link: bytes = b""
    stands: bool = False

    @property
    def filesystem(self) -> FileSystem | None:
        """The file system that it is in, None on the host."""
        return self.mount.filesystem

    @property
    def host_path(self) -> bytes:
        """The path on the host; ValueError for what is not on the host."""
        if self.link:
            return self.link
        path = self.mount.real(self.path)
        return path + b"/" if self.slash and path != b"/" else path

    @property
    def view_path(self) -> bytes:
        """The path from the root of the view, or of the loose mount that it is in."""
        path, mount = self.path, self.mount
        while (point := mount.point) is not None:
            path, mount = point.path + path, point.mount
        return path or b"/"

    @property
    def is_reachable(self) -> bool:
        """Whether it is in a tree, and not in a loose mount."""
        mount = self.mount
        while (point := mount.point) is not None:
            mount = point.mount
        return mount.is_bottom

    def same(self, other: Place) -> bool:
        """Whether both are one place, however reached."""
        return self.mount is other.mount and self.path == other.path


class MountTree:
    """The mounts of one namespace, beginning with the host's own tree.

    `lock` is held for each change; hold it for what must be one.  `covers` are mounts on the root that came
    when programs were there: nobody finds them, since all begin below.
    """

    __slots__ = ("__weakref__", "covers", "lock", "mounts", "root")

    def __init__(self, root: Mount | None = None) -> None:
        self.root = root or Mount(host=b"/", source="host")
        self.root.is_bottom = True
        self.mounts: tuple[Mount, ...] = (self.root,)
        self.covers: tuple[Mount, ...] = ()
        self.lock = threading.RLock()

    @property
    def base(self) -> Mount:
        """The mount that programs find at `/`: the host's own, unless something is mounted there."""
        return self.top(self.root.root).mount

    def attach(self, mount: Mount, place: Place) -> None:
        """Put a mount, with what is mounted on it, on a place, on top of what is mounted there."""
        with self.lock:
            _put(mount, self.top(place))
            self.mounts = (*self.mounts, *below(mount))

    def cover(self, mount: Mount) -> None:
        """Put a mount, with what is mounted on it, above the root that programs have."""
        with self.lock:
            mount.point = self.base.root
            self.covers = (*self.covers, *below(mount))

    def move(self, mount: Mount, place: Place) -> None:
        """Put a mount that is in the tree, with what is mounted on it, on another place."""
        with self.lock:
            _take(mount)
            self.mounts = tuple(one for one in self.mounts if one not in set(below(mount)))
            self.attach(mount, place)

    def detach(self, mount: Mount) -> list[Mount]:
        """Take a mount away, and all that is mounted on it: now they are loose, each by itself."""
        with self.lock:
            gone = list(below(mount))
            self.mounts = tuple(one for one in self.mounts if one not in set(gone))
            for one in reversed(gone):
                _take(one)
        return gone

    def copy(self) -> tuple[MountTree, dict[Mount, Mount]]:
        """Another namespace that has the same, and which mount of this one is which there."""
        with self.lock:
            twins = copy_mounts(self.root)
            tree = MountTree(twins[self.root])
            tree.mounts = tuple(twins[mount] for mount in self.mounts)
            return tree, twins

    @staticmethod
    def top(place: Place, task: Any = None) -> Place:
        """What is to be seen at a place, by a task: the root of the topmost mount on it, or itself."""
        found = place.mount.children.get(place.path)
        while found is not None:
            if task is None or found.blend is None or found.blend.concerns(task):
                place = found.root._replace(touched=True)
            found = found.children.get(b"")
        return place


def below(mount: Mount) -> Iterator[Mount]:
    """A mount and all that is mounted on it, parents first."""
    yield mount
    for child in mount.children.values():
        yield from below(child)


def copy_mounts(
    mount: Mount, part: Mount | None = None, path: bytes = b"", *, only_blends: bool = False
) -> dict[Mount, Mount]:
    """Copies of a mount and all that is mounted on it; of `path` and below, if `part` shows that.

    `only_blends`: of what is mounted on it only what is no mount to programs.
    """
    copy = part or mount.copy()
    if part is None:
        copy.beside, copy.along = mount.beside, mount.along
        if mount.blend is not None:
            copy.blend, copy.id = mount.blend, mount.id
    copies = {mount: copy}
    for point, child in mount.children.items():
        if not is_within(point, path) or (only_blends and child.blend is None):
            continue
        copies |= copy_mounts(child, only_blends=only_blends)
        _put(copies[child], Place(copy, point[len(path) :], child.point.inode if child.point else 0))
    return copies


def is_within(path: bytes, directory: bytes) -> bool:
    """Whether a location is another or below it."""
    return path == directory or path.startswith(directory + b"/")


def _put(mount: Mount, place: Place) -> None:
    parent = place.mount
    mount.point = Place(parent, place.path, place.inode)
    parent.children = {**parent.children, place.path: mount}


def _take(mount: Mount) -> None:
    """Take a mount from its point; what is mounted on its root stays there."""
    point, mount.point = mount.point, None
    if point is not None:
        parent = point.mount
        parent.children = {path: child for path, child in parent.children.items() if child is not mount}
