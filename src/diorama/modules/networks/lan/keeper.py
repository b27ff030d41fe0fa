"""Keeper: the process that a LAN is.

It has the list of the hosts, what was ordered, and what belongs to no host: the DNS server, the relays, the
published ports. It is started by the first member (`meeting`) and ends with the last one. A member is
there as long as its connection is, so that one that dies is gone however it dies.

A LAN has a number, which no other one on the machine has, whoever's it is: the name of an abstract socket
(unix(7)). That is held by the keeper and by each member, so that it stays taken when the keeper is killed, as
long as there are sockets at its real addresses.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from typing import Final
from zlib import crc32

import msgspec

from diorama.errors import UsageError
from diorama.modules.networks.lan import meeting, wire
from diorama.modules.networks.lan.loop import READ, Loop
from diorama.modules.networks.lan.orders import obey
from diorama.modules.networks.lan.peer import Peer
from diorama.modules.networks.lan.roster import admit, check_subnets, new_state
from diorama.modules.networks.lan.services import Services
from diorama.modules.networks.lan.wire import State

__all__ = ["Keeper", "main"]

_NUMBERS: Final = 254
_PATIENCE: Final = 2.0
"""Seconds that members have to let their sockets be as a state wants them; one that is stopped does not."""
_RETURNING: Final = 5.0
"""Seconds that members of a keeper that was killed have to join again before they are held to be gone."""
_SOON: Final = 0.05


def claim_number(lan: str) -> tuple[int, socket.socket]:
    """A number for a LAN that no other one of this machine has, and what keeps it; `UsageError`."""
    first = crc32(f"{os.geteuid()}/{lan}".encode())
    for step in range(_NUMBERS):
        number = (first + step) % _NUMBERS + 1
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0diorama-lan-{number}")
        except OSError as error:
            claim.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return number, claim
    raise UsageError(f"this machine has {_NUMBERS} LANs, and cannot have more")


class Keeper:
    """The process' one object.  One thread."""

    def __init__(self, lan: str, listener: socket.socket) -> None:
        self.lan = lan
        self.loop = Loop()
        self._listener = listener
        self._peers: set[Peer] = set()
        self._members: dict[int, Peer] = {}
        self._claim: socket.socket | None = None
        self._state: State | None = None
        self._notes: list[str] = []
        self.services = Services(self.loop, self._has_state)
        self._unseen: list[tuple[int, bool, float, Callable[[], None]]] = []
        """What waits for a version to be seen, or settled; until when."""
        listener.settimeout(0)
        self.loop.watch(listener.fileno(), READ, lambda events: self._accept())

    def run(self) -> None:
        """Until the last member has left."""
        self.loop.after(0, self._look_whether_to_end)
        self.loop.run()

    # -- who comes and goes -------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                at, _ = self._listener.accept()
            except BlockingIOError:
                return
            self._peers.add(Peer(self.loop, at, self._heard, self._gone))

    def _gone(self, peer: Peer) -> None:
        self._peers.discard(peer)
        if peer.host and self._members.get(peer.host) is peer:
            del self._members[peer.host]
            self._without(lambda host: host.host == peer.host)
        self._look_unseen()
        if not self._members:
            self.loop.after(0, self._look_whether_to_end)

    def _without(self, is_gone: Callable[[wire.HostRecord], bool]) -> None:
        state = self._state
        if state is not None:
            state.hosts = [host for host in state.hosts if not is_gone(host)]
            self._tell()

    def _look_whether_to_end(self) -> None:
        """End if nobody is here, and nobody is about to come: nobody can connect without the lock."""
        if not self.loop.is_running or self._members or self._is_expected():
            return
        try:
            lock = meeting.lock(self.lan, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.loop.after(_SOON, self._look_whether_to_end)
            return
        try:
            self._accept()
            if self._is_expected():
                return
            meeting.forget(self.lan)
            self._listener.close()
            self.loop.stop()
        finally:
            os.close(lock)

    def _is_expected(self) -> bool:
        """Whether somebody is here who may become a member."""
        return any(not peer.is_watching for peer in self._peers)

    # -- what is said -------------------------------------------------------------------------

    def _heard(self, peer: Peer, message: wire.Message, descriptors: list[int]) -> None:
        try:
            if isinstance(message, wire.Hello):
                self._join(peer, message, descriptors)
            elif isinstance(message, wire.Watch):
                self._watch(peer, message)
            elif isinstance(message, wire.Seen):
                if message.is_settled:
                    peer.settled = message.version
                else:
                    peer.seen = message.version
                self._look_unseen()
            elif isinstance(message, wire.Order):
                self._order(peer, message)
            elif isinstance(message, (wire.AskRelay, wire.AskOutside, wire.AskWhy)) and peer.host:
                peer.send(self._answer(message))
            elif isinstance(message, wire.Pinged) and peer.host:
                self.services.pinged(message)
            else:
                raise UsageError(f"{type(message).__name__} is not for the keeper")
        except UsageError as error:
            peer.send(wire.Refused(str(error), error.code, getattr(message, "id", 0)))
            if not peer.host and not peer.is_watching:
                peer.close()

    def _answer(self, asked: wire.AskRelay | wire.AskOutside | wire.AskWhy) -> wire.Answer:
        if isinstance(asked, wire.AskRelay):
            return wire.Answer(asked.id, self.services.relay(asked.source, asked.target, asked.protocol))
        if isinstance(asked, wire.AskWhy):
            return wire.Answer(asked.id, None, self.services.why(asked.source))
        there = asked.address, asked.port, asked.protocol
        return wire.Answer(asked.id, self.services.outside(asked.source, *there))

    def _join(self, peer: Peer, hello: wire.Hello, descriptors: list[int]) -> None:
        _check_version(hello.version)
        if hello.again and hello.known is not None:
            host = self._join_again(hello, hello.known, descriptors)
        else:
            state = self._have_state(hello)
            check_subnets(state, hello)
            record = admit(state, hello)
            state.hosts = sorted([*state.hosts, record], key=lambda one: one.host)
            host = record.host
        peer.host = host
        self._members[host] = peer
        self._tell()
        self._when_seen(self._has_state().version, lambda: self._welcome(peer))

    def _welcome(self, peer: Peer) -> None:
        state, claim = self._state, self._claim
        if state is not None and claim is not None:
            peer.seen = peer.settled = state.version
            peer.send(wire.Welcome(peer.host, state, self._notes), [claim.fileno()])

    def _has_state(self) -> State:
        assert self._state is not None
        return self._state

    def _have_state(self, hello: wire.Hello) -> State:
        """The state; a new one for the first who joins."""
        if self._state is None:
            number, claim = claim_number(self.lan)
            try:
                self._state = new_state(self.lan, number, hello)
            except UsageError:
                claim.close()
                raise
            self._claim = claim
            self._notes = self.services.start()
        return self._state

    def _join_again(self, hello: wire.Hello, known: State, descriptors: list[int]) -> int:
        """A member of a keeper that was killed: the LAN is what the first of them knows of it."""
        if self._state is None and len(descriptors) == 1:
            self._claim = socket.socket(fileno=os.dup(descriptors[0]))
            self._state = known
            self._notes = [*self.services.start(), *self._prepare_again(known)]
            self.loop.after(_RETURNING, lambda: self._without(lambda host: host.host not in self._members))
        state = self._state
        if state is None or state.number != known.number:
            raise UsageError("another one has begun meanwhile")
        mine = next((host for host in known.hosts if host.host == hello.again), None)
        if mine is None or hello.again in self._members:
            raise UsageError(f"it has a host {hello.again} already")
        taken = next((host for host in state.hosts if host.host == mine.host), None)
        if taken is None:
            state.hosts = sorted([*state.hosts, mine], key=lambda one: one.host)
        elif taken != mine:
            raise UsageError(f"{taken.name} has come in its place")
        return mine.host

    def _prepare_again(self, known: State) -> list[str]:
        try:
            self.services.prepare(known, again=True)
        except UsageError as error:
            known.published, known.pcap = [], ""
            return [str(error)]
        return []

    def _watch(self, peer: Peer, message: wire.Watch) -> None:
        _check_version(message.version)
        if self._state is None:
            raise UsageError(f"lan:{self.lan} has no hosts", errno.ENOENT)
        peer.is_watching = True
        peer.send(wire.Welcome(0, self._state))

    def _order(self, peer: Peer, order: wire.Order) -> None:
        if self._state is None or not (peer.host or peer.is_watching):
            raise UsageError(f"lan:{self.lan} has no hosts", errno.ENOENT)
        state = obey(_copy(self._state), order.verb, order.words)
        self.services.prepare(state)
        self._state = state
        self._tell()
        version = state.version
        self._when_seen(version, lambda: self._settle(peer, order.id, version))

    def _settle(self, peer: Peer, id: int, version: int) -> None:
        self._send_all(wire.Settled(version))
        self._when_seen(version, lambda: self._done(peer, id), is_settled=True)

    def _done(self, peer: Peer, id: int) -> None:
        if self._state is not None:
            peer.send(wire.Done(id, self._state))

    # -- what is told -------------------------------------------------------------------------

    def _tell(self) -> None:
        """The state has changed: all that were welcomed are told."""
        state = self._state
        if state is None:
            return
        state.version += 1
        self.services.follow()
        self._send_all(wire.Changed(state))

    def _send_all(self, message: wire.Message) -> None:
        for peer in [*self._peers]:
            if peer.seen >= 0:
                peer.send(message)

    def _when_seen(self, version: int, call: Callable[[], None], *, is_settled: bool = False) -> None:
        """Call when all members' sockets are as a version of the state wants them, or should be."""
        self._unseen.append((version, is_settled, time.monotonic() + _PATIENCE, call))
        self.loop.after(_PATIENCE, self._look_unseen)
        self._look_unseen()

    def _look_unseen(self) -> None:
        now = time.monotonic()
        due = [one for one in self._unseen if one[2] <= now or self._is_seen(*one[:2])]
        self._unseen = [one for one in self._unseen if one not in due]
        for *_, call in due:
            call()

    def _is_seen(self, version: int, is_settled: bool) -> bool:
        there = [peer for peer in self._members.values() if peer.seen >= 0]
        if is_settled:  # who has not seen it has been waited for
            return all(peer.settled >= version for peer in there if peer.seen >= version)
        return all(peer.seen >= version for peer in there)


def _copy(state: State) -> State:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=State)


def _check_version(version: int) -> None:
    if version != wire.VERSION:
        raise UsageError(f"its keeper is another version's ({wire.VERSION}, not {version})", errno.EPROTO)


def main(lan: str) -> None:
    """Be the keeper of a LAN; its listening socket is descriptor 3, and nothing else is wanted."""
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    os.chdir("/")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    fcntl.fcntl(3, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    Keeper(lan, socket.socket(fileno=3)).run()
