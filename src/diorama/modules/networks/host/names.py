"""Names: which addresses are called what, as far as programs have been told by DNS.

A name stays known for longer than its answer holds: a program may use an address long after it has asked.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address
from typing import Final

__all__ = ["Names"]

_KEPT_LEAST: Final = 3600.0
_ADDRESSES_MAX: Final = 1 << 14

Address = IPv4Address | IPv6Address


class Names:
    """Names by address, the last ones asked for.  Any thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[Address, dict[str, float]] = OrderedDict()
        self._lock = threading.Lock()

    def learn(self, address: Address, names: Collection[str], ttl: float) -> None:
        """An answer that holds for `ttl` seconds: the name asked for, and those that it stands for."""
        until = time.monotonic() + max(ttl, _KEPT_LEAST)
        with self._lock:
            known = self._known.setdefault(address, {})
            known.update(dict.fromkeys(names, until))
            self._known.move_to_end(address)
            if len(self._known) > _ADDRESSES_MAX:
                self._known.popitem(last=False)

    def of(self, address: Address) -> tuple[str, ...]:
        """The names of an address, that which was told last at the end."""
        now = time.monotonic()
        with self._lock:
            known = self._known.get(address, {})
            for name in [name for name, until in known.items() if until < now]:
                del known[name]
            return tuple(known)
