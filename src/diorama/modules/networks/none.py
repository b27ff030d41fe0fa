"""None: no network. What is asked of it gives the errors of a Linux that was built without."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence

from diorama.errors import UsageError
from diorama.interfaces.network import Endpoint, Link, Network, Story, refuse
from diorama.interfaces.stackfile import StackFile
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["NoNetwork", "open_none"]


class _Nothing(Story):
    """There is no interface."""

    def links(self) -> Sequence[Link]:
        return ()


class NoNetwork(Network):
    """The stack."""

    title = "none"
    guards = True
    has_no_links = True

    def files(self) -> Mapping[str, Callable[[], bytes]]:
        """Those of /proc/net, in which there is nothing."""
        from diorama.interfaces.procnet import proc_files

        return proc_files(_Nothing())

    def make(self, family: int, type: int, protocol: int) -> Endpoint:
        """There is no such family (socket(2))."""
        raise refuse(errno.EAFNOSUPPORT)


def open_none(rest: str, options: Options) -> Mount:
    """A mount of `none:`."""
    options.finish("none:")
    if rest:
        raise UsageError(f"cannot mount none:{rest}: it takes nothing behind the colon")
    return StackFile(NoNetwork()).mount("none:")
