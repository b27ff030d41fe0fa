"""Addresses: what sockets that were bound through a mount are called.

The kernel keeps the text of the address that a socket was bound to, and tells it to everybody.  Where that
had to be a path of the host, it is put back into what the program gave, for itself and its peers in the view.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from diorama.abi.socket import UnixAddress, parse_address

__all__ = ["Addresses"]

_REMEMBERED: Final = 1 << 14


class Addresses:
    """Texts that programs gave, by those that the kernel has, the last ones of them.  Any thread."""

    __slots__ = ("_given", "_lock", "on_first")

    def __init__(self) -> None:
        self.on_first: Callable[[], None] = _nothing
        self._given: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._given)

    def bound(self, real: bytes, given: bytes) -> None:
        """A socket is about to be bound to an address, for which a program gave another, or the same."""
        path, text = _path(real), _path(given)
        if path is None or text is None or (path == text and not self._given):
            return
        with self._lock:
            if path == text:
                self._given.pop(path, None)
                return
            is_first = not self._given
            self._given[path] = text
            if len(self._given) > _REMEMBERED:
                self._given.popitem(last=False)
        if is_first:
            self.on_first()

    def given(self, real: bytes) -> bytes | None:
        """The address that was given for one of the kernel's; None if that is the same."""
        path = _path(real)
        text = None if path is None else self._given.get(path)
        return None if text is None else UnixAddress(text).pack()

    def named(self, path: bytes) -> bytes:
        """As `given`, of paths alone; the same if nothing else is known."""
        return self._given.get(path, path)


def _nothing() -> None:
    return


def _path(address: bytes) -> bytes | None:
    parsed = parse_address(address)
    if not isinstance(parsed, UnixAddress) or parsed.path[:1] in (b"", b"\0"):
        return None
    return parsed.path
