"""Blending: what the view tells in directories of the host's /sys, in their place, without being a mount.

Such a directory is a file system of ours that no mount table has, and that only tasks find whom it concerns:
for all others the host's is there (`diorama.view.mounts.Blend`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from diorama.dispatch.files.identities import mount_id_of
from diorama.view.mounts import Blend, Mount, MountTree, Place, is_within
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

    It is there as well where a mount shows that directory, or what it is in, elsewhere.
    Nothing happens where the host has no directory above it, or a mount of the view is in the way.
    """
    for place in _places(files, tree, path):
        _put(files, tree, filesystem, place, concerns)


def _places(files: Files, tree: MountTree, path: bytes) -> Iterator[Place]:
    """Where the directory is: by its own path, and in what shows a directory above it elsewhere (a bind)."""
    us = Task(os.getpid(), os.getpid(), Context(tree.base.root, tree.base, tree))
    found = None
    with suppress(ResolutionError):
        found = files.resolver.resolve(us, us.root, path, follow=False)
        if found.mount.host is not None and found.host_path == path:
            yield found
    is_there = _exists(files, path)
    if not (is_there or _exists(files, os.path.dirname(path))):
        return
    for mount in tree.mounts:
        if mount.host is None or mount is tree.base or (found is not None and mount is found.mount):
            continue
        if is_within(path, mount.host) and (is_there or path != mount.host):
            yield Place(mount, path[len(mount.host) :], missing=not is_there)


def _exists(files: Files, path: bytes) -> bool:
    try:
        files.host.lstat(path)
    except OSError:
        return False
    return True


def _put(
    files: Files,
    tree: MountTree,
    filesystem: FileSystem,
    place: Place,
    concerns: Callable[[Task], bool],
) -> None:
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
