"""Implicit: the directories above a mount point that exist nowhere else."""

from __future__ import annotations

import stat

from diorama.interfaces.filesystem import Attributes
from diorama.interfaces.tree import Tree
from diorama.view.asking import now
from diorama.view.mounts import Mount

__all__ = ["make_implicit"]


def make_implicit(path: bytes) -> Mount:
    """A mount, not yet attached, of the directories in a path and nothing else."""
    own = Attributes(stat.S_IFDIR | 0o755, links=2, modified=now())
    tree = Tree("implicit", own)
    names = path.split(b"/") if path else []
    for count in range(1, len(names) + 1):
        tree.add_directory(b"/".join(names[:count]), own)
    return Mount(filesystem=tree, source="implicit", type="implicit")
