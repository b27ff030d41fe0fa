"""Endpoint: a socket of a LAN, which is one of the kernel's on the loopback with addresses translated.

Everything but addresses is the kernel's: backlog, options, half-closed connections, resets, what is urgent,
what is full. What cannot be said of a socket by its address alone stands here: whether it is of IPv6 alone,
and where its program has connected it to.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from diorama.abi.socket import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    SOL_IP,
    SOL_IPV6,
    Inet6Address,
    InetAddress,
    SocketAddress,
)
from diorama.engine.rawsocket import bind_raw
from diorama.interfaces.network import Endpoint, refuse
from diorama.modules.networks.lan import options
from diorama.modules.networks.lan.addresses import (
    ADDRESS4,
    ADDRESS6,
    ANY,
    ANY4,
    ANY6,
    LOOPBACK4,
    LOOPBACK6,
    Place,
    is_mapped,
    parse_real,
    unmap,
)

if TYPE_CHECKING:
    from diorama.modules.networks.lan.plan import Destination, Plan

__all__ = ["LanEndpoint", "StreamEndpoint"]

_IP_BIND_ADDRESS_NO_PORT: Final = 24
_IPV6_V6ONLY: Final = 26
_TRIES: Final = 64
_LO: Final = b"lo"
_TCP_INFO: Final = 11
_ACKNOWLEDGED: Final = struct.Struct("=120xQ")
"""`tcpi_bytes_acked`, which counts the SYN too."""


class LanEndpoint(Endpoint):
    """What all have in common.

    `device` is the link that it is bound to (SO_BINDTODEVICE): what comes from the own host comes by `lo`.
    """

    guarded = True
    opens_fast = True

    def __init__(self, plan: Plan, family: int, type: int, protocol: int) -> None:
        super().__init__(family, type, protocol)
        self.plan = plan
        self.is_v6_only = False
        self.device = b""
        self.is_relayed = False
        """Whether a relay connects it on."""
        self.target: SocketAddress | None = None
        """What the program has connected it to."""

    def open(self) -> socket.socket:
        made = socket.socket(self.family, self.type, self.protocol)
        if self.family == AF_INET6:
            made.setsockopt(SOL_IPV6, _IPV6_V6ONLY, 0)
        self.plan.filter(made)
        return made

    def like(self, new: socket.socket) -> Endpoint:
        made = type(self)(self.plan, self.family, self.type, self.protocol)
        made.is_v6_only, made.device = self.is_v6_only, self.device
        return made

    # -- the kernel's addresses ---------------------------------------------------------------

    def here(self, at: socket.socket) -> Place | None:
        """Where it is; None if it is bound to nothing."""
        address, port = at.getsockname()[:2]
        return parse_real(address, port)

    def there(self, at: socket.socket) -> Place | None:
        """Where its peer is; None if that is not on a LAN; ENOTCONN."""
        address, port = at.getpeername()[:2]
        return parse_real(address, port)

    def pack(self, place: Place) -> bytes:
        """The address of the kernel's, for this socket."""
        return self.pack_real(*place.real())

    def pack_real(self, host: str, port: int) -> bytes:
        """An address of the kernel's of IPv4, for this socket."""
        if self.family == AF_INET6:
            return Inet6Address(f"::ffff:{host}", port).pack()
        return InetAddress(host, port).pack()

    def show(self, text: str, port: int) -> SocketAddress:
        """An address of the LAN as the program sees it."""
        if self.family == AF_INET:
            return InetAddress(text, port)
        return Inet6Address(text if ":" in text else f"::ffff:{text}", port)

    def check(self, address: SocketAddress) -> tuple[str, int]:
        """The host and port that a program names; EINVAL, EAFNOSUPPORT."""
        if isinstance(address, InetAddress) and self.family == AF_INET:
            return address.host, address.port
        if isinstance(address, Inet6Address) and self.family == AF_INET6:
            if is_mapped(address.host) and self.is_v6_only:
                raise refuse(errno.ENETUNREACH)
            return unmap(address.host), address.port
        family = getattr(address, "family", None)
        raise refuse(errno.EINVAL if family == self.family else errno.EAFNOSUPPORT)

    # -- binding ------------------------------------------------------------------------------

    def bind(self, at: socket.socket, address: SocketAddress) -> None:
        if getattr(address, "family", None) == AF_UNSPEC and not any(address.pack()[4:8]):
            address = InetAddress("0.0.0.0", int.from_bytes(address.pack()[2:4], "big"))
        text, port = self.check(address)
        self.bind_index(at, self.index_of(at, text, is_mapped=is_mapped(getattr(address, "host", ""))), port)

    def index_of(self, at: socket.socket, text: str, *, is_mapped: bool) -> int:
        """The index of an address to bind to; EADDRNOTAVAIL."""
        if text == "::":
            return ANY6 if self.is_v6_only else ANY
        if text == "0.0.0.0":
            return ANY4
        index = self.plan.own_index(text)
        if index is None:
            raise refuse(errno.EADDRNOTAVAIL)
        return index

    def wildcard(self) -> int:
        """The index that it has without being bound to one."""
        if self.family == AF_INET:
            return ANY4
        return ANY6 if self.is_v6_only else ANY

    def bind_index(self, at: socket.socket, index: int, port: int) -> None:
        """Bind it to one of the host's addresses; port 0: any that is free."""
        if at.getsockname()[1]:
            raise refuse(errno.EINVAL)
        with self.plan.binding:
            if port:
                index = self.index_for(at, index, port)
                with ExitStack() as rivals:
                    self._keep_off(at, rivals, index, port)
                    bind_raw(at.fileno(), self.pack(self.plan.place(self.plan.host, index, port)))
                return
            self._bind_any(at, index)

    def index_for(self, at: socket.socket, index: int, port: int) -> int:
        """Where it is bound in truth, so that others can share the port."""
        return index

    def _bind_any(self, at: socket.socket, index: int) -> None:
        for _ in range(_TRIES):
            with ExitStack() as rivals:
                scratch = rivals.enter_context(self._scratch(at))
                scratch.bind(self.plan.place(self.plan.host, index, 0).real())
                port = scratch.getsockname()[1]
                try:
                    self._keep_off(at, rivals, index, port)
                    scratch.close()
                    bind_raw(at.fileno(), self.pack(self.plan.place(self.plan.host, index, port)))
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
                    continue
                return
        raise refuse(errno.EADDRINUSE)

    def _keep_off(self, at: socket.socket, rivals: ExitStack, index: int, port: int) -> None:
        """Hold the port at all addresses where nobody else may have it; EADDRINUSE."""
        for rival in self.plan.rivals(index):
            scratch = rivals.enter_context(self._scratch(at))
            scratch.bind(self.plan.place(self.plan.host, rival, port).real())

    def check_shared(self, at: socket.socket, index: int, port: int) -> None:
        """That the port may be shared with who has it at an address; EADDRINUSE."""
        with self._scratch(at) as scratch:
            scratch.bind(self.plan.place(self.plan.host, index, port).real())

    def _scratch(self, at: socket.socket) -> socket.socket:
        """A socket that shares addresses as this one does."""
        made = socket.socket(AF_INET, self.type, self.protocol)
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            if at.getsockopt(socket.SOL_SOCKET, option):
                made.setsockopt(socket.SOL_SOCKET, option, 1)
        return made

    def bind_source(self, at: socket.socket, destination: Destination) -> None:
        """Give a socket without an address that from which a destination is reached."""
        here = self.here(at)
        if here is not None:
            if here.index in (LOOPBACK4, LOOPBACK6) and not destination.is_loopback:
                raise refuse(errno.EINVAL if destination.host != self.plan.host else errno.ECONNREFUSED)
            return
        if self.plan.needs_port(destination):
            if self.type == socket.SOCK_STREAM:
                at.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind_index(at, destination.source(), 0)
            return
        place = self.plan.place(self.plan.host, destination.source(), 0)
        chosen = at.getsockopt(SOL_IP, _IP_BIND_ADDRESS_NO_PORT)
        at.setsockopt(SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        bind_raw(at.fileno(), self.pack(place))
        at.setsockopt(SOL_IP, _IP_BIND_ADDRESS_NO_PORT, chosen)

    # -- connecting ---------------------------------------------------------------------------

    def connect(self, at: socket.socket, address: SocketAddress) -> bytes | None:
        if getattr(address, "family", None) == AF_UNSPEC:
            self.target = None
            return address.pack()
        text, port = self.check(address)
        destination = self.find(at, text)
        self.bind_source(at, destination)
        packed = self.pack_real(*self.way(at, destination, port))
        if not self._is_connected(at):
            self.target = self.show(destination.text, port)
        return packed

    def find(self, at: socket.socket, text: str) -> Destination:
        """What an address that is connected to leads to; EHOSTUNREACH if not by the link it is bound to."""
        found = self.plan.locate(text)
        if (self.device == _LO and found.host != self.plan.host) or (
            self.device not in (b"", _LO) and found.is_loopback
        ):
            raise refuse(errno.EHOSTUNREACH)
        return found

    def is_deaf_to(self, there: Place) -> bool:
        """Whether what comes from a place comes by another link than it is bound to."""
        return bool(self.device) and (self.device == _LO) != (there.host == self.plan.host)

    def way(self, at: socket.socket, destination: Destination, port: int) -> tuple[str, int]:
        """The address of the kernel's for a port of a destination."""
        address, own = at.getsockname()[:2]
        return self.plan.way((unmap(address), own), destination, port, self)

    def _is_connected(self, at: socket.socket) -> bool:
        if self.type != socket.SOCK_STREAM:
            return False
        try:
            at.getpeername()
        except OSError:
            return False
        return True

    def reason(self, at: socket.socket, code: int) -> int:
        """What a program is told of an error of the kernel's."""
        return code

    # -- names --------------------------------------------------------------------------------

    def name(self, at: socket.socket) -> SocketAddress:
        here = self.here(at)
        if here is None:
            return self.show("0.0.0.0" if self.family == AF_INET else "::", at.getsockname()[1])
        if not here.is_wildcard:
            return self.show(self.plan.text(here, 4), here.port)
        try:
            there = self.there(at)
        except OSError:
            return self._show_wildcard(here)
        version, is_loopback = self._way_of(there)
        return self.show(self.plan.text(here, version, is_loopback=is_loopback), here.port)

    def _show_wildcard(self, here: Place) -> SocketAddress:
        if self.family == AF_INET6 and here.index != ANY4:
            return Inet6Address("::", here.port)
        return self.show("0.0.0.0", here.port)

    def _way_of(self, there: Place | None) -> tuple[int, bool]:
        """Which version of IP is spoken with a peer, and whether by the loopback."""
        if isinstance(self.target, (InetAddress, Inet6Address)):
            text = unmap(self.target.host)
            return 6 if ":" in text else 4, text == "::1" or text.startswith("127.")
        if there is None:
            return 4 if self.family == AF_INET else 6, False
        return _version_of(there.index, self.family), there.index in (LOOPBACK4, LOOPBACK6)

    def peer(self, at: socket.socket) -> SocketAddress:
        there = self.there(at)
        if self.target is not None:
            return self.target
        outside = self.plan.member.outside_name(_plain(at.getpeername()))
        if outside is not None:
            return self.show(*outside)
        if there is None:
            raise refuse(errno.ENOTCONN)
        here = self.here(at)
        index = there.index if here is None or not there.is_wildcard else here.index
        is_loopback = here is not None and here.index in (LOOPBACK4, LOOPBACK6)
        version = _version_of(index, self.family)
        return self.show(self.plan.text(there, version, is_loopback=is_loopback), there.port)

    # -- options ------------------------------------------------------------------------------

    def get_option(self, at: socket.socket, level: int, option: int, size: int) -> bytes | None:
        getter = options.GETTERS.get((level, option))
        return None if getter is None else getter(self, at, size)

    def set_option(self, at: socket.socket, level: int, option: int, value: bytes) -> bool:
        setter = options.SETTERS.get((level, option))
        return False if setter is None else setter(self, at, value)


def _plain(address: Sequence[Any]) -> tuple[str, int]:
    return unmap(address[0]), address[1]


def _has_talked(at: socket.socket) -> bool:
    """Whether its peer has ever acknowledged anything."""
    acknowledged: int = _ACKNOWLEDGED.unpack_from(at.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 256))[0]
    return acknowledged > 0


def _version_of(index: int, family: int) -> int:
    if family == AF_INET or index in (ANY4, LOOPBACK4, ADDRESS4):
        return 4
    return 6 if index in (ANY6, LOOPBACK6, ADDRESS6, ANY) else 4


class StreamEndpoint(LanEndpoint):
    """TCP.

    `is_wide`: it is bound to a wildcard and to a link, which comes to one of the host's addresses.
    """

    is_wide = False

    def __init__(self, plan: Plan, family: int, type: int, protocol: int) -> None:
        super().__init__(plan, family, type, protocol)
        self._begun: bytes | None = None
        """The address that a relay, which need not be asked again, connects it at."""

    def connect(self, at: socket.socket, address: SocketAddress) -> bytes | None:
        is_end = getattr(address, "family", None) == AF_UNSPEC
        if self._begun is not None and not is_end:
            return self._begun
        self._begun, self.is_relayed = None, False
        packed = super().connect(at, address)
        if self.is_relayed:
            self._begun = packed
        return packed

    def way(self, at: socket.socket, destination: Destination, port: int) -> tuple[str, int]:
        self.is_relayed = bool(port) and self.plan.needs_port(destination)
        return super().way(at, destination, port)

    def connected(self, at: socket.socket, code: int) -> int:
        if code not in (0, errno.EINPROGRESS, errno.EALREADY, errno.EISCONN):
            self._begun = None
        return self.reason(at, code)

    def reason(self, at: socket.socket, code: int) -> int:
        """What a relay knows of an attempt that has failed; for the kernel it is a reset, or refused."""
        if not self.is_relayed or code not in (errno.ECONNRESET, errno.ECONNREFUSED) or _has_talked(at):
            return code
        address, port = at.getsockname()[:2]
        return self.plan.member.why((unmap(address), port)) or errno.ECONNREFUSED

    def index_of(self, at: socket.socket, text: str, *, is_mapped: bool) -> int:
        index = super().index_of(at, text, is_mapped=is_mapped)
        if not self.device or index not in (ANY4, ANY6):
            return index
        self.is_wide = True
        return (LOOPBACK4 if self.device == _LO else ADDRESS4) + (index == ANY6)

    def name(self, at: socket.socket) -> SocketAddress:
        here = self.here(at)
        if self.is_wide and here is not None and not self._is_connected(at):
            return self._show_wildcard(here)
        return super().name(at)

    def listen(self, at: socket.socket, backlog: int) -> None:
        here = self.here(at)
        if here is None:
            self.bind_index(at, self.wildcard(), 0)
        elif not at.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            with self.plan.binding, ExitStack() as rivals:
                self._keep_off(at, rivals, here.index, here.port)
                at.listen(backlog)
            return
        at.listen(backlog)

    def accepted(self, new: socket.socket) -> Endpoint | None:
        """None for a connection from nobody on this LAN, or by another link."""
        try:
            there = self.there(new)
        except OSError:
            return self.like(new)
        if there is None or there.number != self.plan.number or self.is_deaf_to(there):
            return None
        self.plan.filter(new)
        return self.like(new)
