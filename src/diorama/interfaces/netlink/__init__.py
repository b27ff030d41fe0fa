"""Netlink of a network: the sockets by which `ip`, `ss`, getifaddrs(3) and others ask a stack about itself.

A stack that has a `Story` makes one `Netlink` of it, gives it the sockets of AF_NETLINK, and ends it:

    class Office(Network):
        def __init__(self) -> None:
            self.story = LocalStory(...)
            self._netlink = Netlink(self.story, self.sockets)
            self.story.on_change = self._netlink.changed

        def socket(self, family, type, protocol):
            if family == AF_NETLINK:
                return self._netlink.socket(type, protocol)
            ...

        def close(self) -> None:
            self._netlink.close()

Whoever changes the story otherwise than through these sockets (DHCP, ioctl(2)) calls `changed()`, so that
programs which listen for changes (`ip monitor`) are told.

What the other ways to ask need stands beside this package: `diorama.interfaces.netdevice` (ioctl(2)),
`diorama.interfaces.procnet` (`/proc/net`).
"""

from __future__ import annotations

from diorama.interfaces.netlink.service import Netlink

__all__ = ["Netlink"]
