"""Member: a host of a LAN, as its view has it.

A thread listens to the keeper and keeps a snapshot, which everything that need not wait is answered from: it
is replaced as a whole. If the keeper dies, the hosts go on with what they know, since their connections are
their own; the thread joins again, under the old name and number, at a keeper that it starts if nobody else
has, and which gets the whole state from who joins again first.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_network
from typing import Final, TypeAlias

from diorama.errors import Unsupported, UsageError, warn_once
from diorama.modules.networks.lan import meeting, wire
from diorama.modules.networks.lan.conditions import (
    GATEWAY,
    GATEWAY_NAME,
    Conditions,
    conditions_between,
    make_filter,
    silent_hosts,
)
from diorama.modules.networks.lan.roster import gateway_record
from diorama.modules.networks.lan.wire import HostRecord, State
from diorama.view.asking import asker

__all__ = ["Host", "Member"]

_ATTEMPTS: Final = 5
_ATTEMPTS_AGAIN: Final = 50
"""Of who was a member already: each of them takes a keeper that is killed while it lets us in."""
_LASTING: Final = 60.0
"""Seconds that a relay of datagrams is used without asking again: half of those that it waits for some."""
_MOST_RELAYS: Final = 10_000
_UNREACHABLE: Final = errno.EHOSTUNREACH
_KNOWN: Final = {
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS), errno.ENOBUFS),
    **{code: code for code in (errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENETUNREACH, errno.EAFNOSUPPORT)},
}
"""What a program is told of the errors that the keeper may have met, where Linux knows them of connect(2)."""
_SETTLING: Final = 3.0
"""Seconds to wait for other hosts to follow a change: a little more than the keeper does."""
_PATIENCE: Final = 30.0
"""Seconds to wait for an answer of the keeper; it has only a little to do for each."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host of a LAN, or its gateway; `is_down` if it has died, by `diorama net NAME down`."""

    host: int
    name: str
    address: IPv4Interface
    address6: IPv6Interface
    is_down: bool = False


Finish: TypeAlias = Callable[[int], ExitStack]
"""What is still to be done for a version of the state, and may wait: it calls `settle`.

What it returns is to be closed a while later.
"""
_WHILE: Final = 0.5


def _nothing() -> None:
    return None


def _refuse(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class Member:
    """One host.  Any thread; `on_change` is called on a thread of its own, and must not ask for relays.

    What it returns is called on one more, and may.
    """

    def __init__(self, hello: wire.Hello) -> None:
        self._hello = hello
        self._claim = -1
        self._lock = threading.Lock()
        self._waiting: dict[int, list[wire.Message]] = {}
        self._answered = threading.Condition(self._lock)
        self._next = 0
        self._has_left = False
        self._is_here = True
        self._relays: dict[tuple[tuple[str, int], tuple[str, int]], tuple[tuple[str, int], float]] = {}
        self._outside: dict[tuple[str, int], tuple[str, int]] = {}
        self.keepers = 0
        """How many keepers it has lost."""
        self._settled = 0
        self._finishing = 0
        self._threads: list[threading.Thread] = []
        self.on_change: Callable[[], Finish | None] = _nothing
        self._socket, welcome = self._enter(hello)
        self.number: int = welcome.state.number
        self.host: int = welcome.host
        self._see(welcome.state)
        mine = self._hosts[self.host]
        self.name, self.address, self.address6 = mine.name, mine.address, mine.address6
        for note in welcome.notes:
            warn_once(f"lan:{hello.lan}", note)
        self._thread = threading.Thread(target=self._listen, name=f"lan:{hello.lan}", daemon=True)
        self._thread.start()

    @classmethod
    def join(
        cls,
        lan: str,
        *,
        host: str | None = None,
        address: str | None = None,
        address6: str | None = None,
        subnet: str | None = None,
        subnet6: str | None = None,
        orders: Sequence[tuple[str, Sequence[str]]] = (),
    ) -> Member:
        """Be a host of a LAN, the first one of which makes it; `UsageError`.

        `subnet` and `subnet6` are for who makes it, and must fit later.  `orders` are verbs and words of
        `diorama net NAME`, carried out when it has joined.
        """
        hello = wire.Hello(
            version=wire.VERSION,
            pid=os.getpid(),
            lan=meeting.check_name(lan),
            host=meeting.check_name(host, "host") if host else "",
            address=address or "",
            address6=address6 or "",
            subnet=subnet or "",
            subnet6=subnet6 or "",
        )
        member = cls(hello)
        try:
            for verb, words in orders:
                member.order(verb, words)
        except BaseException:
            member.leave()
            raise
        return member

    def leave(self) -> None:
        """Be no host of it any more."""
        with self._lock:
            if self._has_left:
                return
            self._has_left = True
            self._answered.notify_all()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the keeper is gone, and the thread sees that
        if threading.current_thread() is not self._thread:
            self._thread.join()
            for thread in self._threads:
                thread.join()

    # -- what is known ------------------------------------------------------------------------

    @property
    def gateway(self) -> IPv4Interface:
        """The gateway's IPv4 address, which is also that of the DNS server; its host number is 254."""
        return self._gateway.address

    @property
    def gateway6(self) -> IPv6Interface:
        """Its IPv6 address."""
        return self._gateway.address6

    @property
    def lan(self) -> str:
        """The name of the LAN, which is the domain of its names too."""
        return self._hello.lan

    @property
    def state(self) -> State:
        """All that is known of the LAN; not to be changed."""
        return self._state

    def hosts(self) -> Mapping[int, Host]:
        """Its hosts by their numbers, without the gateway: a snapshot."""
        return self._hosts

    def find(self, address: str) -> Host | None:
        """The host, or the gateway, that has an IPv4 or IPv6 address."""
        return self._addresses.get(str(ip_address(address)))

    def conditions(self, other: int) -> Conditions:
        """What passes between this host and another one suffers."""
        if other == GATEWAY:
            return conditions_between(self._state, self.name, GATEWAY_NAME)
        host = self._hosts.get(other)
        return Conditions() if host is None else conditions_between(self._state, self.name, host.name)

    def filter(self) -> bytes:
        """The packet filter, `struct sock_filter[]`, that sockets of this host but TCP's must have now."""
        return self._filter

    def silent(self) -> frozenset[int]:
        """The hosts that TCP sockets of this host must not hear now (`silence`)."""
        return self._silent

    def _see(self, state: State) -> None:
        gateway = _host(state, gateway_record(state))
        hosts = {host.host: _host(state, host) for host in state.hosts}
        self._state, self._hosts, self._gateway = state, hosts, gateway
        named = (*hosts.values(), gateway)
        self._addresses = {
            **{str(host.address.ip): host for host in named},
            **{str(host.address6.ip): host for host in named},
        }
        mine = hosts.get(self.host)
        self._filter = make_filter(state, mine.name if mine else "")
        self._silent = silent_hosts(state, mine.name) if mine else frozenset[int]()

    # -- what is asked for ----------------------------------------------------------------------

    def relay(self, source: tuple[str, int], target: tuple[str, int], protocol: str) -> tuple[str, int]:
        """The real address to connect or send to in place of a real one: `tcp` or `udp`.

        To be asked for each connection just before it is made, and for each datagram; a TCP socket must have
        a port and SO_REUSEADDR, so that the other side sees that port too.  EHOSTUNREACH without a
        keeper.
        """
        now = time.monotonic()
        known, since = self._relays.get((source, target), (target, 0.0))
        if protocol == "udp" and since and now - since < _LASTING:
            return known
        keepers = self.keepers
        answer = self._ask(lambda id: wire.AskRelay(id, source, target, protocol))
        real = target if answer.address is None else answer.address
        if protocol == "udp" and keepers == self.keepers:  # or the relay may be gone
            if len(self._relays) > _MOST_RELAYS:
                self._relays.clear()
            self._relays[source, target] = real, now
        return real

    def outside(
        self, source: tuple[str, int], address: str, port: int, protocol: str
    ) -> tuple[str, int] | None:
        """The real address that leads to one outside of the LAN; None if the gateway lets nobody there.

        To be asked for each connection, just before it is made.
        """
        answer = self._ask(lambda id: wire.AskOutside(id, source, address, port, protocol))
        if answer.address is not None:
            self._outside[answer.address] = (address, port)
        return answer.address

    def outside_name(self, real: tuple[str, int]) -> tuple[str, int] | None:
        """What a real address of the gateway's stands for, which `outside` has told of."""
        return self._outside.get(real)

    def why(self, source: tuple[str, int]) -> int:
        """The errno with which a connection by a relay, from a real address, could not be made; 0: none."""
        try:
            return self._ask(lambda id: wire.AskWhy(id, source)).code
        except OSError:
            return 0  # without the keeper that would know

    def pinged(self, source: str, target: str, body: bytes, *, is_reply: bool) -> None:
        """A ping of this host's, or its answer, passes: identifier, sequence number, data.

        To be told as long as `conditions().is_captured`.
        """
        with self._lock:
            if self._is_here and not self._has_left:
                try:
                    wire.send(self._socket, wire.Pinged(source, target, body, is_reply))
                except OSError:
                    pass  # the keeper is gone, and nothing is written down

    def order(self, verb: str, words: Sequence[str] = ()) -> State:
        """Carry out `diorama net NAME VERB WORD...`: the state, which all members have seen; `UsageError`."""
        answer = self._answer(lambda id: wire.Order(id, verb, list(words)))
        if not isinstance(answer, wire.Done):
            raise UsageError(f"lan:{self.lan}: {verb}: the keeper does not answer", errno.EHOSTUNREACH)
        return answer.state

    def _ask(self, make: Callable[[int], wire.Message]) -> wire.Answer:
        who = asker()
        if who is not None:
            who.step_aside()
        try:
            answer = self._answer(make)
        except UsageError as error:
            raise Unsupported(f"lan:{self.lan}", str(error), _KNOWN.get(error.code, _UNREACHABLE)) from None
        if not isinstance(answer, wire.Answer):
            raise _refuse(errno.EHOSTUNREACH)
        return answer

    def _answer(self, make: Callable[[int], wire.Message]) -> wire.Message | None:
        """The answer to a message, from the next keeper if this one is killed; None if there is none."""
        with self._lock:
            found = self._try(make) or self._try(make)
        if isinstance(found, wire.Refused):
            raise UsageError(found.why, found.code)
        return found

    def _try(self, make: Callable[[int], wire.Message]) -> wire.Message | None:
        if not self._answered.wait_for(lambda: self._is_here or self._has_left, _PATIENCE) or self._has_left:
            return None
        self._next += 1
        id = self._next
        found = self._waiting[id] = []
        try:
            wire.send(self._socket, make(id))
            self._answered.wait_for(lambda: found or id not in self._waiting, _PATIENCE)
        except OSError:
            self._answered.wait_for(lambda: id not in self._waiting, _PATIENCE)
        finally:
            self._waiting.pop(id, None)
        return found[0] if found else None

    # -- the thread that listens -----------------------------------------------------------------

    def _enter(self, hello: wire.Hello, attempts: int = _ATTEMPTS) -> tuple[socket.socket, wire.Welcome]:
        """A connection to a keeper that lets us in; `UsageError`.

        A keeper that is being killed may still take a connection, which ends then.
        """
        for _ in range(attempts):
            at = meeting.connect(hello.lan, start=True)
            if at is None:
                break
            try:
                return at, self._greet(at, hello)
            except (EOFError, ConnectionError):
                at.close()
            except BaseException:
                at.close()
                raise
        raise UsageError(f"cannot join lan:{hello.lan}: its keeper has ended: {meeting.told(hello.lan)}")

    def _greet(self, at: socket.socket, hello: wire.Hello) -> wire.Welcome:
        """Say who joins; with the claim of the LAN's number, if there is one already."""
        wire.send(at, hello, [] if self._claim < 0 else [self._claim])
        try:
            message, descriptors = wire.receive(at)
        except ValueError as error:
            raise UsageError(f"cannot join lan:{hello.lan}: its keeper says {error}", errno.EPROTO) from None
        if isinstance(message, wire.Welcome) and len(descriptors) == 1:
            if self._claim >= 0:
                os.close(self._claim)
            self._claim = descriptors[0]
            return message
        for descriptor in descriptors:
            os.close(descriptor)
        why = message.why if isinstance(message, wire.Refused) else "its keeper says nonsense"
        raise UsageError(f"cannot join lan:{hello.lan}: {why}", getattr(message, "code", errno.EPROTO))

    def _listen(self) -> None:
        while True:
            try:
                message, descriptors = wire.receive(self._socket)
            except (EOFError, OSError, ValueError):
                if self._return():
                    continue
                break
            for descriptor in descriptors:
                os.close(descriptor)
            self._hear(message)
        self._socket.close()
        if self._claim >= 0:
            os.close(self._claim)
        self._tidy()

    def _tidy(self) -> None:
        """Remove what a keeper has left that was killed when nobody would start another any more."""
        with suppress(UsageError, OSError):
            found = meeting.connect(self.lan, start=False)
            if found is not None:
                found.close()

    def _hear(self, message: wire.Message) -> None:
        if isinstance(message, wire.Changed):
            self._see(message.state)
            self._changed()
        elif isinstance(message, wire.Settled):
            with self._lock:
                self._settled = message.version
                self._answered.notify_all()
            self._has_settled()
        elif isinstance(message, (wire.Answer, wire.Done, wire.Refused)):
            with self._lock:
                if message.id in self._waiting:
                    self._waiting[message.id].append(message)
                    self._answered.notify_all()

    def _changed(self) -> None:
        """Let the sockets be as the state wants them, and tell so."""
        version = self._state.version
        finish: Finish | None = None
        try:
            finish = self.on_change()
        except Exception:
            traceback.print_exc()  # an error of ours; this host still is one
        if finish is None:
            self._saw(version)
            return
        name = f"lan:{self.lan}:changed"
        thread = threading.Thread(target=self._finish, args=(finish, version), name=name, daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        with self._lock:
            self._finishing += 1
        thread.start()

    def _finish(self, finish: Finish, version: int) -> None:
        """Do the rest that a change takes."""
        with ExitStack() as left:
            try:
                left.push(finish(version))
            except Exception:
                traceback.print_exc()
                self._saw(version)
            with self._lock:
                self._finishing -= 1
            self._has_settled()
            with self._lock:
                self._answered.wait_for(lambda: self._has_left, _WHILE)

    def settle(self, version: int, *, waits: bool) -> None:
        """Say that this host has done what a change takes, and wait for the others."""
        self._saw(version)
        if waits:
            with self._lock:
                self._answered.wait_for(lambda: self._settled >= version or self._has_left, _SETTLING)

    def _has_settled(self) -> None:
        """Say so, if there is nothing left to do."""
        with self._lock:
            version = 0 if self._finishing else self._settled
        if version:
            self._saw(version, is_settled=True)

    def _saw(self, version: int, *, is_settled: bool = False) -> None:
        try:
            wire.send(self._socket, wire.Seen(version, is_settled))
        except OSError:
            pass  # the keeper is gone, which the next look at the socket finds

    def _return(self) -> bool:
        """The keeper is gone: whether there is another one, where this is a host as before."""
        with self._lock:
            self._is_here = False
            self.keepers += 1
            self._waiting.clear()
            self._relays.clear()
            self._answered.notify_all()
            if self._has_left:
                return False
        hello = wire.Hello(
            version=wire.VERSION, pid=os.getpid(), lan=self.lan, again=self.host, known=self._state
        )
        try:
            at, welcome = self._enter(hello, _ATTEMPTS_AGAIN)
        except (UsageError, OSError) as error:
            with self._lock:
                self._has_left = True
                self._answered.notify_all()
            warn_once(f"lan:{self.lan}", f"{self.name} is on its own, since its keeper was killed: {error}")
            return False
        with self._lock:
            old, self._socket = self._socket, at
            self._is_here = True
            has_left = self._has_left
            self._answered.notify_all()
        old.close()
        self._see(welcome.state)
        self._changed()
        return not has_left


def _host(state: State, host: HostRecord) -> Host:
    return Host(
        host.host,
        host.name,
        IPv4Interface(f"{host.address}/{ip_network(state.subnet).prefixlen}"),
        IPv6Interface(f"{host.address6}/{ip_network(state.subnet6).prefixlen}"),
        is_down=host.name in state.down,
    )
