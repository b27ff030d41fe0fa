"""Host: the network of the kernel's."""

from __future__ import annotations

import socket

from diorama.errors import UsageError
from diorama.interfaces.network import Endpoint, Network
from diorama.interfaces.stackfile import StackFile
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["HostNetwork", "open_host"]


class HostNetwork(Network):
    """The stack."""

    title = "host"
    hides_abstract = False

    def make(self, family: int, type: int, protocol: int) -> Endpoint:
        """One of the kernel's."""
        return Endpoint(family, type, protocol)

    def adopt(self, at: socket.socket, family: int) -> Endpoint | None:
        """It may go on."""
        return None


def open_host(rest: str, options: Options) -> Mount:
    """A mount of `host:`."""
    options.finish("host:")
    if rest:
        raise UsageError(f"cannot mount host:{rest}: it takes nothing behind the colon")
    return StackFile(HostNetwork()).mount("host:")
