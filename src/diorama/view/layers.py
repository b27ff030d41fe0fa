"""Layers: what the view asks of a tree that is put together from several host directories.

Names in it are paths from its root, as in `diorama.view.mounts`.  What is found is a real file of the host,
in the topmost layer that has it; what is to be changed is copied up to the writable one first.
"""

from __future__ import annotations

from typing import Protocol

from diorama.view.host import Status

__all__ = ["Layers"]


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
