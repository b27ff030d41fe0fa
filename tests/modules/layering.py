"""Layering: trees to lay upon one another, and what is to be seen of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from diorama.modules.filesystems.layers.tree import LayeredTree
from diorama.modules.filesystems.layers.upper import Upper

Seen = dict[bytes, tuple[object, ...]]


def open_upper(directory: Path, *, devices: bool | None = None) -> Upper:
    """An upper layer in a directory, made if it is not there."""
    for name in ("tree", "work"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    return Upper(os.fsencode(directory / "tree"), os.fsencode(directory / "work"), devices=devices)


def seen_in_tree(tree: LayeredTree) -> Seen:
    """All that a merged tree shows, by path."""
    found: Seen = {}
    todo = [b""]
    while todo:
        path = todo.pop()
        for name in tree.lookup.names(path):
            inner = path + b"/" + name.name
            one = tree.find(inner)
            owner = tree.owner(one)
            found[inner] = what(one.real, one.status, owner.mode if owner else None)
            assert stat.S_IFMT(one.status.st_mode) == name.kind
            if name.kind == stat.S_IFDIR:
                todo.append(inner)
    return found


def seen_on_disk(top: Path | str) -> Seen:
    """All that a directory of the host has, by path from it."""
    found: Seen = {}
    root = os.fsencode(top)
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = os.path.join(directory, name)
            found[path[len(root) :]] = what(path, os.lstat(path))
    return found


def what(path: bytes, status: os.stat_result, mode: int | None = None) -> tuple[object, ...]:
    """What is compared of a file: type, permissions, content."""
    shown = stat.S_IMODE(status.st_mode) if mode is None else mode
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFLNK:
        return "link", os.readlink(path)
    if kind == stat.S_IFDIR:
        return "directory", shown
    if kind == stat.S_IFREG:
        return "file", shown, Path(os.fsdecode(path)).read_bytes()
    return "special", kind, shown
