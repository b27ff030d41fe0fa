"""Commit: a layer's changes made in the directory below it.

Each file is made beside its place and renamed to it, so nobody sees half of one.  What has been done is no
change any more, and what has not been done stays in the layer: whoever is interrupted begins again.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from diorama.modules.filesystems.layers.changes import ADDED, CHANGED, REMOVED, Change, find_changes
from diorama.modules.filesystems.layers.copying import attributes, copy_file, set_status
from diorama.modules.filesystems.layers.layer import Layer
from diorama.modules.filesystems.layers.upper import remove_tree

__all__ = ["Obstacle", "apply", "clear", "obstacles"]

_SUFFIX: Final = b".diorama-commit"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a change cannot be made below."""

    path: bytes
    why: str


def obstacles(changes: Sequence[Change], lower: bytes) -> Iterator[Obstacle]:
    """What cannot be done, as far as that can be told beforehand."""
    root = lower.rstrip(b"/")
    added = {change.path for change in changes if change.how == ADDED and change.kind == "directory"}
    if os.geteuid() == 0:
        return
    for change in changes:
        target = root + change.path
        parent = change.path[: change.path.rindex(b"/")]
        needs_parent = change.how != CHANGED or set(change.what) & {"type", "content"}
        if needs_parent and parent not in added and not _may_change_names(root + parent, target):
            yield Obstacle(change.path, "its directory may not be changed")
        elif change.how == CHANGED and not needs_parent and os.lstat(target).st_uid != os.geteuid():
            yield Obstacle(change.path, "it is another user's")
        elif change.how != REMOVED and not _may_own(change):
            yield Obstacle(change.path, f"its owner would be {change.owner.uid}:{change.owner.gid}")


def _may_change_names(directory: bytes, target: bytes) -> bool:
    if not os.access(directory or b"/", os.W_OK | os.X_OK, effective_ids=True):
        return False
    status = os.stat(directory or b"/")
    if not status.st_mode & stat.S_ISVTX or status.st_uid == os.geteuid():
        return True
    with contextlib.suppress(FileNotFoundError):
        return os.lstat(target).st_uid == os.geteuid()
    return True


def _may_own(change: Change) -> bool:
    groups = {os.getegid(), *os.getgroups()}
    return change.owner.uid == os.geteuid() and change.owner.gid in groups


def apply(layer: Layer, *, without: frozenset[bytes] = frozenset()) -> tuple[int, list[Obstacle]]:
    """Make the changes, but for those of the paths `without`: how many, and what could not be made."""
    work = _Work(layer.lower.rstrip(b"/"))
    failed: list[Obstacle] = []
    done: list[Change] = []
    count = 0
    for change in list(find_changes(layer)):
        if change.path in without or any(change.path.startswith(one + b"/") for one in without):
            continue
        try:
            work.make(change)
            done.append(change)
        except OSError as error:
            failed.append(Obstacle(change.path, (error.strerror or "failed").lower()))
    for change in reversed(done):
        try:
            work.finish(change)
            count += 1
        except OSError as error:
            failed.append(Obstacle(change.path, (error.strerror or "failed").lower()))
    # The layer is emptied next: what was made must last by then.
    os.sync()
    return count, failed


class _Work:
    """What is being done below; a second name of a file that has been put there is a link to it."""

    def __init__(self, lower: bytes) -> None:
        self._lower = lower
        self._links: dict[tuple[int, int], bytes] = {}

    def make(self, change: Change) -> None:
        """Make one change; a removed directory is kept for `finish`, when it is empty."""
        target = self._lower + change.path
        if change.how == REMOVED:
            if change.kind != "directory":
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(target)
            return
        status = os.lstat(change.real)
        if change.how == CHANGED and not set(change.what) & {"type", "content"}:
            _adjust(change, target, status)
        else:
            self._put(change, target, status)

    def finish(self, change: Change) -> None:
        """What can be done after what is in a directory only: its times, or its removal."""
        target = self._lower + change.path
        if change.kind != "directory":
            return
        if change.how == REMOVED:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(target)
        elif change.how == ADDED:
            with contextlib.suppress(OSError):
                status = os.lstat(change.real)
                os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _put(self, change: Change, target: bytes, status: os.stat_result) -> None:
        directory, name = os.path.split(target)
        staged = os.path.join(directory, b"." + name[:200] + _SUFFIX)
        with contextlib.suppress(FileNotFoundError):
            remove_tree(staged)
        identity = status.st_dev, status.st_ino
        known = self._links.get(identity)
        if known is not None:
            os.link(known, staged, follow_symlinks=False)
        else:
            copy_file(change.real, staged, status)
            if status.st_nlink > 1 and change.kind != "directory":
                self._links[identity] = target
        _exchange_kind(target, status)
        os.rename(staged, target)


def _exchange_kind(target: bytes, status: os.stat_result) -> None:
    """Make room where a rename cannot: a directory for a file, a file for a directory."""
    try:
        there = os.lstat(target)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(there.st_mode) or stat.S_ISDIR(status.st_mode):
        remove_tree(target)


def _adjust(change: Change, target: bytes, status: os.stat_result) -> None:
    """Give what is there what it should have."""
    set_status(target, status, change.owner, times=change.kind == "file")
    wanted, present = attributes(change.real), attributes(target)
    for name in present.keys() - wanted.keys():
        os.removexattr(target, name, follow_symlinks=False)
    for name, value in wanted.items():
        if present.get(name) != value:
            os.setxattr(target, name, value, follow_symlinks=False)


def clear(layer: Layer) -> None:
    """Empty the layer: all that it had is below now."""
    for name in os.listdir(layer.upper.tree):
        remove_tree(layer.upper.tree + b"/" + name)
