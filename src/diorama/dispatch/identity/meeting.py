"""Meeting: who a process was when it connected or listened, which SO_PEERCRED tells (unix(7)).

The kernel notes it for each socket, but knows one user for all of a view; so it is noted here for each
process that it names.  Few are somebody else at one time than at another.  Only then does it matter which of
their sockets is meant: one that connects is known by its inode number, which the other end can ask for
(sock_diag(7)) as long as it is there, one that listens by its address, a pair by both inode numbers.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from diorama.catalogue.sockets import Connect, Listen, SocketPair
from diorama.dispatch.identity.answers import Outcome, answers
from diorama.engine.taking import taken

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.identity.state import Identities
    from diorama.view.identity import Identity

__all__ = ["Meetings"]

_PROCESSES: Final = 4096
_SOCKETS: Final = 1024
_FAMILY: Final = struct.Struct("=H")
_ASK: Final = struct.Struct("=IHHIIBBHIIIQ")
_DIAG_BY_FAMILY, _SHOW_PEER, _REQUEST = 20, 4, 1
_ANY_STATE, _ANY_COOKIE = 0xFFFFFFFF, (1 << 64) - 1
_HEADER, _ANSWER, _ATTRIBUTE, _PEER = 16, 16, 4, 2

_A_PAIR: Final = b""
"""One that was made while its process was nobody else."""

Key = int | bytes
"""A socket: its inode number, negative for one of a pair, or the address at which it listens."""


class Meetings:
    """As whom processes have connected and listened.  Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[int, OrderedDict[Key, Identity]] = OrderedDict()

    def note(self, pid: int, who: Identity, *keys: Key) -> None:
        """A process meets others as this one, by these sockets."""
        with self._lock:
            known = self._known.setdefault(pid, OrderedDict())
            self._known.move_to_end(pid)
            for key in keys:
                known[key] = who
                known.move_to_end(key)
            while len(known) > _SOCKETS:
                known.popitem(last=False)
            while len(self._known) > _PROCESSES:
                self._known.popitem(last=False)

    def at(self, pid: int, end: socket.socket) -> Identity | None:
        """As whom a process met who has this end; None for one that has met nobody."""
        with self._lock:
            noted = self._known.get(pid)
            known = None if noted is None else dict(noted)
        if not known:
            return None
        if len(set(known.values())) == 1:
            return next(iter(known.values()))
        return known[_choose(known, end)]

    def is_only(self, pid: int, who: Identity) -> bool:
        """Whether a process has met others as nobody else."""
        with self._lock:
            known = self._known.get(pid)
            return known is None or set(known.values()) == {who}


def _choose(known: dict[Key, Identity], end: socket.socket) -> Key:
    """Which of the sockets of a process is at the other end of this one."""
    pair = -os.fstat(end.fileno()).st_ino
    if pair in known:
        return pair
    listener = _address(end)
    if listener and listener in known:
        return listener
    connector = _peer_of(end)
    if connector in known:
        return connector
    if end.getsockname() or _A_PAIR not in known:
        # It has been closed: the last one, if it is one that has connected.
        connectors = [key for key in known if isinstance(key, int) and key > 0]
        return connectors[-1] if connectors else next(reversed(known))
    return _A_PAIR


def _address(end: socket.socket) -> bytes:
    """Where the other end listens, or this one if it is connected to nobody."""
    try:
        return os.fsencode(end.getpeername())
    except OSError:
        return os.fsencode(end.getsockname())


def _peer_of(end: socket.socket) -> int:
    """The inode number of the other end (sock_diag(7)); 0 if it has none any more."""
    own = os.fstat(end.fileno()).st_ino
    header = _ASK.size, _DIAG_BY_FAMILY, _REQUEST, 0, 0
    ask = _ASK.pack(*header, socket.AF_UNIX, 0, 0, _ANY_STATE, own, _SHOW_PEER, _ANY_COOKIE)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as asking:
        asking.send(ask)
        data = asking.recv(1 << 16)
    at = _HEADER + _ANSWER
    while at + _ATTRIBUTE <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if kind == _PEER:
            return int.from_bytes(data[at + _ATTRIBUTE : at + size], "little")
        at += max(size + 3 & ~3, _ATTRIBUTE)
    return 0


@answers(Connect)
def connect(identities: Identities, call: Connect) -> Outcome:
    """To who will ask who this is."""
    if not call.address or call.address_size < _FAMILY.size:
        return None
    if call.tracee.memory.read(call.address.address, _FAMILY.size) == _FAMILY.pack(socket.AF_UNIX):
        inode = _inode(call.tracee, call.fd)
        identities.meetings.note(call.tracee.pid, identities.of(call.tracee), inode)
    return None


@answers(Listen)
def listen(identities: Identities, call: Listen) -> Outcome:
    """For who will ask who this was."""
    tracee = call.tracee
    try:
        with taken(tracee.tid, tracee.pid, call.fd) as ours, socket.socket(fileno=os.dup(ours)) as at:
            name = os.fsencode(at.getsockname()) if at.family == socket.AF_UNIX else None
    except OSError:
        return None
    if name is not None:
        identities.meetings.note(tracee.pid, identities.of(tracee), name)
    return None


@answers(SocketPair)
def pair(identities: Identities, call: SocketPair) -> Outcome:
    """Both of one process, which may be somebody else when it is asked."""
    tracee = call.tracee
    who = identities.of(tracee)
    if identities.meetings.is_only(tracee.pid, who):
        identities.meetings.note(tracee.pid, who, _A_PAIR)
        return None
    result = call.run()
    ends = call.fds.read()
    identities.meetings.note(tracee.pid, who, -_inode(tracee, ends.first), -_inode(tracee, ends.second))
    return result


def _inode(tracee: Tracee, fd: int) -> int:
    """The inode number of a socket; 0 if we may not look."""
    try:
        return os.stat(f"/proc/{tracee.tid}/fd/{fd}").st_ino
    except OSError:
        return 0
