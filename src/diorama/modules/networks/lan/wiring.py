"""Wiring: sockets of datagrams that are connected, and which way that leads.

Such a socket hears only whom it is connected to, and what it sends needs no address, so we do not see it. If
what is between the hosts takes time, or is written down, it is connected to the relay that stands in for its
peer, else to the peer itself: the kernel lets it be connected again at any time. So when that changes all
sockets of the host's programs are looked at.

Both ends may be connected, and are so again one after the other. What comes from one that is not yet, or is
already, is heard by nobody then: it is lost, but must not be refused. So for that time another socket hears
at the same address what the first one does not (while we have descriptors to spare: no more than a refusal is
at stake). A relay finds out who is connected to what; so it is enough
to have these when the own end is connected to one, but all hosts must have them before that is undone.
"""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from diorama.abi.socket import AF_INET6, Inet6Address, InetAddress
from diorama.engine.rawsocket import connect_raw
from diorama.errors import Unsupported
from diorama.modules.networks.lan.addresses import FIRST_MORE, GATEWAY, Place, parse_real, relayed, unmap
from diorama.modules.networks.lan.reaching import open_sockets

if TYPE_CHECKING:
    from diorama.modules.networks.lan.member import Member

__all__ = ["Wiring"]

Real = tuple[str, int]


class _Guards(ExitStack):
    """Sockets that hear in the place of others; most of our free descriptors stay for all else."""

    def __init__(self) -> None:
        super().__init__()
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._room = (most - len(os.listdir("/proc/self/fd"))) // 4

    def add(self, at: socket.socket) -> None:
        """Have one that hears at the address of this one."""
        if self._room > 0:
            self._room -= 1
            with suppress(OSError):
                _guard(at, self)


class Wiring:
    """The ways of one host's connected sockets.  Any thread."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._lock = threading.Lock()
        """Held while a socket is connected."""
        self._ways: tuple[int, frozenset[int]] = (0, frozenset())
        """Of which keeper, and to which hosts, there are relays."""

    def connect(self, at: socket.socket, find: Callable[[], bytes]) -> None:
        """Connect a socket to the address that is found for it, as things are then."""
        while True:
            version = self._member.state.version
            address = find()
            with self._lock:
                if self._member.state.version == version:
                    connect_raw(at.fileno(), address)
                    return

    def changed(self) -> Callable[[int], ExitStack] | None:
        """The LAN has changed: what is to be done if ways have, and may wait."""
        member = self._member
        hosts = (GATEWAY, *member.hosts()) if member.state.impairments or member.state.pcap else ()
        ways = member.keepers, frozenset(host for host in hosts if member.conditions(host).has_relay)
        if ways == self._ways:
            return None
        is_used = bool(ways[1] or self._ways[1])
        self._ways = ways
        return self._follow if is_used else None

    def _follow(self, version: int) -> ExitStack:
        """Connect all sockets again that are connected to where they should not be in this version."""
        with _Guards() as guards:
            is_done = self._look(guards)
            self._member.settle(version, waits=not is_done)
            if not is_done:
                self._look(None)
            return guards.pop_all()

    def _look(self, guards: _Guards | None) -> bool:
        """Connect all to relays, and to peers if they are guarded already (None): whether none was wrong."""
        right = True
        for at in open_sockets():
            with at, suppress(OSError, Unsupported):  # one that was closed, or a keeper that is gone
                if at.type == socket.SOCK_DGRAM and at.proto == socket.IPPROTO_UDP:
                    right = self._set_right(at, guards) and right
        return right

    def _set_right(self, at: socket.socket, guards: _Guards | None) -> bool:
        while True:
            version = self._member.state.version
            peer = at.getpeername()[:2]
            wanted = self._way(_plain(at.getsockname()), parse_real(*peer))
            if wanted is None or wanted == _plain(peer):
                return True
            with self._lock:
                if self._member.state.version == version and at.getpeername()[:2] == peer:
                    if guards is not None:
                        guards.add(at)
                    if guards is None or wanted == (relayed(wanted[0]), wanted[1]):
                        connect_raw(at.fileno(), _packed(at, wanted))
                    return False

    def _way(self, source: Real, there: Place | None) -> Real | None:
        """Where a socket that is connected to a place should be, if that is a matter of ours."""
        member, here = self._member, parse_real(*source)
        if here is None or there is None or not there.port:
            return None
        if (here.number, here.host, there.number) != (member.number, member.host, member.number):
            return None
        if there.host == here.host or (there.host == GATEWAY and there.index >= FIRST_MORE):
            return None
        real = there.real()
        return member.relay(source, real, "udp") if member.conditions(there.host).has_relay else real


def _guard(at: socket.socket, guards: ExitStack) -> None:
    """Have a socket that hears at its address what it does not hear."""
    made = guards.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    chosen = at.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    for one in (made, at):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(_plain(at.getsockname()))
    finally:
        at.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, chosen)


def _plain(address: tuple[Any, ...]) -> Real:
    return unmap(address[0]), address[1]


def _packed(at: socket.socket, real: Real) -> bytes:
    if at.family == AF_INET6:
        return Inet6Address(f"::ffff:{real[0]}", real[1]).pack()
    return InetAddress(*real).pack()
