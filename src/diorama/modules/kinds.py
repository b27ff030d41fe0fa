"""Kinds: what can be mounted, for the view; what that takes is imported when somebody mounts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diorama.modules.filesystems.fuse.device import FuseDevice
    from diorama.modules.opening import Below
    from diorama.view.mounts import Mount

__all__ = ["Kinds"]


class Kinds:
    """The kinds (`diorama.dispatch.files.mounting`); `device` is what FUSE servers of the view open.

    `on_served` is told of what one of them mounts, in its call.
    """

    def __init__(self) -> None:
        self.device: FuseDevice | None = None
        self.on_served: Callable[[Mount], None] | None = None

    def check(self, type: str) -> None:
        """Whether there is such a type."""
        from diorama.modules.types import check_type

        check_type(type)

    def is_inside(self, type: str | None, source: str) -> bool:
        """Whether a source reaches nothing but files of the view."""
        from diorama.modules.types import is_inside_of_type

        return is_inside_of_type(type, source)

    def make(self, type: str | None, source: Any, options: Sequence[str], below: Below) -> Mount:
        """A mount in no tree."""
        from diorama.modules.types import is_of_server, make_of_type

        if type is not None and self.device is not None and is_of_server(type):
            from diorama.modules.filesystems.fuse.mounting import make_of_server

            mount = make_of_server(type, source, options, below, self.device)
            if self.on_served is not None:
                self.on_served(mount)
            return mount
        return make_of_type(type, source, options, below)
