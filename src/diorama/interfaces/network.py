"""Network: what a network stack implements.

A stack is mounted like a file system (`--mount none:=/dev/net/none`) and chosen by processes, for each
address family (`diorama.view.stacks`). From then on it makes their sockets: it is asked once for every
`socket(2)`, and its *endpoint* for what concerns addresses. Bytes are not its business.

What the program holds is always a socket of the kernel's, so that reading, writing, polling, `dup`, `fork`
and `SCM_RIGHTS` are as they are. There are two sorts:

* *real* ones, of the family asked for. The endpoint says which addresses the kernel is given in place of
  those that the program uses, and what those are that the kernel tells. Every method of `Endpoint` does that
  by default for one whose addresses are what they seem;
* *held* ones, of AF_UNIX, whose other end the stack holds. The endpoint answers everything itself.

An endpoint is known by the cookie of its socket (SO_COOKIE), which no other socket of this kernel has ever
had. `at` is always a copy of the program's descriptor, which is closed after the call: nothing may keep it,
or the program could never end its connection.

Threads: asked on guardians or workers, for several programs at once. A method that has to wait for something
calls `diorama.view.asking.asker().step_aside()` first, and gives up with EINTR when `is_interrupted()`.
"""

from __future__ import annotations

import errno
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Final

from diorama.abi.socket import AF_INET, AF_INET6, SocketAddress, parse_address
from diorama.catalogue.model import Memory, Tracee
from diorama.engine.rawsocket import Sent, bind_raw, name_raw
from diorama.interfaces.story import Counters, Neighbour, SocketState

__all__ = ["Endpoint", "Foreign", "Held", "Link", "Network", "Route", "Sent", "Story", "refuse"]

Interface = IPv4Interface | IPv6Interface
Subnet = IPv4Network | IPv6Network


def refuse(code: int) -> OSError:
    """The error that gives the program this errno."""
    return OSError(code, os.strerror(code))


@dataclass(slots=True)
class Link:
    """A network interface (netdevice(7), rtnetlink(7)); `flags` are IFF_*, `kind` ARPHRD_*.

    `queue` is how many packets may wait to be sent, `driver` what `ip link add type` calls such a one.
    """

    index: int
    name: str
    flags: int
    kind: int = 1
    mtu: int = 1500
    address: bytes = bytes(6)
    addresses: list[Interface] = field(default_factory=list[Interface])
    queue: int = 1000
    driver: str = ""
    counters: Counters = field(default_factory=Counters)


@dataclass(frozen=True, slots=True)
class Route:
    """A way to a subnet: through a link, to a gateway or (None) to whom it may concern."""

    subnet: Subnet
    link: int
    gateway: str | None = None
    metric: int = 0


class Story(ABC):
    """What programs on a stack are told of it, by netlink, ioctl(2), /proc/net: one story for all ways.

    What changes it is refused unless a stack overrides it: EPERM, as for who is not privileged.
    """

    @abstractmethod
    def links(self) -> Sequence[Link]:
        """The interfaces, with their addresses, by index."""

    def routes(self) -> Sequence[Route]:
        """The routes besides those to the subnets of the links' own addresses."""
        return ()

    def neighbours(self) -> Sequence[Neighbour]:
        """Who is known on the links."""
        return ()

    def add_address(self, index: int, address: Interface) -> None:
        """Give a link one more address; EEXIST."""
        raise refuse(errno.EPERM)

    def remove_address(self, index: int, address: Interface) -> None:
        """Take an address from a link; EADDRNOTAVAIL."""
        raise refuse(errno.EPERM)

    def set_link(
        self,
        index: int,
        *,
        flags: int | None = None,
        mtu: int | None = None,
        queue: int | None = None,
        name: str | None = None,
        address: bytes | None = None,
    ) -> None:
        """Change the flags of a link (IFF_UP) or others of its properties."""
        raise refuse(errno.EPERM)

    def add_link(self, kind: str, name: str, data: Mapping[str, str]) -> None:
        """Make a link of a kind (`ip link add NAME type KIND`); EOPNOTSUPP for a kind there is none of.

        `data` has `address` and `mtu` if they are given. What the kind is told besides (IFLA_INFO_DATA) is
        `data` if it is one text, or one by the number of each attribute. `ip` has options for kinds that it
        knows only, but takes an alias for any: that is `data` as well
        (`ip link add vde0 alias vde:///tmp/s type vde`).
        """
        raise refuse(errno.EPERM)

    def remove_link(self, index: int) -> None:
        """Remove a link that was made."""
        raise refuse(errno.EPERM)

    def add_route(self, route: Route) -> None:
        """Add a route; EEXIST, ENETUNREACH for a gateway that nobody can reach."""
        raise refuse(errno.EPERM)

    def remove_route(self, route: Route) -> None:
        """Remove a route; ESRCH."""
        raise refuse(errno.EPERM)


class Endpoint:
    """One socket of a stack, which the kernel has, of the family that was asked for.

    `family`, `type` and `protocol` are those that the program asked for.
    """

    guarded = False
    """Whether the kernel is given addresses by us only, so that no other thread of the program can change
    them after they have been judged."""
    opens_fast = False
    """Whether a message may connect a guarded stream as well (MSG_FASTOPEN)."""

    def __init__(self, family: int, type: int, protocol: int) -> None:
        self.family = family
        self.type = type
        self.protocol = protocol

    def open(self) -> socket.socket:
        """The socket that the program is given; the kernel's errors."""
        return socket.socket(self.family, self.type, self.protocol)

    # -- addresses ----------------------------------------------------------------------------

    def bind(self, at: socket.socket, address: SocketAddress) -> None:
        """Give it an address."""
        bind_raw(at.fileno(), address.pack())

    def connect(self, at: socket.socket, address: SocketAddress) -> bytes | None:
        """The address that the kernel is to connect to, in the program's own call.

        None if it is connected; EINPROGRESS if it will be, and `at` does not block.
        """
        return address.pack()

    def connected(self, at: socket.socket, code: int) -> int:
        """A connection that was waited for was made, or has failed: the errno for the program, 0 for none."""
        return code

    def listen(self, at: socket.socket, backlog: int) -> None:
        """Let it accept connections."""
        at.listen(backlog)

    def accepting(self, at: socket.socket) -> None:
        """It is about to accept a connection; `OSError` if it must not."""
        return

    def accepted(self, new: socket.socket) -> Endpoint | None:
        """The kernel has accepted a connection: its endpoint.

        None if nobody should have it: then it is closed, and the next one is waited for.
        """
        return self.like(new)

    def like(self, new: socket.socket) -> Endpoint:
        """The endpoint of a connection that is accepted, which has addresses as this one."""
        return type(self)(self.family, self.type, self.protocol)

    def name(self, at: socket.socket) -> SocketAddress:
        """getsockname(2)."""
        return parse_address(name_raw(at.fileno()))

    def peer(self, at: socket.socket) -> SocketAddress:
        """getpeername(2); ENOTCONN."""
        return parse_address(name_raw(at.fileno(), peer=True))

    # -- messages -----------------------------------------------------------------------------

    def sending(self, at: socket.socket, address: SocketAddress) -> Sent:
        """A message is sent to an address: what the kernel is given."""
        return Sent(address.pack())

    def sends_control(self, level: int, kind: int) -> None:
        """Control data of a message that is sent by a guarded endpoint; `OSError` if it must not have it."""
        return

    def received(self, at: socket.socket, address: bytes) -> SocketAddress | None:
        """A message came from an address of the kernel's: what the program is told; None if it is not its."""
        return parse_address(address)

    has_control = False
    """Whether control data of messages (cmsg(3)) is not as the kernel has it: `told` and `given`."""

    def told(self, at: socket.socket, level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
        """Control data of a message that came (IP_PKTINFO): level, type and data for the program."""
        return level, kind, data

    def given(self, at: socket.socket, level: int, kind: int, data: bytes) -> tuple[int, int, bytes] | None:
        """Control data of a message that is sent: what the kernel is given in its place; None: nothing."""
        return level, kind, data

    # -- the rest -----------------------------------------------------------------------------

    def get_option(self, at: socket.socket, level: int, option: int, size: int) -> bytes | None:
        """getsockopt(2): the value; None if the kernel knows."""
        return None

    def set_option(self, at: socket.socket, level: int, option: int, value: bytes) -> bool:
        """setsockopt(2): whether that is all; False lets the kernel do it too."""
        return False

    def control(self, at: socket.socket, command: int, argument: int, memory: Memory) -> int | None:
        """ioctl(2) of a socket, 0x8900 to 0x89FF (netdevice(7)): the result; None if the kernel knows.

        `argument` is the address of a structure in `memory`, which is the program's.
        """
        return None

    def shutdown(self, at: socket.socket, how: int) -> bool:
        """End a direction: whether that is all; False lets the kernel do it too."""
        return False


class Held(Endpoint):
    """One socket of a stack, which the stack holds the other end of.

    The two ends are a pair of AF_UNIX: `open` gives the program one and `opened` is told of the other.
    """

    pair_type: int | None = None
    """The type of the pair, if it is not that of the socket: SOCK_RAW has none, and is SOCK_DGRAM."""

    def open(self) -> socket.socket:
        kind = self.type if self.pair_type is None else self.pair_type
        theirs, ours = socket.socketpair(socket.AF_UNIX, kind)
        try:
            self.opened(ours)
        except BaseException:
            theirs.close()
            ours.close()
            raise
        return theirs

    def opened(self, ours: socket.socket) -> None:
        """Our end, to be kept: it reads an end of file when all have closed theirs."""
        raise NotImplementedError

    def get_option(self, at: socket.socket, level: int, option: int, size: int) -> bytes | None:
        """What kind of socket it is; a stack asks here first."""
        if level != socket.SOL_SOCKET:
            return None
        told = {socket.SO_TYPE: self.type, _SO_DOMAIN: self.family, _SO_PROTOCOL: self.protocol}
        return told[option].to_bytes(4, "little") if option in told else None


class Foreign(Endpoint):
    """A socket of the kernel's that no stack has made: it can be read and written, and reaches nobody new."""

    guarded = True

    def bind(self, at: socket.socket, address: SocketAddress) -> None:
        raise refuse(errno.EACCES)

    def connect(self, at: socket.socket, address: SocketAddress) -> bytes | None:
        raise refuse(errno.EACCES)

    def listen(self, at: socket.socket, backlog: int) -> None:
        raise refuse(errno.EACCES)

    def accepting(self, at: socket.socket) -> None:
        raise refuse(errno.EACCES)

    def sending(self, at: socket.socket, address: SocketAddress) -> Sent:
        raise refuse(errno.EACCES)

    def set_option(self, at: socket.socket, level: int, option: int, value: bytes) -> bool:
        """Those of the socket itself; others may connect (SCTP) or lead round a way."""
        if level != socket.SOL_SOCKET:
            raise refuse(errno.EACCES)
        return False

    def control(self, at: socket.socket, command: int, argument: int, memory: Memory) -> int | None:
        raise refuse(errno.EACCES)


class _Apart(Endpoint):
    """A socket of the kernel's in another namespace."""

    guarded = True
    opens_fast = True


_SO_PROTOCOL: Final = 38
_SO_DOMAIN: Final = 39


class Network(ABC):
    """A network stack."""

    title = "network"
    """What the type of its mount is."""
    story: Story | None = None
    """What it tells of itself; None: netlink is a family as others."""
    has_no_links = False
    """Whether there is no interface at all, where it has no story."""
    hides_abstract = True
    """Whether its programs reach only such abstract names of AF_UNIX as programs of the view have bound."""
    guards = False
    """Whether nothing of its programs may get round it: then calls that are no calls of a socket are looked
    at too, and all its endpoints are `guarded`."""
    is_plain = False
    """Whether it is the kernel's network as it is, so that no call of its programs need be looked at."""
    hidden_sockets: frozenset[str] = frozenset()
    """Sockets of the file system (unix(7)) that its programs do not reach: servers that know names."""

    def sockets(self) -> Sequence[SocketState]:
        """The sockets that its programs have, for `ss` and `/proc/net/tcp`."""
        return ()

    @abstractmethod
    def make(self, family: int, type: int, protocol: int) -> Endpoint:
        """A new socket, with the type without flags; EAFNOSUPPORT, ESOCKTNOSUPPORT, EPROTONOSUPPORT."""

    def adopt(self, at: socket.socket, family: int) -> Endpoint | None:
        """A socket of the kernel's that a program has, but that no stack has made: one from outside.

        Its endpoint; None leaves it to the kernel.
        """
        return Foreign(family, int(at.type), at.proto)

    def apart(self, at: socket.socket, family: int) -> Endpoint | None:
        """A socket in a network namespace of the kernel's, made by a program that has left this network.

        It is the kernel's, but for addresses, which are looked at as here, lest they are used by another.
        """
        return _Apart(family, int(at.type), at.proto) if family in (AF_INET, AF_INET6) else None

    def control(self, family: int, command: int, argument: int, tracee: Tracee) -> int | None:
        """ioctl(2) of any socket of a program, of what family it may be, that its endpoint has not answered.

        As `Endpoint.control`; what a story is told by netdevice(7) is answered from that.
        """
        if self.story is None:
            return None
        from diorama.interfaces.netdevice import control

        return control(self.story, family, command, argument, tracee)

    def files(self) -> Mapping[str, Callable[[], bytes]]:
        """Files of the system that tell of it to its programs, by path: `/etc/resolv.conf`, `/etc/hosts`."""
        return {}

    def close(self) -> None:
        """The view has ended."""
        return
