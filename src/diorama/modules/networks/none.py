"""None: no network. What is asked of it gives the errors of a Linux that was built without."""

from __future__ import annotations

import errno

from diorama.errors import UsageError
from diorama.interfaces.network import Endpoint, Network, refuse
from diorama.interfaces.stackfile import StackFile
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["NoNetwork", "open_none"]


class NoNetwork(Network):
    """The stack."""

    title = "none"
    guards = True
    has_no_links = True

    def make(self, family: int, type: int, protocol: int) -> Endpoint:
        """There is no such family (socket(2))."""
        raise refuse(errno.EAFNOSUPPORT)


def open_none(rest: str, options: Options) -> Mount:
    """A mount of `none:`."""
    options.finish("none:")
    if rest:
        raise UsageError(f"cannot mount none:{rest}: it takes nothing behind the colon")
    return StackFile(NoNetwork()).mount("none:")
