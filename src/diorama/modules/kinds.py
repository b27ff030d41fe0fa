"""Kinds: what can be mounted, for the view; what that takes is imported when somebody mounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diorama.modules.filesystems.fuse.device import FuseDevice
    from diorama.modules.opening import Below
    from diorama.view.mounts import Mount

__all__ = ["Kinds"]


class Kinds:
    """The kinds (`diorama.dispatch.files.mounting`); `device` is what FUSE servers of the view open."""

    def __init__(self) -> None:
        self.device: FuseDevice | None = None

    def check(self, type: str) -> None:
        """Whether there is such a type."""
        from diorama.modules.types import check_type

        check_type(type)

    def make(self, type: str | None, source: Any, options: Sequence[str], below: Below) -> Mount:
        """A mount in no tree."""
        from diorama.modules.types import is_of_server, make_of_type

        if type is not None and self.device is not None and is_of_server(type):
            from diorama.modules.filesystems.fuse.mounting import make_of_server

            return make_of_server(type, source, options, below, self.device)
        return make_of_type(type, source, options, below)
