"""Naming: the paths by which a task can reach a place, and the names of host objects in its tree."""

from __future__ import annotations

from diorama.view.mounts import Mount, MountTree, Place

__all__ = ["is_covered", "is_visible", "path_from", "place_of_name"]


def is_covered(mount: Mount, path: bytes, *, exactly: bool = True) -> bool:
    """Whether something is mounted on a place of a mount or above it, in that mount; or only above it."""
    children = mount.children
    if not children:
        return False
    if exactly and _covers(children.get(path)):
        return True
    end = path.rfind(b"/")
    while end >= 0:
        path = path[:end]
        if _covers(children.get(path)):
            return True
        end = path.rfind(b"/")
    return False


def _covers(mount: Mount | None) -> bool:
    """Whether what is below something mounted can be reached by nobody."""
    return mount is not None and mount.blend is None


def is_visible(mount: Mount) -> bool:
    """Whether the root of a mount can be reached, but for what is mounted on that itself."""
    while (point := mount.point) is not None:
        mount = point.mount
        if is_covered(mount, point.path, exactly=False):
            return False
    return True


def path_from(root: Place, place: Place) -> bytes | None:
    """The path of a place for a task with this root; None if it is not below that."""
    mount, path = place.mount, place.path
    while True:
        if mount is root.mount and (path + b"/").startswith(root.path + b"/"):
            return path[len(root.path) :] or b"/"
        if mount.point is None:
            return None
        path, mount = mount.point.path + path, mount.point.mount


def place_of_name(tree: MountTree, root: Place, real: bytes) -> Place | None:
    """Where a task with this root finds what is at a path of the host; None if it can't.

    At that path, unless something else is found there; else in the mount attached last that has it.
    """
    for mount in (tree.root, *reversed(tree.mounts[1:])):
        inside = mount.inside(real)
        if inside is None or is_covered(mount, inside) or not is_visible(mount):
            continue
        place = Place(mount, inside)
        if path_from(root, place) is not None:
            return place
    return None
