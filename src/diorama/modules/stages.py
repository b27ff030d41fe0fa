"""Stages: the views of their own in which programs serve file systems.

A FUSE server is started where it finds what it expects, /dev/fuse and the right to mount, also for a view
that is made of what it serves.  Modules know of views only this, which whoever makes views sets.

On a *bare* stage it finds these and else the host, and all else that it does is the host's, at native speed:
it does not see what it has mounted, nor the device by other calls than that which opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from diorama.errors import UsageError
from diorama.view.mounts import Mount

__all__ = ["Stage", "Started", "open_stage", "set_maker"]


class Started(Protocol):
    """A program on a stage; as `subprocess.Popen`."""

    @property
    def pid(self) -> int:
        """Its process."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Its status, when it has ended."""
        ...

    def wait_all(self) -> None:
        """Return when it has ended, and all that descends from it."""
        ...


class Stage(Protocol):
    """A view that programs are servers in."""

    def Popen(self, args: Sequence[str], **options: Any) -> Started:
        """Start a program; as `subprocess.Popen`."""
        ...

    def close(self) -> None:
        """End all programs."""
        ...


Maker = Callable[[Callable[[Mount], None], bool], Stage]
_makers: list[Maker] = []


def set_maker(maker: Maker) -> Maker:
    """Have stages made so: of who is told of what is mounted, in that call, and whether bare; a decorator."""
    _makers[:] = [maker]
    return maker


def open_stage(on_served: Callable[[Mount], None], *, bare: bool = False) -> Stage:
    """A new stage; `UsageError` where nobody makes views."""
    if not _makers:
        raise UsageError("there is nothing here in which a server can be started")
    return _makers[0](on_served, bare)
