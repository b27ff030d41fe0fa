"""Hostformats: the kernel's own formats, for files that only the view finds by their paths.

The kernel would give an interpreter the path by which it was given the file, which is no path of the view.
So what the host has registered is done by the view there, from what binfmt_misc tells everybody.
"""

from __future__ import annotations

import os
from typing import Final

from diorama.abi.binfmt import Format, parse_shown

__all__ = ["host_format"]

_PLACE: Final = "/proc/sys/fs/binfmt_misc"
_OWN: Final = frozenset({"register", "status"})


def host_format(called: bytes, head: bytes) -> Format | None:
    """What the kernel has for a file that is called so, and begins so."""
    if _read("status") != b"enabled\n":
        return None
    for name in sorted(set(os.listdir(_PLACE)) - _OWN):
        try:
            format, enabled = parse_shown(os.fsencode(name), _read(name))
        except (KeyError, ValueError):
            continue
        if enabled and format.accepts(called, head):
            return format
    return None


def _read(name: str) -> bytes:
    try:
        with open(f"{_PLACE}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""
