"""Resolver: stands between programs and the DNS servers of the host, and learns which address has which name.

There is a socket of ours for each server, for UDP and for TCP, and programs that send to a server are led
there. A question goes on as it is, if the rules let the name be reached at all (else it would be a way out:
names can carry anything), and so does the answer, once the addresses in it have been noted. A refused name
does not exist (NXDOMAIN). For a proxy that resolves names itself, an address from 198.18.0.0/15 stands for
each name.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, Final

from diorama.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diorama.modules.networks.host.judge import Judge
    from diorama.modules.networks.host.loop import Loop
    from diorama.modules.networks.host.names import Names

__all__ = ["Invented", "Resolver", "host_servers", "parse_server"]

_PORT: Final = 53
_PATIENCE: Final = 10.0
_IDLE: Final = 60.0
_INVENTED: Final = IPv4Network("198.18.0.0/15")
_SIZE_MAX: Final = 1 << 16
_CHAIN_MAX: Final = 16

Address = IPv4Address | IPv6Address
Server = tuple[Address, int]


def host_servers(path: str = "/etc/resolv.conf") -> list[Server]:
    """The servers that programs of the host ask (resolv.conf(5))."""
    found: list[Server] = []
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for words in map(str.split, lines):
                if len(words) > 1 and words[0] == "nameserver":
                    try:
                        found.append((ip_address(words[1].partition("%")[0]), _PORT))
                    except ValueError:
                        continue
    except OSError:
        pass
    return found or [(IPv4Address("127.0.0.1"), _PORT)]


def parse_server(text: str) -> Server:
    """A server by its address, with a port or 53; `UsageError`."""
    host, _, port = text.rpartition(":") if text.count(":") == 1 or "]:" in text else (text, "", "")
    try:
        return ip_address(host.strip("[]")), int(port or _PORT)
    except ValueError:
        raise UsageError(f"cannot mount host: dns={text} is no ADDRESS or ADDRESS:PORT") from None


class Invented:
    """Addresses for names that somebody else resolves.  The loop's thread."""

    def __init__(self) -> None:
        self._of: dict[str, IPv4Address] = {}

    def address(self, name: str) -> IPv4Address:
        """The address that stands for a name from now on."""
        if name not in self._of:
            self._of[name] = _INVENTED[1 + len(self._of) % (_INVENTED.num_addresses - 2)]
        return self._of[name]


class Resolver:
    """Our sockets in the place of `servers`; `upstream` is asked instead of them, if it is given."""

    def __init__(
        self,
        loop: Loop,
        judge: Judge,
        names: Names,
        servers: Sequence[Server],
        *,
        upstream: Server | None = None,
        invented: Invented | None = None,
    ) -> None:
        if find_spec("dns") is None:
            raise UsageError(
                "host: rules with names need the package dnspython (pip install 'diorama[networks]')"
            )
        self._loop = loop
        self._judge = judge
        self._names = names
        self._servers = servers
        self._upstream = upstream
        self._invented = invented
        self._lock = threading.Lock()
        self._places: dict[Server, dict[str, tuple[str, int]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def instead_of(self, address: Address, port: int) -> dict[str, tuple[str, int]] | None:
        """Where we are in the place of a server, by protocol; None if it is none of them."""
        server = (address, port)
        if server not in self._servers:
            return None
        with self._lock:
            if server not in self._places:
                self._places[server] = self._loop.start(self._open(server)).result()
            return self._places[server]

    def close(self) -> None:
        """Nobody asks any more."""
        self._loop.close()

    async def _open(self, server: Server) -> dict[str, tuple[str, int]]:
        loop = asyncio.get_running_loop()
        host = "127.0.0.1" if server[0].version == 4 else "::1"

        async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._stream(reader, writer, server)

        listening = await asyncio.start_server(stream, host, 0)
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Questions(self, server), local_addr=(host, 0)
        )
        udp, tcp = transport.get_extra_info("sockname"), listening.sockets[0].getsockname()
        return {"udp": (udp[0], udp[1]), "tcp": (tcp[0], tcp[1])}

    def asked(self, transport: asyncio.DatagramTransport, question: bytes, who: Any, server: Any) -> None:
        """A question has come in a datagram."""

        async def answer() -> None:
            told = await self._answer(question, server, "udp")
            if told is not None:
                transport.sendto(told, who)

        task = asyncio.get_running_loop().create_task(answer())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Any) -> None:
        try:
            while True:
                size = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), _IDLE), "big")
                told = await self._answer(await reader.readexactly(size), server, "tcp")
                if told is None:
                    break
                writer.write(len(told).to_bytes(2, "big") + told)
                await writer.drain()
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            writer.close()

    async def _answer(self, question: bytes, server: Any, protocol: str) -> bytes | None:
        import dns.exception
        import dns.message
        import dns.rcode

        try:
            asked = dns.message.from_wire(question)
        except dns.exception.DNSException:
            return None
        if not asked.question:
            return None
        reply = dns.message.make_response(asked)
        for one in asked.question:
            if not self._judge.may_resolve(_text(one.name), _kind(one.rdtype)):
                reply.set_rcode(dns.rcode.NXDOMAIN)
                return reply.to_wire()
        if self._invented is not None:
            return self._invent(asked, reply)
        try:
            told = await asyncio.wait_for(_ask(question, self._upstream or server, protocol), _PATIENCE)
            self._learn(dns.message.from_wire(told, ignore_trailing=True))
        except (OSError, EOFError, TimeoutError, dns.exception.DNSException):
            reply.set_rcode(dns.rcode.SERVFAIL)
            return reply.to_wire()
        return told

    def _invent(self, asked: Any, reply: Any) -> bytes:
        import dns.rdatatype
        import dns.rrset

        assert self._invented is not None
        for one in asked.question:
            if one.rdtype == dns.rdatatype.A:
                name = _text(one.name)
                address = self._invented.address(name)
                self._names.learn(address, [name], 0)
                reply.answer.append(dns.rrset.from_text(one.name, 1, "IN", "A", str(address)))
        wire: bytes = reply.to_wire()
        return wire

    def _learn(self, told: Any) -> None:
        """Note the addresses of what was asked for, and of what that is another name of."""
        import dns.rdatatype

        for one in told.question:
            names = [one.name]
            for _ in range(_CHAIN_MAX):
                alias = _rrset(told, names[-1], dns.rdatatype.CNAME)
                if alias is None or alias[0].target in names:
                    break
                names.append(alias[0].target)
            texts = [_text(name) for name in reversed(names)]
            for kind in dns.rdatatype.A, dns.rdatatype.AAAA:
                found = _rrset(told, names[-1], kind)
                for address in found or ():
                    self._names.learn(ip_address(address.address), texts, found.ttl)


def _rrset(told: Any, name: Any, kind: Any) -> Any:
    return next((one for one in told.answer if one.name == name and one.rdtype == kind), None)


def _text(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True)).lower()


def _kind(number: Any) -> str:
    import dns.rdatatype

    return dns.rdatatype.to_text(number)


async def _ask(question: bytes, server: Server, protocol: str) -> bytes:
    """Ask a server, as we were asked."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET if server[0].version == 4 else socket.AF_INET6
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as upstream:
        upstream.settimeout(0)
        await loop.sock_connect(upstream, (str(server[0]), server[1]))
        if protocol == "tcp":
            await loop.sock_sendall(upstream, len(question).to_bytes(2, "big") + question)
            size = int.from_bytes(await _exactly(upstream, 2), "big")
            return await _exactly(upstream, size)
        await loop.sock_sendall(upstream, question)
        while True:
            told = await loop.sock_recv(upstream, _SIZE_MAX)
            if told[:2] == question[:2]:
                return told


async def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
        if not part:
            raise ConnectionResetError(errno.ECONNRESET, "the server has closed the connection")
        data += part
    return data


class _Questions(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver, server: Server) -> None:
        self._resolver = resolver
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self._transport is not None:
            self._resolver.asked(self._transport, data, addr, self._server)
