"""Reaching: the sockets of IPv4 and IPv6 that the programs of our views have open, of whatever network."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.abi.socket import AF_INET, AF_INET6
from diorama.engine.descent import members
from diorama.engine.ourcall import make_call

__all__ = ["open_sockets"]


def open_sockets() -> Iterator[socket.socket]:
    """A copy of each, to be closed; those that nobody may have a copy of are left out."""
    seen: set[str] = set()
    for pid in members():
        try:
            names = os.listdir(f"/proc/{pid}/fd")
            process = os.pidfd_open(pid, 0)
        except OSError:
            continue
        try:
            for name in names:
                copy = _copy(pid, process, name, seen)
                if copy is not None:
                    yield copy
        finally:
            os.close(process)


def _copy(pid: int, process: int, name: str, seen: set[str]) -> socket.socket | None:
    try:
        link = os.readlink(f"/proc/{pid}/fd/{name}")  # its status might have to be waited for
        if not link.startswith("socket:[") or link in seen:
            return None
        fd = make_call(NUMBERS[Abi.native()[0].title]["pidfd_getfd"], process, int(name), 0)
    except OSError:
        return None
    seen.add(link)
    at = socket.socket(fileno=fd)
    if at.family in (AF_INET, AF_INET6):
        return at
    at.close()
    return None
