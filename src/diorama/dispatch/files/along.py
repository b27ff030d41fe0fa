"""Along: mounts that come and go with another one, as the partitions of a disk do, in the same directory.

They are mounts like any other, at names that may not exist below; what was there is covered.  When what comes
along has changed, each tree in which the mount is follows.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from diorama.dispatch.files.points import enter_in_listing
from diorama.view.mounts import Mount, MountTree, Place

if TYPE_CHECKING:
    from diorama.dispatch.files.mounting import Mounting
    from diorama.dispatch.files.state import Files
    from diorama.view.mounts import Beside

__all__ = ["Along"]


class Along:
    """Those of one view, whose mounts are `mounting`; with its lock held."""

    def __init__(self, mounting: Mounting, files: Files) -> None:
        self._mounting = mounting
        self._files = files

    def follow(self, tree: MountTree, mount: Mount) -> None:
        """A mount is in a tree: let what comes along with it be there too, now and whenever it changes."""
        if mount.beside is not None:
            mount.beside.on_change = partial(self._changed, mount.beside)
            self._put(tree, mount)

    def of(self, mount: Mount) -> list[Mount]:
        """What is in a tree because a mount is."""
        if mount.beside is None or mount.point is None:
            return []
        point = _point(mount)
        beside = [one for path, one in point.mount.children.items() if _above(path) == _above(point.path)]
        return [one for one in beside if one.along is mount.beside]

    def take(self, tree: MountTree, mount: Mount) -> list[Mount]:
        """Take away what came along."""
        return [gone for one in self.of(mount) for gone in tree.detach(one)]

    def _changed(self, beside: Beside) -> None:
        with self._mounting.lock:
            for tree in self._mounting.trees():
                for mount in [one for one in tree.mounts if one.beside is beside]:
                    self._put(tree, mount)
            self._mounting.sweep()

    def _put(self, tree: MountTree, mount: Mount) -> None:
        assert mount.beside is not None
        point = _point(mount)
        above, name = _above(point.path), point.path.rpartition(b"/")[2]
        there = {one.filesystem: one for one in self.of(mount)}
        wanted = {one.filesystem: (name, one) for name, one in mount.beside.mounts(name).items()}
        with self._mounting.changing_tree(tree):
            for filesystem, one in there.items():
                if filesystem not in wanted:
                    self._mounting.left(tree.detach(one))
            for filesystem, (beside, one) in wanted.items():
                if filesystem not in there:
                    place = Place(point.mount, above + b"/" + beside, missing=True)
                    self._attach(tree, one, place, mount.beside)

    def _attach(self, tree: MountTree, mount: Mount, place: Place, beside: Beside) -> None:
        one = mount if mount.is_loose else mount.copy()
        one.along = beside
        self._mounting.keep(one)
        tree.attach(one, place)
        self._mounting.settle(one)
        enter_in_listing(self._files, place)


def _point(mount: Mount) -> Place:
    """Where a mount is, below others on the same place."""
    point = mount.point
    assert point is not None
    while not point.path and point.mount.point is not None:
        point = point.mount.point
    return point


def _above(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]
