"""Layers: what the view asks of a tree that is put together from several host directories.

Names in it are paths from its root, as in `diorama.view.mounts`.  What is found is a real file of the host,
in the topmost layer that has it; what is to be changed is copied up to the writable one first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple, Protocol

from diorama.view.host import Status

__all__ = [
    "PRIVATE_XATTRS",
    "FoundInLayers",
    "Layers",
    "LayersBelow",
    "LayersName",
    "LayersOwner",
    "Stack",
    "WholeLayers",
]

PRIVATE_XATTRS: Final = b"user.overlay."
"""How the extended attributes begin that belong to a layer, and not to the files in it."""


class Stack(NamedTuple):
    """One writable directory over one other: their host paths, without links; `hidden` is not to be seen."""

    lower: bytes
    upper: bytes
    hidden: bytes | None = None


class Layers(Protocol):
    """A merged tree.  Called from several threads at once; errors are `OSError`."""

    @property
    def over_root(self) -> bool:
        """Whether it is the host's own root with changes: what is unchanged has its own path there."""
        ...

    def stack(self) -> Stack | None:
        """What they are made of, if it is no more than a writable layer over one directory."""
        ...

    def whole(self, path: bytes) -> tuple[WholeLayers, bytes]:
        """The layers with all that they can do, and what a path is there."""
        ...

    def look(self, path: bytes) -> Status:
        """Status of what is there, of a symbolic link itself; ENOENT, also for what was removed above."""
        ...

    def readlink(self, path: bytes) -> bytes:
        """The target of a symbolic link."""
        ...

    def real(self, path: bytes) -> bytes:
        """The host path of what is there; of what is missing, the host path at which it would be made."""
        ...

    def inside(self, real: bytes) -> bytes | None:
        """The path in the tree of a host path in one of the layers; None if that is elsewhere."""
        ...

    def close(self) -> None:
        """Release what it holds.  Nothing is asked afterwards."""
        ...


class FoundInLayers(Protocol):
    """What is seen at a path: its host path and its own status."""

    @property
    def real(self) -> bytes: ...

    @property
    def status(self) -> os.stat_result: ...


class LayersName(Protocol):
    """One name in a directory; `kind` as `Attributes.kind`."""

    @property
    def name(self) -> bytes: ...

    @property
    def inode(self) -> int: ...

    @property
    def kind(self) -> int: ...


class LayersOwner(Protocol):
    """Owner and permission bits that a file is to be seen with."""

    @property
    def uid(self) -> int: ...

    @property
    def gid(self) -> int: ...

    @property
    def mode(self) -> int: ...


class WholeLayers(Layers, Protocol):
    """What changes a merged tree.

    The contract of each method is that of `diorama.modules.filesystems.layers.tree.LayeredTree`.
    """

    on_identity: Callable[[os.stat_result], None] | None

    @property
    def lock(self) -> AbstractContextManager[Any]: ...

    @property
    def lenient(self) -> bool: ...

    def find(self, path: bytes) -> FoundInLayers: ...
    def is_changed(self, found: Any) -> bool: ...
    def listing(self, path: bytes, *, always: bool = False) -> Sequence[LayersName] | None: ...
    def identity(self, status: os.stat_result) -> tuple[int, int]: ...
    def original(self, status: os.stat_result) -> tuple[int, int]: ...
    def owner(self, found: Any) -> LayersOwner | None: ...
    def real_owner(self, real: bytes, mode: int) -> LayersOwner | None: ...
    def in_upper(self, real: bytes) -> bool: ...
    def raise_up(self, path: bytes, *, content: bool = True, owning: bool = False) -> bytes: ...
    def raise_directory(self, path: bytes) -> bytes: ...
    def raise_alone(self, path: bytes) -> bytes: ...
    def change_mode(self, path: bytes, mode: int) -> bool: ...
    def change_owner(self, path: bytes, uid: int, gid: int) -> bool: ...
    def give(self, path: bytes, uid: int | None, gid: int | None, mode: int) -> None: ...
    def room(self, path: bytes, *, alone: bool = False) -> tuple[bytes, bool]: ...
    def link_room(self, source: bytes, path: bytes) -> tuple[bytes, bytes, bool]: ...
    def make_over(self, path: bytes, make: Callable[[bytes], None]) -> None: ...
    def plain_removal(self, path: bytes) -> bytes | None: ...
    def remove(self, path: bytes) -> None: ...
    def rename(self, old: bytes, new: bytes, *, exchanges: bool = False) -> None: ...


class LayersBelow:
    """The part of layers that is below one of their directories, as layers: what a bind of it shows."""

    __slots__ = ("_layers", "_top")

    def __init__(self, layers: Layers, top: bytes) -> None:
        self._layers = layers
        self._top = top

    @classmethod
    def of(cls, layers: Layers, top: bytes) -> Layers:
        """The layers themselves for their root."""
        return cls(layers, top) if top else layers

    over_root = False

    def stack(self) -> Stack | None:
        """Nobody needs to know."""
        return None

    def whole(self, path: bytes) -> tuple[WholeLayers, bytes]:
        """The whole, and the path in it."""
        return self._layers.whole(self._top + path)

    def look(self, path: bytes) -> Status:
        """As of the whole."""
        return self._layers.look(self._top + path)

    def readlink(self, path: bytes) -> bytes:
        """As of the whole."""
        return self._layers.readlink(self._top + path)

    def real(self, path: bytes) -> bytes:
        """As of the whole."""
        return self._layers.real(self._top + path)

    def inside(self, real: bytes) -> bytes | None:
        """The path below; None for what is beside it."""
        path = self._layers.inside(real)
        if path is None or not (path == self._top or path.startswith(self._top + b"/")):
            return None
        return path[len(self._top) :]

    def close(self) -> None:
        """The whole is released by whom it belongs to."""
