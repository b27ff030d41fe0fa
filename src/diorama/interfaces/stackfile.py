"""Stackfile: the special file that stands for a network stack, where that is mounted.

Who sets its extended attribute `system.stack` chooses the network for its process and the children that it
makes from then on: for the address families in the value (`inet,inet6`), or for all but AF_UNIX if that is
empty. Reading the attribute tells for which families the reader has chosen this one (`all` for all).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Final

from diorama.abi import socket as families
from diorama.errors import UsageError
from diorama.interfaces.filesystem import Attributes, Entry, FileSystem
from diorama.interfaces.network import Network
from diorama.view.asking import asker
from diorama.view.mounts import Mount

__all__ = ["ATTRIBUTE", "StackFile", "parse_families"]

ATTRIBUTE: Final = b"system.stack"
_ALL: Final = b"all"
_ALIASES: Final = {
    "bt": "bluetooth",
    "ip": "inet",
    "ip4": "inet",
    "ip6": "inet6",
    "ipv4": "inet",
    "ipv6": "inet6",
}
_NAMES: Final = {
    name.removeprefix("AF_").lower(): number
    for name, number in vars(families).items()
    if name.startswith("AF_") and number
}


def parse_families(text: str) -> frozenset[int]:
    """Address families by names (`inet`, `ip6`, `netlink`) or numbers, apart by commas; `UsageError`."""
    found: set[int] = set()
    for word in filter(None, (part.strip().lower() for part in text.split(","))):
        name = _ALIASES.get(word, word)
        if name.isdigit() and int(name) < 1 << 16:
            found.add(int(name))
        elif name in _NAMES:
            found.add(_NAMES[name])
        else:
            raise UsageError(f"unknown address family {word!r}; known are {', '.join(sorted(_NAMES))}")
    return frozenset(found)


def _fail(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class StackFile(FileSystem):
    """A file system of one special file.  Any thread."""

    writable = True
    judges_xattrs = True

    def __init__(self, network: Network) -> None:
        self.network = network
        self.title = network.title

    def mount(self, source: str, shown: tuple[str, ...] = ()) -> Mount:
        """A mount, not yet attached."""
        return Mount(filesystem=self, kind=stat.S_IFCHR, source=source, type=self.title, options=shown)

    def attributes(self, inode: int) -> Attributes:
        """A character device without a number, for everybody."""
        return Attributes(stat.S_IFCHR | 0o666, uid=0, gid=0)

    def lookup(self, directory: int, name: bytes) -> int:
        """There is nothing in it."""
        raise _fail(errno.ENOTDIR)

    def entries(self, directory: int) -> Sequence[Entry]:
        """There is nothing in it."""
        raise _fail(errno.ENOTDIR)

    def copy_content(self, inode: int, fd: int) -> None:
        """It has none."""
        raise _fail(errno.EINVAL)

    def open_device(self, inode: int, flags: int) -> int:
        """Nothing can be read there."""
        raise _fail(errno.ENXIO)

    def list_xattrs(self, inode: int) -> Sequence[bytes]:
        return (ATTRIBUTE,)

    def get_xattr(self, inode: int, name: bytes) -> bytes:
        who = asker()
        if name != ATTRIBUTE or who is None:
            raise _fail(errno.ENODATA)
        stacks = who.task.stacks
        chosen = [name for name, number in _NAMES.items() if stacks.of_family.get(number) is self.network]
        if stacks.all is self.network:
            return _ALL
        if not chosen:
            raise _fail(errno.ENODATA)
        return ",".join(sorted(chosen)).encode()

    def set_xattr(self, inode: int, name: bytes, value: bytes) -> None:
        who = asker()
        if name != ATTRIBUTE or who is None:
            raise _fail(errno.EOPNOTSUPP)
        try:
            chosen = frozenset[int]() if value == _ALL else parse_families(value.decode())
        except (UsageError, UnicodeDecodeError):
            raise _fail(errno.EINVAL) from None
        who.choose_stack(self.network, chosen)

    def close(self) -> None:
        self.network.close()
