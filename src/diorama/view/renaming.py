"""Renaming: what becomes of places when something in a file system of the view gets another path."""

from __future__ import annotations

from typing import NamedTuple

from diorama.view.filesystem import FileSystem
from diorama.view.mounts import Mount, MountTree, Place, is_within

__all__ = ["Renaming", "rename_mounts"]


class Renaming(NamedTuple):
    """One path in a file system, from its root, became another; `exchanged`: and that one the first."""

    filesystem: FileSystem
    old: bytes
    new: bytes
    exchanged: bool = False

    def of(self, mount: Mount, path: bytes) -> bytes:
        """What a path in a mount is afterwards; where it has left the mount, what it was."""
        if mount.filesystem is not self.filesystem:
            return path
        whole = mount.subtree + path
        if is_within(whole, self.old):
            whole = self.new + whole[len(self.old) :]
        elif self.exchanged and is_within(whole, self.new):
            whole = self.old + whole[len(self.new) :]
        return whole[len(mount.subtree) :] if is_within(whole, mount.subtree) else path

    def place(self, place: Place) -> Place:
        """A place afterwards."""
        path = self.of(place.mount, place.path)
        return place if path == place.path or place.removed else place._replace(path=path)


def rename_mounts(tree: MountTree, renaming: Renaming) -> bool:
    """Let mounts on what was renamed follow; whether there were any."""
    followed = False
    with tree.lock:
        for mount in tree.mounts:
            if mount.filesystem is not renaming.filesystem:
                continue
            mount.subtree = _subtree(mount, renaming)
            children = {renaming.of(mount, path): child for path, child in mount.children.items()}
            if children.keys() == mount.children.keys():
                continue
            followed = True
            mount.children = children
            for path, child in children.items():
                if child.point is not None:
                    child.point = child.point._replace(path=path)
    return followed


def _subtree(mount: Mount, renaming: Renaming) -> bytes:
    """Of a mount that shows a directory of its file system: that directory's path."""
    if is_within(mount.subtree, renaming.old):
        return renaming.new + mount.subtree[len(renaming.old) :]
    if renaming.exchanged and is_within(mount.subtree, renaming.new):
        return renaming.old + mount.subtree[len(renaming.new) :]
    return mount.subtree
