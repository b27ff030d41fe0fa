"""Shortcuts: other paths for what has a path too long for a system call.

A path of the view may have PATH_MAX bytes, and so its host path in a layer more.  A symbolic link to the
beginning of it, in the work directory, makes that short: it leads wherever the text leads.
"""

from __future__ import annotations

import os
import threading
from typing import Final

__all__ = ["Shortcuts"]

_LONGEST: Final = 3800
"""With a slash and a name it is still less than PATH_MAX."""


class Shortcuts:
    """Links in a directory that is emptied by who uses it next.  Any thread."""

    def __init__(self, directory: bytes) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._links: dict[bytes, bytes] = {}
        self._heads: dict[bytes, bytes] = {}

    def short(self, path: bytes) -> bytes:
        """A path, or one that leads to the same."""
        while len(path) > _LONGEST:
            cut = path.rindex(b"/", 1, _LONGEST)
            path = self._link(path[:cut]) + path[cut:]
        return path

    def full(self, path: bytes) -> bytes:
        """What a path was short for."""
        while self._heads and path.startswith(self._directory):
            cut = path.find(b"/", len(self._directory) + 1)
            head = self._heads.get(path[:cut] if cut >= 0 else path)
            if head is None:
                return path
            path = head + (path[cut:] if cut >= 0 else b"")
        return path

    def _link(self, head: bytes) -> bytes:
        with self._lock:
            link = self._links.get(head)
            if link is None:
                link = self._directory + b"/s%d" % len(self._links)
                os.symlink(head, link)
                self._links[head], self._heads[link] = link, head
            return link
