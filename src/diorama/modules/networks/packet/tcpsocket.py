"""Tcpsocket: what connections and listeners share, in the process of a stack."""

from __future__ import annotations

import ctypes
import errno
import socket
from typing import TYPE_CHECKING, Final

from diorama.modules.networks.packet import lwip as facts
from diorama.modules.networks.packet.layouts import TcpPcb

if TYPE_CHECKING:
    from diorama.modules.networks.packet.stack import Stack

__all__ = ["TcpSocket"]

_NO_DELAY: Final = 64
_REUSE: Final = 4
_KEEP_ALIVE: Final = 8
_LISTEN: Final = 1


class TcpSocket:
    """A control block of lwIP's, with its options and addresses."""

    def __init__(self, stack: Stack, number: int, family: int) -> None:
        self.stack = stack
        self.lwip = stack.lwip
        self.number = number
        self.family = family
        self.pcb = 0
        self.error = 0
        self.inode = 0
        self.options: dict[tuple[int, int], bytes] = {}
        self.local: tuple[str, int, int] | None = None
        self.remote: tuple[str, int, int] | None = None

    def option(self, level: int, name: int) -> int:
        """The value of an option that is a number; 0 if it was not set."""
        value = self.options.get((level, name), b"")[:4]
        return int.from_bytes(value, "little")

    def set_option(self, level: int, name: int, value: bytes) -> None:
        """An option that the program has set."""
        self.options[level, name] = value
        if self.pcb:
            self._apply()

    def make(self) -> None:
        """The control block, if there is none yet."""
        if not self.pcb:
            self.pcb = self.lwip.tcp_new_ip_type(self.stack.kind_of(self)) or 0
            if not self.pcb:
                raise OSError(errno.ENOBUFS, "lwIP has no memory")
            self._apply()

    def look(self) -> TcpPcb:
        """The control block of lwIP."""
        return TcpPcb.from_address(self.pcb)

    def _apply(self) -> None:
        pcb = self.look()
        flags = 0
        if self.option(socket.SOL_SOCKET, socket.SO_REUSEADDR):
            flags |= _REUSE
        if self.option(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
            flags |= _KEEP_ALIVE
        pcb.so_options = pcb.so_options & ~(_REUSE | _KEEP_ALIVE) | flags
        if pcb.state == _LISTEN:
            return  # a listener's is shorter than what follows
        nodelay = self.option(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        pcb.flags = pcb.flags | _NO_DELAY if nodelay else pcb.flags & ~_NO_DELAY
        for name, field, unit in (
            (socket.TCP_KEEPIDLE, "keep_idle", 1000),
            (socket.TCP_KEEPINTVL, "keep_intvl", 1000),
            (socket.TCP_KEEPCNT, "keep_cnt", 1),
        ):
            value = self.option(socket.IPPROTO_TCP, name)
            if value:
                setattr(pcb, field, value * unit)
        ttl = self.option(socket.IPPROTO_IP, socket.IP_TTL) or self.option(41, socket.IPV6_UNICAST_HOPS)
        if 0 < ttl < 256:
            pcb.ttl = ttl

    def bind(self, host: str, port: int, scope: int) -> None:
        """Take an address."""
        if self.local is not None:
            raise OSError(errno.EINVAL, "bound")
        self.make()
        address = self.stack.local(self, host, scope)
        code = self.lwip.tcp_bind(self.pcb, ctypes.byref(address), port)
        if code:
            self.drop()
            raise OSError(facts.ERRNO[code], "bind")
        self.local = host, self.look().local_port, scope

    def close(self) -> None:
        """The program has closed it."""
        raise NotImplementedError

    def drop(self) -> None:
        """Let go of the control block, without a word to anybody."""
        if self.pcb:
            pcb, self.pcb = self.pcb, 0
            self.lwip.tcp_arg(pcb, None)
            self.lwip.tcp_close(pcb)
