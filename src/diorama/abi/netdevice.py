"""Network devices: flags, kinds and the structures of ioctl(2), netdevice(7)."""

from __future__ import annotations

__all__ = ["IFNAMSIZ", "broadcast_of"]

IFNAMSIZ = 16

IFF_UP = 0x1
IFF_BROADCAST = 0x2
IFF_DEBUG = 0x4
IFF_LOOPBACK = 0x8
IFF_POINTOPOINT = 0x10
IFF_RUNNING = 0x40
IFF_NOARP = 0x80
IFF_PROMISC = 0x100
IFF_ALLMULTI = 0x200
IFF_MULTICAST = 0x1000
IFF_LOWER_UP = 0x10000
IFF_DORMANT = 0x20000
IFF_VOLATILE = 0x70C5A
"""What nobody but the kernel sets: LOOPBACK, POINTOPOINT, BROADCAST, ECHO, MASTER, SLAVE, RUNNING, LOWER_UP,
DORMANT."""

ARPHRD_ETHER = 1
ARPHRD_LOOPBACK = 772
ARPHRD_NONE = 0xFFFE


def broadcast_of(kind: int, width: int) -> bytes:
    """The address of all on a link, of a kind (ARPHRD_*) with addresses of so many bytes."""
    return (b"\xff" if kind == ARPHRD_ETHER else b"\0") * width
