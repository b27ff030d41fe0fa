"""Names: removing and renaming in a merged tree.

What lies below a name must not appear when the name goes: a whiteout is left where there is something.  A
directory of the writable layer that comes to a place where something lies below is made opaque first, so each
step that can be seen is one rename of the kernel's.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from diorama.modules.filesystems.layers.marks import set_opaque
from diorama.modules.filesystems.layers.upper import exchange

if TYPE_CHECKING:
    from diorama.modules.filesystems.layers.lookup import Found
    from diorama.modules.filesystems.layers.tree import LayeredTree

__all__ = ["removal_path", "remove", "rename"]


def _not_empty() -> OSError:
    return OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))


def _parent(path: bytes) -> bytes:
    return path[: path.rindex(b"/")]


def removal_path(tree: LayeredTree, path: bytes) -> bytes | None:
    """The host path where removing a name is all there is to do; None if `remove` must do it."""
    found = tree.find(path)
    if tree.through and not tree.is_changed(found):
        return found.real if _may_remove(found) else None
    if not tree.is_changed(found) or tree.lookup.below(path) is not None:
        return None
    if stat.S_ISDIR(found.status.st_mode) and not tree.lookup.is_plain(path):
        return None
    tree.forget_identity(found.status)
    return found.real


def _may_remove(found: Found) -> bool:
    """Whether this process may remove a name of a lower layer."""
    directory = os.path.dirname(found.real) or b"/"
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        return False
    status = os.stat(directory)
    return not status.st_mode & stat.S_ISVTX or os.geteuid() in (0, status.st_uid, found.status.st_uid)


def remove(tree: LayeredTree, path: bytes) -> None:
    """Remove a file or an empty directory; ENOTEMPTY."""
    found = tree.find(path)
    is_directory = stat.S_ISDIR(found.status.st_mode)
    if is_directory and tree.lookup.names(path):
        raise _not_empty()
    tree.raise_directory(_parent(path))
    if tree.is_changed(found):
        tree.forget_identity(found.status)
    if tree.lookup.below(path) is not None:
        tree.upper.hide(path)
    else:
        tree.upper.drop(path)
    if is_directory:
        tree.lookup.forget()


def rename(tree: LayeredTree, old: bytes, new: bytes, *, exchanges: bool) -> None:
    """Rename, or exchange two names; ENOTEMPTY."""
    if tree.through and _passes_through(tree, old, new, exchanges=exchanges):
        return
    source = tree.find(old)
    if exchanges:
        _exchange(tree, old, new)
        return
    is_directory = stat.S_ISDIR(source.status.st_mode)
    _clear(tree, new)
    _bring_up(tree, old)
    tree.raise_directory(_parent(new))
    there = tree.upper.look(new)
    if is_directory and tree.lookup.below(new) is not None:
        set_opaque(tree.upper.at(old))
    if is_directory and there is not None and stat.S_ISDIR(there.st_mode):
        tree.upper.empty(new)
    if there is not None:
        tree.forget_identity(there)
    tree.upper.move(old, new, leaves_whiteout=tree.lookup.below(old) is not None)
    tree.moved(old, new)
    _note(tree, source, new)
    tree.lookup.forget()


def _clear(tree: LayeredTree, new: bytes) -> None:
    """ENOTEMPTY for a directory with names in it, where something is to come."""
    try:
        target = tree.find(new)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(target.status.st_mode) and tree.lookup.names(new):
        raise _not_empty()


def _bring_up(tree: LayeredTree, path: bytes) -> None:
    """Have all that is at a path in the writable layer."""
    found = tree.find(path)
    if stat.S_ISDIR(found.status.st_mode) and (
        not tree.is_changed(found) or len(tree.lookup.parts(path)) > 1
    ):
        tree.raise_tree(path)
    elif not tree.is_changed(found):
        tree.raise_alone(path)


def _note(tree: LayeredTree, source: Found, new: bytes) -> None:
    if not tree.is_changed(source):
        tree.note_move(source.real, new)


def _exchange(tree: LayeredTree, old: bytes, new: bytes) -> None:
    before = tree.find(old), tree.find(new)
    for path in (old, new):
        _bring_up(tree, path)
    for path, other in ((old, new), (new, old)):
        found = tree.find(path)
        if stat.S_ISDIR(found.status.st_mode) and tree.lookup.below(other) is not None:
            set_opaque(found.real)
    exchange(tree.upper.at(old), tree.upper.at(new))
    aside = old + b"\0"
    tree.moved(old, aside)
    tree.moved(new, old)
    tree.moved(aside, new)
    _note(tree, before[0], new)
    _note(tree, before[1], old)
    tree.lookup.forget()


def _passes_through(tree: LayeredTree, old: bytes, new: bytes, *, exchanges: bool) -> bool:
    """Rename in the lower layer, if neither name has anything to do with the writable one and we may."""
    upper = tree.upper
    if upper.look(old) is not None or upper.look(new) is not None:
        return False
    source = tree.find(old)
    directory = tree.lookup.parts(_parent(new))[-1]
    target = directory.real + new[len(_parent(new)) :]
    # What leaves the lower layer is only to be found in the writable one: then the other keeps it.
    if not directory.layer or not _may_remove(source):
        return False
    if not os.access(directory.real or b"/", os.W_OK | os.X_OK, effective_ids=True):
        return False
    try:
        (exchange if exchanges else os.rename)(source.real, target)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EACCES, errno.EPERM):
            return False
        raise
    tree.lookup.forget()
    return True
