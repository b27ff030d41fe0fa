"""Sockets: their calls, direct and behind the `socketcall` of i386."""

from typing import Annotated

from diorama.abi import socket
from diorama.abi.io import FdPair, Number
from diorama.abi.socket import MsgHdr
from diorama.abi.time import Timespec
from diorama.catalogue.handles import Array, In, InOut, Out, SizedBuffer
from diorama.catalogue.kinds import Address, Choice, Fd, Flags, Int, Kind, Shown, Size, UInt
from diorama.catalogue.model import Request, request
from diorama.catalogue.names import Names
from diorama.catalogue.pointers import (
    ArrayKind,
    InBuffer,
    InSockAddr,
    OutBuffer,
    OutSockAddr,
    SizedBufferKind,
)

_TYPES = Names(
    socket, "SOCK_", without=("SOCK_NONBLOCK", "SOCK_CLOEXEC", "SOCK_TYPE_MASK")
)
_TYPE_FLAGS = Names(socket, "SOCK_NONBLOCK", "SOCK_CLOEXEC")


class SocketTypeKind(Kind):
    """The type of a socket, with two flags."""

    __slots__ = ()
    title = "SOCK_*"

    def text(self, value: int, shown: Shown) -> str:
        """The type first, then the flags."""
        flags = value & ~socket.SOCK_TYPE_MASK
        kind = _TYPES.one(value & socket.SOCK_TYPE_MASK)
        return f"{kind}|{_TYPE_FLAGS.many(flags)}" if flags else kind


Family = Annotated[int, Choice(Names(socket, "AF_"))]
SocketType = Annotated[int, SocketTypeKind()]
AcceptFlags = Annotated[int, Flags(_TYPE_FLAGS)]
MessageFlags = Annotated[int, Flags(Names(socket, "MSG_"))]
Level = Annotated[int, Choice(Names(socket, "SOL_"))]
How = Annotated[int, Choice(Names(socket, "SHUT_"))]


class SocketOptionKind(Kind):
    """An option, whose name depends on the level."""

    __slots__ = ("names",)
    title = "SO_*"

    def __init__(self) -> None:
        self.names = Names(socket, "SO_")

    def text(self, value: int, shown: Shown) -> str:
        """The name for SOL_SOCKET, the number for other levels."""
        level: int = getattr(shown.request, "level", socket.SOL_SOCKET)
        return self.names.one(value) if level == socket.SOL_SOCKET else str(value)


SocketOption = Annotated[int, SocketOptionKind()]


@request(man="socket(2)", classes="network", returns="fd", forms={
    "socket(family, type, protocol)": {},
    "socketcall:1*(family, type, protocol)": {},
})
class Socket(Request):
    """Make a socket."""

    family: Family
    type: SocketType
    protocol: Int


@request(man="socketpair(2)", classes="network", forms={
    "socketpair(family, type, protocol, fds)": {},
    "socketcall:8*(family, type, protocol, fds)": {},
})
class SocketPair(Request):
    """Make two sockets that are connected to each other."""

    family: Family
    type: SocketType
    protocol: Int
    fds: Out[FdPair]


@request(man="bind(2)", classes="network", forms={
    "bind(fd, address, address_size)": {},
    "socketcall:2*(fd, address, address_size)": {},
})
class Bind(Request):
    """Give a socket an address."""

    fd: Fd
    address: InSockAddr
    address_size: Int


@request(man="connect(2)", classes="network", forms={
    "connect(fd, address, address_size)": {},
    "socketcall:3*(fd, address, address_size)": {},
})
class Connect(Request):
    """Connect a socket to an address."""

    fd: Fd
    address: InSockAddr
    address_size: Int


@request(man="listen(2)", classes="network", forms={
    "listen(fd, backlog)": {},
    "socketcall:4*(fd, backlog)": {},
})
class Listen(Request):
    """Let a socket accept connections."""

    fd: Fd
    backlog: Int


@request(man="accept(2)", classes="network", returns="fd", forms={
    "accept4(fd, address, address_size, flags)": {},
    "accept(fd, address, address_size)": {"flags": 0},
    "socketcall:18*(fd, address, address_size, flags)": {},
    "socketcall:5*(fd, address, address_size)": {"flags": 0},
})
class Accept4(Request):
    """Accept a connection."""

    fd: Fd
    address: OutSockAddr
    address_size: InOut[Number]
    flags: AcceptFlags


@request(man="getsockname(2)", classes="network", forms={
    "getsockname(fd, address, address_size)": {},
    "socketcall:6*(fd, address, address_size)": {},
})
class GetSockName(Request):
    """Get the address of a socket."""

    fd: Fd
    address: OutSockAddr
    address_size: InOut[Number]


@request(man="getpeername(2)", classes="network", forms={
    "getpeername(fd, address, address_size)": {},
    "socketcall:7*(fd, address, address_size)": {},
})
class GetPeerName(Request):
    """Get the address that a socket is connected to."""

    fd: Fd
    address: OutSockAddr
    address_size: InOut[Number]


@request(man="send(2)", classes="network", forms={
    "sendto(fd, buffer, size, flags, address, address_size)": {},
    "socketcall:11*(fd, buffer, size, flags, address, address_size)": {},
    "socketcall:9*(fd, buffer, size, flags)": {"address": None, "address_size": 0},
})
class SendTo(Request):
    """Send a message."""

    fd: Fd
    buffer: InBuffer
    size: Size
    flags: MessageFlags
    address: InSockAddr
    address_size: Int


@request(man="recv(2)", classes="network", forms={
    "recvfrom(fd, buffer, size, flags, address, address_size)": {},
    "socketcall:12*(fd, buffer, size, flags, address, address_size)": {},
    "socketcall:10*(fd, buffer, size, flags)": {"address_size": None, "address": None},
})
class RecvFrom(Request):
    """Receive a message."""

    fd: Fd
    buffer: OutBuffer
    size: Size
    flags: MessageFlags
    address: OutSockAddr
    address_size: InOut[Number]


@request(man="send(2)", classes="network", forms={
    "sendmsg(fd, message, flags)": {},
    "socketcall:16*(fd, message, flags)": {},
})
class SendMsg(Request):
    """Send a message that may carry descriptors."""

    fd: Fd
    message: In[MsgHdr]
    flags: MessageFlags


@request(man="recv(2)", classes="network", forms={
    "recvmsg(fd, message, flags)": {},
    "socketcall:17*(fd, message, flags)": {},
})
class RecvMsg(Request):
    """Receive a message that may carry descriptors."""

    fd: Fd
    message: InOut[MsgHdr]
    flags: MessageFlags


@request(man="sendmmsg(2)", classes="network", forms={
    "sendmmsg(fd, messages:mmsghdr, count, flags)": {},
    "socketcall:20*(fd, messages:mmsghdr, count, flags)": {},
})
class SendMMsg(Request):
    """Send several messages."""

    fd: Fd
    messages: Annotated[Array[MsgHdr], ArrayKind("in", MsgHdr)]
    count: UInt
    flags: MessageFlags


@request(man="recvmmsg(2)", classes="network", forms={
    "recvmmsg(fd, messages:mmsghdr, count, flags, timeout)": {},
    "recvmmsg_time64(fd, messages:mmsghdr, count, flags, timeout:timespec64)": {},
    "socketcall:19*(fd, messages:mmsghdr, count, flags, timeout)": {},
})
class RecvMMsg(Request):
    """Receive several messages."""

    fd: Fd
    messages: Annotated[Array[MsgHdr], ArrayKind("out", MsgHdr)]
    count: UInt
    flags: MessageFlags
    timeout: InOut[Timespec]


@request(man="shutdown(2)", classes="network", forms={
    "shutdown(fd, how)": {},
    "socketcall:13*(fd, how)": {},
})
class Shutdown(Request):
    """End one or both directions of a connection."""

    fd: Fd
    how: How


@request(man="getsockopt(2)", classes="network", forms={
    "setsockopt(fd, level, option, value, size)": {},
    "socketcall:14*(fd, level, option, value, size)": {},
})
class SetSockOpt(Request):
    """Set an option of a socket."""

    fd: Fd
    level: Level
    option: SocketOption
    value: InBuffer
    size: Int


@request(man="getsockopt(2)", classes="network", forms={
    "getsockopt(fd, level, option, value, size)": {},
    "socketcall:15*(fd, level, option, value, size)": {},
})
class GetSockOpt(Request):
    """Get an option of a socket."""

    fd: Fd
    level: Level
    option: SocketOption
    value: Annotated[SizedBuffer, SizedBufferKind("size")]
    size: InOut[Number]


@request(man="socketcall(2)", classes="network", forms={"socketcall(call, arguments)": {}})
class SocketCall(Request):
    """A socket call of i386 that is none of the known ones."""

    call: Int
    arguments: Address
