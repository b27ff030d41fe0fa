"""Layers: what the view asks of a tree that is put together from several host directories.

Names in it are paths from its root, as in `diorama.view.mounts`.  What is found is a real file of the host,
in the topmost layer that has it; what is to be changed is copied up to the writable one first.
"""

from __future__ import annotations

from typing import Protocol

from diorama.view.host import Status

__all__ = ["Layers", "LayersBelow"]


class Layers(Protocol):
    """A merged tree.  Called from several threads at once; errors are `OSError`."""

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
