"""Resolver: the DNS server of a LAN, at port 53 of its gateway.

It knows the hosts, by their names alone and with the LAN's name behind them, their addresses (PTR), and
what else was named (`diorama net NAME name`). Other names do not exist (NXDOMAIN), unless the gateway lets
somebody go there: then the machine's own servers are asked, and what they tell is remembered by the
gateway, whose rules are of names.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, cast

from diorama.modules.networks.lan.addresses import ADDRESS4, ADDRESS6, GATEWAY, Place
from diorama.modules.networks.lan.loop import READ, WRITE, Loop
from diorama.modules.networks.lan.roster import gateway_record
from diorama.modules.networks.lan.wire import State

if TYPE_CHECKING:
    from dns.message import Message
    from dns.name import Name

__all__ = ["Resolver", "has_dns"]

PORT: Final = 53
_A: Final = 1
_AAAA: Final = 28
_TTL: Final = 1
_PATIENCE: Final = 5.0
_LARGEST: Final = 65535
_UDP_SIZE: Final = 512
_AT_ONCE: Final = 64
_PARTS: Final = ("dns.message", "dns.query", "dns.resolver", "dns.reversename", "dns.rrset")

Real = tuple[str, int]
Reply = Callable[[bytes], None]


def has_dns() -> bool:
    """Whether dnspython is installed."""
    return find_spec("dns") is not None


class Resolver:
    """The server.  On the loop's thread, but for the questions to other servers."""

    def __init__(
        self,
        loop: Loop,
        state: Callable[[], State],
        may_ask: Callable[[str], bool],
        learn: Callable[[str, list[str]], None],
    ) -> None:
        self._loop, self._state = loop, state
        self._may_ask, self._learn = may_ask, learn
        self._sockets: list[socket.socket] = []

    def start(self, number: int) -> None:
        """Serve; what it needs is imported meanwhile, which takes longer than all the rest."""
        threading.Thread(target=lambda: [import_module(part) for part in _PARTS], daemon=True).start()
        for index in (ADDRESS4, ADDRESS6):
            real = Place(number, GATEWAY, index, PORT).real()
            datagrams = self._socket_at(real, socket.SOCK_DGRAM)
            self._loop.watch(datagrams.fileno(), READ, partial(self._hear, datagrams))
            listener = self._socket_at(real, socket.SOCK_STREAM)
            listener.listen(128)
            self._loop.watch(listener.fileno(), READ, partial(self._accept, listener))

    def _socket_at(self, real: Real, kind: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        self._sockets.append(made)
        made.settimeout(0)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == socket.SOCK_STREAM))
        made.bind(real)
        return made

    # -- the wire -----------------------------------------------------------------------------

    def _hear(self, at: socket.socket, events: int) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, source = at.recvfrom(_LARGEST)
            except OSError:
                return
            self.answer(data, partial(self._reply, at, source), is_udp=True)

    def _reply(self, at: socket.socket, source: Real, reply: bytes) -> None:
        """To whom it came from: a relay, if there is one."""
        with suppress(OSError):  # who has asked is gone, or does not read: datagrams are lost sometimes
            at.sendto(reply, source)

    def _accept(self, listener: socket.socket, events: int) -> None:
        try:
            at, _ = listener.accept()
        except OSError:
            return
        Client(self._loop, at, self)

    # -- the answers --------------------------------------------------------------------------

    def answer(self, data: bytes, reply: Reply, *, is_udp: bool) -> None:
        """Answer a query, now or later; not at all what is none."""
        from dns.exception import DNSException
        from dns.message import from_wire

        try:
            query = from_wire(data)
        except DNSException:
            return
        if query.flags & 0x8000:
            return
        answer = self._answer(query)
        if answer is None:
            self._forward(query, reply, is_udp=is_udp)
        else:
            reply(_packed(query, answer, is_udp=is_udp))

    def _answer(self, query: Message) -> Message | None:
        """The answer; None if others are to be asked."""
        import dns.flags
        import dns.opcode
        import dns.rcode
        from dns.message import make_response

        answer = make_response(query, recursion_available=True)
        if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
            answer.set_rcode(dns.rcode.NOTIMP)
            return answer
        name, kind = query.question[0].name, query.question[0].rdtype
        text = name.to_text(omit_final_dot=True).lower()
        found = self._records(name, text)
        if found is None and not self._is_ours(text) and self._may_ask(text):
            return None
        answer.flags |= dns.flags.AA
        if found is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._fill(answer, name, found or {}, kind)
        return answer

    def _fill(self, answer: Message, name: Name, found: dict[str, str], kind: int) -> None:
        """What of the records was asked for; of nothing, how long that holds."""
        import dns.rdatatype
        import dns.rrset

        wanted = {k: v for k, v in found.items() if kind in (dns.rdatatype.from_text(k), dns.rdatatype.ANY)}
        for type, value in wanted.items():
            answer.answer.append(dns.rrset.from_text(name, _TTL, "IN", type, value))
        if not wanted:
            lan = self._state().lan
            told = f"gateway.{lan}. hostmaster.{lan}. {self._state().version} 3600 600 86400 {_TTL}"
            answer.authority.append(dns.rrset.from_text(f"{lan}.", _TTL, "IN", "SOA", told))

    def _records(self, name: Name, text: str) -> dict[str, str] | None:
        """The records of a name, by their types; None if there is no such name."""
        import dns.reversename
        from dns.exception import DNSException

        state = self._state()
        hosts = [*state.hosts, gateway_record(state)]
        if text.endswith((".in-addr.arpa", ".ip6.arpa")):
            try:
                address = dns.reversename.to_address(name)
            except DNSException:
                return None
            found = next((host for host in hosts if address in (host.address, host.address6)), None)
            return None if found is None else {"PTR": f"{found.name}.{state.lan}."}
        short = text.removesuffix(f".{state.lan.lower()}")
        target = next((value for key, value in state.names.items() if key.lower() in (text, short)), short)
        host = next((host for host in hosts if host.name.lower() == target.lower()), None)
        if host is not None:
            return {"A": host.address, "AAAA": host.address6}
        return _of_address(target) if target != short else None

    def _is_ours(self, text: str) -> bool:
        lan = self._state().lan.lower()
        return "." not in text or text.endswith((f".{lan}", ".arpa"))

    def _forward(self, query: Message, reply: Reply, *, is_udp: bool) -> None:
        def ask() -> None:
            answer = _asked(query)
            self._loop.soon(lambda: done(answer))

        def done(answer: Message) -> None:
            name = query.question[0].name.to_text(omit_final_dot=True).lower()
            told: list[str] = []
            for part in answer.answer:
                items = cast("Iterable[Any]", part)
                told += [item.to_text() for item in items if part.rdtype in (_A, _AAAA)]
            self._learn(name, told)
            reply(_packed(query, answer, is_udp=is_udp))

        threading.Thread(target=ask, daemon=True).start()


def _of_address(text: str) -> dict[str, str]:
    version = ip_address(text).version
    return {"A" if version == 4 else "AAAA": text}


def _asked(query: Message) -> Message:
    """What the machine's own servers answer; that they do not (SERVFAIL).  On a thread of its own."""
    import dns.exception
    import dns.query
    import dns.rcode
    import dns.resolver
    from dns.message import make_response

    servers: list[Any] = []
    try:
        servers = [*dns.resolver.get_default_resolver().nameservers]
    except dns.exception.DNSException:
        pass  # there is no file of servers
    for server in servers:
        try:
            answer, _ = dns.query.udp_with_fallback(query, str(server), timeout=_PATIENCE)
        except (OSError, dns.exception.DNSException):
            continue
        return answer
    failed = make_response(query)
    failed.set_rcode(dns.rcode.SERVFAIL)
    return failed


def _packed(query: Message, answer: Message, *, is_udp: bool) -> bytes:
    """The answer as it is sent: cut, and marked so, where it is too long for a datagram."""
    from dns.exception import DNSException

    most = max(_UDP_SIZE, query.payload if query.edns >= 0 else 0) if is_udp else _LARGEST
    try:
        return answer.to_wire(max_size=most)
    except DNSException:
        from dns.flags import TC
        from dns.message import make_response

        cut = make_response(query)
        cut.flags |= answer.flags | TC
        return cut.to_wire()


class Client:
    """One who asks by TCP (RFC 7766): messages with their lengths before them."""

    def __init__(self, loop: Loop, at: socket.socket, server: Resolver) -> None:
        at.settimeout(0)
        self._loop, self._socket, self._server = loop, at, server
        self._read, self._unsent = b"", b""
        self._is_open = True
        loop.watch(at.fileno(), READ, self._ready)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if self._is_open and events & ~WRITE:
            self._hear()

    def _hear(self) -> None:
        try:
            data = self._socket.recv(_LARGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close()
            return
        self._read += data
        while len(self._read) >= 2 and len(self._read) - 2 >= (
            size := struct.unpack("!H", self._read[:2])[0]
        ):
            message, self._read = self._read[2 : 2 + size], self._read[2 + size :]
            self._server.answer(message, self._say, is_udp=False)

    def _say(self, reply: bytes) -> None:
        if self._is_open:
            self._unsent += struct.pack("!H", len(reply)) + reply
            self._flush()

    def _flush(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :] if self._unsent else b""
        except BlockingIOError:
            pass
        except OSError:
            self._close()
            return
        self._loop.watch(self._socket.fileno(), READ | (WRITE if self._unsent else 0), self._ready)

    def _close(self) -> None:
        self._is_open = False
        self._loop.ignore(self._socket.fileno())
        self._socket.close()
