"""Tunnels: connections of programs through a proxy.

A program must not see itself connected before the proxy has agreed, and must not be kept longer than by a
real connect. So its socket, of the kernel's, does connect, to a port of ours on the loopback where
nothing is answered yet: a listener that has room for one connection, which we have made. Its connect
waits, or is in progress, as to a host far away. Once the proxy has connected, a socket of ours with the
listener's address connects to the program's: two that connect to each other at the same time are
connected (RFC 9293, 3.5), at that moment. If the proxy refuses, the program's socket is disconnected, and
its error is the proxy's.

Until then we hold a copy of the program's socket. What it writes afterwards goes through here; an end and a
reset of one side are handed on to the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from diorama.engine.rawsocket import connect_raw
from diorama.errors import warn_once

if TYPE_CHECKING:
    from diorama.interfaces.rules import Address
    from diorama.modules.networks.host.endpoint import PolicyEndpoint
    from diorama.modules.networks.host.loop import Loop
    from diorama.modules.networks.host.names import Names
    from diorama.modules.networks.host.proxies import Proxy

__all__ = ["Tunnels"]

_PATIENCE: Final = 100.0
_MOMENT: Final = 0.005
_BEGINS: Final = 30.0
"""How long a program may take from being told where to connect until it does."""
_FLUSH: Final = 20.0
_CHUNK: Final = 1 << 18
_TCP_INFO: Final = 11
_SYN_SENT: Final = 2
_NOT_YET: Final = 7
"""TCP_CLOSE: before it connects, and after it has failed."""
_UNSPECIFIED: Final = bytes(16)
_RESET: Final = struct.pack("ii", 1, 0)


class Tunnels:
    """The tunnels of a network through its proxy."""

    def __init__(self, loop: Loop, proxy: Proxy, names: Names) -> None:
        self._loop = loop
        self._proxy = proxy
        self._names = names
        self._sending: set[asyncio.Task[None]] = set()

    def open_for(
        self, endpoint: PolicyEndpoint, at: socket.socket, address: Address, port: int
    ) -> tuple[str, int] | None:
        """Where a socket that is to reach an address connects to; None for one that needs no proxy."""
        if address.is_loopback:
            return None
        gate, filling = _gate(at)
        theirs = socket.socket(fileno=os.dup(at.fileno()))
        where = gate.getsockname()[:2]
        names = self._names.of(address) if self._proxy.by_name else ()
        host = names[-1] if names else str(address)
        self._loop.start(self._serve(endpoint, theirs, (gate, filling), host, port))
        return where[0], where[1]

    def close(self) -> None:
        """Programs have ended: what they have written is handed on, but not waited for without end."""
        if self._sending:
            self._loop.start(self._flush()).result()
        self._loop.close()

    async def _flush(self) -> None:
        if self._sending:
            await asyncio.wait(self._sending, timeout=_FLUSH)

    async def _serve(
        self,
        endpoint: PolicyEndpoint,
        theirs: socket.socket,
        gates: tuple[socket.socket, socket.socket],
        host: str,
        port: int,
    ) -> None:
        with contextlib.ExitStack() as held:
            gate, filling = (held.enter_context(sock) for sock in gates)
            with theirs:
                try:
                    async with asyncio.timeout(_PATIENCE):
                        outer, first = await self._proxy.connect(host, port)
                        held.enter_context(outer)
                        inner = held.enter_context(await _meet(theirs, gate))
                except (OSError, TimeoutError) as error:
                    self._fail(endpoint, theirs, error)
                    return
            gate.close()
            filling.close()
            await self._relay(inner, outer, first)

    async def _relay(self, inner: socket.socket, outer: socket.socket, first: bytes) -> None:
        """Hand on what comes on each of two connections, until both have ended."""
        if first:
            await asyncio.get_running_loop().sock_sendall(inner, first)
        up, down = (
            asyncio.create_task(_pump(inner, outer)),
            asyncio.create_task(_pump(outer, inner)),
        )
        self._sending.add(up)
        up.add_done_callback(self._sending.discard)
        try:
            await asyncio.gather(up, down)
        except OSError:
            for sock in inner, outer:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    def _fail(self, endpoint: PolicyEndpoint, theirs: socket.socket, error: Exception) -> None:
        code = error.errno if isinstance(error, OSError) and error.errno else errno.ETIMEDOUT
        if isinstance(error, socket.gaierror):
            code = errno.EHOSTUNREACH
            warn_once("connect", f"the proxy {self._proxy.host} is not known: {error.strerror}")
        endpoint.failed(code)
        with contextlib.suppress(OSError):
            connect_raw(theirs.fileno(), _UNSPECIFIED)


def _gate(at: socket.socket) -> tuple[socket.socket, socket.socket]:
    """A listener that does not answer, and what keeps it from that."""
    only6 = at.family == socket.AF_INET6 and at.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    family, host = (socket.AF_INET6, "::1") if only6 else (socket.AF_INET, "127.0.0.1")
    gate, filling = socket.socket(family), socket.socket(family)
    try:
        gate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        gate.bind((host, 0))
        gate.listen(0)
        filling.connect(gate.getsockname())
    except BaseException:
        gate.close()
        filling.close()
        raise
    return gate, filling


async def _meet(theirs: socket.socket, gate: socket.socket) -> socket.socket:
    """A socket that is connected to the program's, which connects to the gate."""
    waited = 0.0
    while (state := _state(theirs)) != _SYN_SENT:
        if state != _NOT_YET or waited > _BEGINS:
            raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
        await asyncio.sleep(_MOMENT)
        waited += _MOMENT
    host, port = theirs.getsockname()[:2]
    mapped = ip_address(host)
    if mapped.version == 6 and gate.family == socket.AF_INET:
        host = host.rpartition(":")[2]
    ours = socket.socket(gate.family, socket.SOCK_STREAM)
    try:
        ours.settimeout(0)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ours.bind(gate.getsockname())
        await asyncio.get_running_loop().sock_connect(ours, (host, port))
    except BaseException:
        ours.close()
        raise
    return ours


def _state(sock: socket.socket) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0]


async def _pump(source: socket.socket, target: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, _CHUNK):
        await loop.sock_sendall(target, data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
