"""Names: which addresses are called what, as far as programs have been told by DNS or read in /etc/hosts.

A name stays known for longer than its answer holds: a program may use an address long after it has asked.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
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

    def read(self, hosts: Path) -> None:
        """Learn what a file says, for always (hosts(5)); nothing from one that cannot be read.

        Its first name of an address is what that is called.
        """
        try:
            lines = hosts.read_text(errors="replace").splitlines()[::-1]
        except OSError:
            return
        for line in lines:
            address, *names = line.partition("#")[0].split() or [""]
            try:
                self.learn(ip_address(address), [name.lower().rstrip(".") for name in names[::-1]], math.inf)
            except ValueError:
                continue

    def of(self, address: Address) -> tuple[str, ...]:
        """The names of an address, that which was told last at the end."""
        now = time.monotonic()
        with self._lock:
            known = self._known.get(address, {})
            for name in [name for name, until in known.items() if until < now]:
                del known[name]
            return tuple(known)
