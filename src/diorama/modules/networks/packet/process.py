"""Process: what the process of a stack does: it answers the requests of its view.

It ends when the view's end of its socket is closed, after what programs had still to say has been said, or
a while later.
"""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address, ip_interface
from typing import Any, Final

from diorama.errors import UsageError
from diorama.interfaces.network import Link, Route
from diorama.interfaces.story import SocketState
from diorama.modules.networks.packet.connections import Connection
from diorama.modules.networks.packet.datagrams import Datagrams, Ping, Raw, Udp
from diorama.modules.networks.packet.interface import EthernetInterface, Interface
from diorama.modules.networks.packet.listener import Listener
from diorama.modules.networks.packet.listing import sockets_of
from diorama.modules.networks.packet.loop import IN
from diorama.modules.networks.packet.requests import receive_message, send_message
from diorama.modules.networks.packet.stack import Stack
from diorama.modules.networks.packet.tcpsocket import TcpSocket

__all__ = ["Server", "main"]

_LINGER: Final = 3.0
_LOOK: Final = 0.05
_IFF_UP: Final = 1
Named = tuple[str, int, int]


class Server:
    """Answers requests; each public method of `_VERBS` is one."""

    def __init__(self, view: socket.socket) -> None:
        self._view = view
        self._descriptors: list[int] = []
        self.stack = Stack()
        self.stack.loop.watch(view.fileno(), IN, self._asked)

    def _asked(self, _events: int) -> None:
        try:
            (verb, arguments), self._descriptors = receive_message(self._view)
        except (EOFError, OSError):
            self.stack.loop.unwatch(self._view.fileno())
            self._end(time.monotonic() + _LINGER)
            return
        code, value = self._answer(verb, arguments)
        try:
            send_message(self._view, (code, value))
        except OSError:
            pass  # who asked is gone, which is seen next

    def _answer(self, verb: str, arguments: tuple[Any, ...]) -> tuple[int, Any]:
        try:
            return 0, _VERBS[verb](self, *arguments)
        except UsageError as error:
            return error.code, str(error)
        except OSError as error:
            return error.errno or errno.EIO, str(error)
        finally:
            for fd in self._descriptors:
                os.close(fd)
            self._descriptors = []

    def _end(self, until: float) -> None:
        """Wait until all that was written has been acknowledged."""
        if time.monotonic() > until or not self._has_unsaid():
            for connection in list(self.stack.connections.values()):
                if connection.number not in self.stack.listeners:
                    connection.abort()
            for interface in list(self.stack.interfaces.values()):
                if isinstance(interface, EthernetInterface):
                    interface.unplug()
            self.stack.loop.is_running = False
        else:
            self.stack.loop.after(_LOOK, lambda: self._end(until))

    def _has_unsaid(self) -> bool:
        """Whether something that a program has written is on its way."""
        ours = self.stack.connections.values()
        return self.stack.lwip.has_unsaid() or any(each.has_unsaid for each in ours)

    def _descriptor(self) -> socket.socket:
        return socket.socket(fileno=self._descriptors.pop(0))

    def _one(self, number: int) -> TcpSocket | Datagrams:
        stack = self.stack
        found = stack.connections.get(number) or stack.datagrams.get(number) or stack.departed.get(number)
        if found is None:
            raise OSError(errno.EBADF, "no such socket")
        return found

    def _connection(self, number: int) -> Connection:
        found = self._one(number)
        if not isinstance(found, Connection):
            raise OSError(errno.EOPNOTSUPP, "not a connection")
        return found

    def _datagrams(self, number: int) -> Datagrams:
        found = self._one(number)
        if not isinstance(found, Datagrams):
            raise OSError(errno.EOPNOTSUPP, "not for datagrams")
        return found

    def _interface(self, index: int) -> Interface:
        found = self.stack.interfaces.get(index)
        if found is None:
            raise OSError(errno.ENODEV, "no such interface")
        return found

    # -- sockets ------------------------------------------------------------------------------

    def key(self, key: bytes) -> None:
        """By which the names of this stack's sockets are known."""
        self.stack.key = key

    def open(self, number: int, family: int, type: int, protocol: int, name: bytes, inode: int) -> None:
        """A program has a new socket of this name."""
        stack = self.stack
        if type == socket.SOCK_STREAM:
            stack.connections[number] = Connection(stack, number, family)
        elif type == socket.SOCK_RAW:
            raw = stack.datagrams[number] = Raw(stack, number, family, name, protocol)
            raw.make()
        elif protocol in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6):
            stack.datagrams[number] = Ping(stack, number, family, name, protocol)
        else:
            stack.datagrams[number] = Udp(stack, number, family, name)
        self._one(number).inode = inode
        stack.names[number] = socket.SOCK_STREAM if type == socket.SOCK_STREAM else socket.SOCK_DGRAM, name

    def bind(self, number: int, host: str, port: int, scope: int) -> None:
        """Take an address."""
        try:
            self._one(number).bind(host, port, scope)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            self.stack.sweep()
            self._one(number).bind(host, port, scope)

    def listen(self, number: int, name: bytes) -> None:
        """Wait for connections."""
        if number in self.stack.listeners:
            return
        listener = Listener(self._connection(number), name)
        try:
            listener.listen()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            self.stack.sweep()
            listener.listen()
        self.stack.listeners[number] = listener

    def connect(self, number: int, host: str, port: int, scope: int, fillers: int) -> None:
        """Connect, as far as it goes without waiting."""
        one = self._connection(number)
        if one.is_connected:
            raise OSError(errno.EISCONN, "connected")
        if one.is_connecting:
            raise OSError(errno.EALREADY, "connecting")
        one.error = 0
        one.connect(host, port, scope)
        if fillers:
            one.attach(self._descriptor(), fillers)
        else:
            one.waiter = self._descriptor()

    def attach(self, number: int, fillers: int) -> None:
        """The descriptor is our end of a socket that is connected, or will be."""
        self._connection(number).attach(self._descriptor(), fillers)

    def connect_datagrams(self, number: int, host: str, port: int, scope: int) -> None:
        """As connect(2) without a connection."""
        self._datagrams(number).connect(host, port, scope)

    def disconnect(self, number: int) -> None:
        """As connect(2) with AF_UNSPEC."""
        self._datagrams(number).disconnect()

    def reach(self, number: int, host: str, port: int, scope: int, instead: Named | None) -> None:
        """Something will be sent there; no more to the one that is told."""
        one = self._datagrams(number)
        one.reach(host, port, scope)
        if instead is not None:
            one.unreach(*instead)

    def name(self, number: int) -> Named | None:
        """As getsockname(2)."""
        return self._one(number).local

    def peer(self, number: int) -> Named | None:
        """As getpeername(2); None if there is none."""
        one = self._one(number)
        if isinstance(one, Connection) and not one.is_connected:
            return None
        return one.remote

    def accepted(self, number: int, inode: int) -> int:
        """The family of a connection that was accepted; ECONNABORTED if it has ended."""
        one = self._connection(number)
        if not one.is_connected and one.error:
            raise OSError(errno.ECONNABORTED, "reset")
        one.inode = inode
        return one.family

    def error(self, number: int) -> int:
        """SO_ERROR."""
        one = self._one(number)
        code, one.error = one.error, 0
        return code

    def state(self, number: int) -> str:
        """What a connection is about."""
        one = self._connection(number)
        return "connecting" if one.is_connecting else "connected" if one.is_connected else ""

    def tcp_info(self, number: int) -> bytes:
        """TCP_INFO."""
        return self._connection(number).info()

    def set_option(self, number: int, level: int, name: int, value: bytes) -> None:
        """As setsockopt(2)."""
        self._one(number).set_option(level, name, value)

    # -- the host -----------------------------------------------------------------------------

    def add_wire(
        self, locator: str, name: str, address: bytes, record: str | None, loss: float, mtu: int
    ) -> int:
        """A new interface: its index."""
        interface = self.stack.add_wire(locator, name, address, record, loss)
        if mtu:
            interface.set_mtu(mtu)
        return interface.index

    def remove_link(self, index: int) -> None:
        """Take an interface away."""
        interface = self._interface(index)
        if not isinstance(interface, EthernetInterface):
            raise OSError(errno.EOPNOTSUPP, "lo stays")
        self.stack.remove_link(interface)

    def ask_dhcp(self, index: int, host_name: str) -> None:
        """Get an address."""
        interface = self._interface(index)
        if isinstance(interface, EthernetInterface):
            self.stack.ask_dhcp(interface, host_name)

    def lease(self) -> tuple[list[str], str] | None:
        """The name servers and the domain that DHCP has given; None if it has given nothing (yet)."""
        lease = self.stack.lease
        return ([str(each) for each in lease.nameservers], lease.domain) if lease else None

    def links(self) -> list[Link]:
        """The interfaces."""
        return [each.link() for each in self.stack.interfaces.values()]

    def neighbours(self) -> list[tuple[int, str, bytes]]:
        """Who has been found by ARP."""
        return self.stack.neighbours()

    def sockets(self) -> list[SocketState]:
        """The sockets of programs."""
        return list(sockets_of(self.stack))

    def set_link(
        self, index: int, flags: int | None, mtu: int | None, name: str | None, address: bytes | None
    ) -> None:
        """Set an interface up or down, its MTU, name, or hardware address."""
        interface = self._interface(index)
        if mtu is not None or name is not None or address is not None:
            if not isinstance(interface, EthernetInterface):
                raise OSError(errno.EOPNOTSUPP, "lo stays as it is")
            self.stack.change(interface, mtu, name, address)
        if flags is not None:
            interface.set_up(bool(flags & _IFF_UP))
            self.stack.choose_default()

    def add_address(self, index: int, address: str) -> None:
        """One more address."""
        self._interface(index).add(ip_interface(address))

    def remove_address(self, index: int, address: str) -> None:
        """One address less."""
        self._interface(index).remove(ip_interface(address))
        self.stack.choose_default()

    def set_gateway(self, index: int, gateway: str | None) -> None:
        """The default route."""
        self.stack.set_gateway(IPv4Address(gateway) if gateway else None, self._interface(index))

    def routes(self) -> list[Route]:
        """The default route, if there is one."""
        from ipaddress import IPv4Network

        way = self.stack.gateway
        return [Route(IPv4Network("0.0.0.0/0"), way[1], str(way[0]))] if way else []


_VERBS: Final[dict[str, Callable[..., Any]]] = {
    "key": Server.key,
    "open": Server.open,
    "bind": Server.bind,
    "listen": Server.listen,
    "connect": Server.connect,
    "attach": Server.attach,
    "connect_datagrams": Server.connect_datagrams,
    "disconnect": Server.disconnect,
    "reach": Server.reach,
    "name": Server.name,
    "peer": Server.peer,
    "accepted": Server.accepted,
    "error": Server.error,
    "state": Server.state,
    "tcp_info": Server.tcp_info,
    "set_option": Server.set_option,
    "add_wire": Server.add_wire,
    "remove_link": Server.remove_link,
    "ask_dhcp": Server.ask_dhcp,
    "lease": Server.lease,
    "links": Server.links,
    "neighbours": Server.neighbours,
    "sockets": Server.sockets,
    "set_link": Server.set_link,
    "add_address": Server.add_address,
    "remove_address": Server.remove_address,
    "set_gateway": Server.set_gateway,
    "routes": Server.routes,
}


def main() -> None:
    """Serve the view at the other end of a descriptor, the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Each connection takes a descriptor.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    view = socket.socket(fileno=int(sys.argv[1]))
    try:
        server = Server(view)
    except UsageError as error:
        send_message(view, (error.code, str(error)))
        return
    send_message(view, (0, os.getpid()))
    gc.freeze()
    server.stack.loop.run()
    # lwIP's thread cannot be stopped.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
