"""Proxies: how a proxy is asked for a connection, SOCKS 5 (RFC 1928, 1929) or HTTP CONNECT (RFC 9110)."""

from __future__ import annotations

import asyncio
import base64
import errno
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote, urlsplit

from diorama.errors import UsageError
from diorama.interfaces.network import refuse

__all__ = ["Proxy", "parse_proxy"]

_PORTS: Final = {"socks5": 1080, "socks5h": 1080, "http": 8080}
_HEAD_MAX: Final = 1 << 16
_SOCKS_ERRORS: Final = {
    2: errno.EACCES,
    3: errno.ENETUNREACH,
    4: errno.EHOSTUNREACH,
    6: errno.ETIMEDOUT,
}
_HTTP_ERRORS: Final = {
    403: errno.EACCES,
    407: errno.EACCES,
    502: errno.EHOSTUNREACH,
    503: errno.EHOSTUNREACH,
    504: errno.ETIMEDOUT,
}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and who we are to it; `by_name`: it resolves names itself."""

    scheme: str
    host: str
    port: int
    user: str | None
    password: str

    @property
    def by_name(self) -> bool:
        """Whether it is told names."""
        return self.scheme != "socks5"

    async def connect(self, host: str, port: int) -> tuple[socket.socket, bytes]:
        """A connection through it to a host, and what has come on that already; `OSError`."""
        loop = asyncio.get_running_loop()
        (family, kind, protocol, _, address), *_ = await loop.getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM
        )
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(0)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address)
            shake = self._connect_http if self.scheme == "http" else self._connect_socks
            return sock, await shake(sock, host, port)
        except BaseException:
            sock.close()
            raise

    async def _connect_socks(self, sock: socket.socket, host: str, port: int) -> bytes:
        loop = asyncio.get_running_loop()
        methods = b"\0" if self.user is None else b"\0\2"
        await loop.sock_sendall(sock, bytes((5, len(methods))) + methods)
        version, method = await _exactly(sock, 2)
        if version != 5 or method not in methods:
            raise refuse(errno.EACCES)
        if method == 2:
            user, password = (self.user or "").encode(), self.password.encode()
            await loop.sock_sendall(sock, bytes((1, len(user))) + user + bytes((len(password),)) + password)
            if (await _exactly(sock, 2))[1]:
                raise refuse(errno.EACCES)
        await loop.sock_sendall(sock, b"\5\1\0" + _socks_host(host) + port.to_bytes(2, "big"))
        _, code, _, kind = await _exactly(sock, 4)
        if code:
            raise refuse(_SOCKS_ERRORS.get(code, errno.ECONNREFUSED))
        size = {1: 4, 4: 16}.get(kind) or (await _exactly(sock, 1))[0]
        await _exactly(sock, size + 2)
        return b""

    async def _connect_http(self, sock: socket.socket, host: str, port: int) -> bytes:
        loop = asyncio.get_running_loop()
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self.user is not None:
            secret = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            lines.append(f"Proxy-Authorization: Basic {secret}")
        await loop.sock_sendall(sock, ("\r\n".join(lines) + "\r\n\r\n").encode())
        head = b""
        while b"\r\n\r\n" not in head:
            part = await loop.sock_recv(sock, 4096)
            if not part or len(head) > _HEAD_MAX:
                raise refuse(errno.ECONNREFUSED)
            head += part
        head, _, rest = head.partition(b"\r\n\r\n")
        words = head.split(b" ", 2)
        status = int(words[1]) if len(words) > 1 and words[1][:3].isdigit() else 0
        if not 200 <= status < 300:
            raise refuse(_HTTP_ERRORS.get(status, errno.ECONNREFUSED))
        return rest


def _socks_host(host: str) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode("idna") if not host.isascii() else host.encode()
        return bytes((3, len(name))) + name
    return (b"\1" if address.version == 4 else b"\4") + address.packed


async def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
        if not part:
            raise refuse(errno.ECONNREFUSED)
        data += part
    return data


def parse_proxy(url: str) -> Proxy:
    """A proxy by its URL, `socks5://user:password@host:port`; `UsageError`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError("cannot mount host: the URL of the proxy cannot be read") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise UsageError("cannot mount host: a proxy is socks5://, socks5h:// or http://, with a host")
    user = None if parts.username is None else unquote(parts.username)
    password = unquote(parts.password or "")
    if max(len((user or "").encode()), len(password.encode())) > 255:
        raise UsageError("cannot mount host: user and password of a proxy have at most 255 bytes")
    return Proxy(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], user, password)
