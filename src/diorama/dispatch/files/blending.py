"""Blending: what the view tells in directories of the host's /sys, in their place, without being a mount.

Such a directory is a file system of ours that no mount table has, and that only tasks find whom it concerns:
for all others the host's is there (`diorama.view.mounts.Blend`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from diorama.dispatch.files.identities import mount_id_of
from diorama.view.mounts import Blend, Mount, MountTree
from diorama.view.resolve import ResolutionError
from diorama.view.task import Context, Task

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.view.filesystem import FileSystem

__all__ = ["blend"]


def blend(
    files: Files, tree: MountTree, filesystem: FileSystem, path: bytes, concerns: Callable[[Task], bool]
) -> None:
    """Have a file system in the place of a directory of the host, which may be missing, in a namespace.

    Nothing happens where the host has no directory above it, or a mount of the view is in the way.
    """
    us = Task(os.getpid(), os.getpid(), Context(tree.base.root, tree.base, tree))
    try:
        place = files.resolver.resolve(us, us.root, path, follow=False)
    except ResolutionError:
        return
    if place.mount.host is None or place.host_path != path:
        return
    there = place.mount.children.get(place.path)
    if there is not None and there.blend is not None:
        return
    above = place if not place.missing else place._replace(path=os.path.dirname(place.path), missing=False)
    mount = Mount(filesystem=filesystem, source=filesystem.title, type=filesystem.title)
    mount.blend = Blend(concerns, files.host.stat(above.host_path).st_dev)
    mount.id = mount_id_of(files, above)
    if tree is files.tree:
        files.mounting.put(mount, place)
    elif place.missing:
        files.mounting.attach_new(tree, mount, place)
    else:
        files.mounting.attach(tree, mount, place)
