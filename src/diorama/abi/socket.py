"""Sockets: families, types, options, messages and addresses."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from diorama.abi.record import Record, record

if TYPE_CHECKING:
    from diorama.abi.arch import Abi

__all__ = [
    "Inet6Address",
    "InetAddress",
    "MsgHdr",
    "RawAddress",
    "SocketAddress",
    "UnixAddress",
    "parse_address",
    "parse_control",
    "sent_descriptors",
]

AF_UNSPEC = 0
AF_UNIX = 1
AF_INET = 2
AF_AX25 = 3
AF_IPX = 4
AF_APPLETALK = 5
AF_BRIDGE = 7
AF_X25 = 9
AF_INET6 = 10
AF_KEY = 15
AF_NETLINK = 16
AF_PACKET = 17
AF_RDS = 21
AF_PPPOX = 24
AF_LLC = 26
AF_MPLS = 28
AF_CAN = 29
AF_TIPC = 30
AF_BLUETOOTH = 31
AF_ALG = 38
AF_NFC = 39
AF_VSOCK = 40
AF_KCM = 41
AF_QIPCRTR = 42
AF_SMC = 43
AF_XDP = 44
AF_MCTP = 45

SOCK_STREAM = 1
SOCK_DGRAM = 2
SOCK_RAW = 3
SOCK_RDM = 4
SOCK_SEQPACKET = 5
SOCK_DCCP = 6
SOCK_PACKET = 10
SOCK_NONBLOCK = 0o4000
SOCK_CLOEXEC = 0o2000000
SOCK_TYPE_MASK = 0xF

SHUT_RD = 0
SHUT_WR = 1
SHUT_RDWR = 2

SOL_IP = 0
SOL_SOCKET = 1
SOL_TCP = 6
SOL_UDP = 17
SOL_IPV6 = 41
SOL_ICMPV6 = 58
SOL_RAW = 255
SOL_PACKET = 263
SOL_NETLINK = 270
SOL_ALG = 279
SOL_VSOCK = 287

SO_DEBUG = 1
SO_REUSEADDR = 2
SO_TYPE = 3
SO_ERROR = 4
SO_DONTROUTE = 5
SO_BROADCAST = 6
SO_SNDBUF = 7
SO_RCVBUF = 8
SO_KEEPALIVE = 9
SO_OOBINLINE = 10
SO_NO_CHECK = 11
SO_PRIORITY = 12
SO_LINGER = 13
SO_BSDCOMPAT = 14
SO_REUSEPORT = 15
SO_PASSCRED = 16
SO_PEERCRED = 17
SO_RCVLOWAT = 18
SO_SNDLOWAT = 19
SO_RCVTIMEO = 20
SO_SNDTIMEO = 21
SO_BINDTODEVICE = 25
SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
SO_PEERNAME = 28
SO_TIMESTAMP = 29
SO_ACCEPTCONN = 30
SO_PEERSEC = 31
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
SO_PASSSEC = 34
SO_TIMESTAMPNS = 35
SO_MARK = 36
SO_TIMESTAMPING = 37
SO_PROTOCOL = 38
SO_DOMAIN = 39
SO_RXQ_OVFL = 40
SO_PEEK_OFF = 42
SO_INCOMING_CPU = 49
SO_ATTACH_BPF = 50
SO_COOKIE = 57
SO_NETNS_COOKIE = 71
SO_PEERGROUPS = 59
SO_ZEROCOPY = 60
SO_PEERPIDFD = 77

MSG_OOB = 0x1
MSG_PEEK = 0x2
MSG_DONTROUTE = 0x4
MSG_CTRUNC = 0x8
MSG_PROBE = 0x10
MSG_TRUNC = 0x20
MSG_DONTWAIT = 0x40
MSG_EOR = 0x80
MSG_WAITALL = 0x100
MSG_CONFIRM = 0x800
MSG_ERRQUEUE = 0x2000
MSG_NOSIGNAL = 0x4000
MSG_MORE = 0x8000
MSG_WAITFORONE = 0x10000
MSG_ZEROCOPY = 0x4000000
MSG_FASTOPEN = 0x20000000
MSG_CMSG_CLOEXEC = 0x40000000

SCM_RIGHTS = 1
SCM_CREDENTIALS = 2

UNIX_PATH_MAX = 108


@record({
    "msghdr": (
        "pointer msg_name, u32 msg_namelen, pointer msg_iov, ulong msg_iovlen, pointer msg_control,"
        " ulong msg_controllen, u32 msg_flags"
    ),
    "mmsghdr": (
        "pointer msg_name, u32 msg_namelen, pointer msg_iov, ulong msg_iovlen, pointer msg_control,"
        " ulong msg_controllen, u32 msg_flags, ulong[0] _, u32 msg_len"
    ),
})
class MsgHdr(Record):
    """A message of sendmsg(2) and recvmsg(2)."""

    msg_name: int = 0
    msg_namelen: int = 0
    msg_iov: int = 0
    msg_iovlen: int = 0
    msg_control: int = 0
    msg_controllen: int = 0
    msg_flags: int = 0
    msg_len: int = 0


def parse_control(abi: Abi, control: bytes) -> list[tuple[int, int, int, bytes]]:
    """The parts of the control data of a message, cmsg(3): level, type, where the data begins, the data."""
    found: list[tuple[int, int, int, bytes]] = []
    word, at = abi.word, 0
    head = word + 8
    while at + head <= len(control):
        size = int.from_bytes(control[at : at + word], "little")
        if size < head:
            break
        level, kind = struct.unpack_from("<ii", control, at + word)
        found.append((level, kind, at + head, control[at + head : at + size]))
        at += -(-size // word) * word
    return found


def sent_descriptors(abi: Abi, control: bytes) -> list[int]:
    """The descriptors in the control data of a message: those of SCM_RIGHTS."""
    found: list[int] = []
    for level, kind, _, data in parse_control(abi, control):
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
            found += [number for (number,) in struct.iter_unpack("<i", data[: len(data) // 4 * 4])]
    return found


class UnixAddress(NamedTuple):
    """A `struct sockaddr_un`, unix(7): a path, an abstract name (begins with NUL), or nothing (unnamed)."""

    path: bytes

    def pack(self) -> bytes:
        """The bytes in memory; a path ends with NUL, an abstract name where the address does."""
        end = b"\0" if self.path[:1] not in (b"", b"\0") else b""
        return struct.pack("<H", AF_UNIX) + self.path + end


class InetAddress(NamedTuple):
    """A `struct sockaddr_in`, ip(7)."""

    host: str
    port: int

    def pack(self) -> bytes:
        """The bytes in memory."""
        import socket

        return struct.pack("<H", AF_INET) + struct.pack("!H4s8x", self.port, socket.inet_aton(self.host))


class Inet6Address(NamedTuple):
    """A `struct sockaddr_in6`, ipv6(7)."""

    host: str
    port: int
    flowinfo: int = 0
    scope_id: int = 0

    def pack(self) -> bytes:
        """The bytes in memory."""
        import socket

        host = socket.inet_pton(socket.AF_INET6, self.host)
        head = struct.pack("<H", AF_INET6) + struct.pack("!HI16s", self.port, self.flowinfo, host)
        return head + struct.pack("<I", self.scope_id)


class RawAddress(NamedTuple):
    """An address of a family that has no class here, or one too short for its family."""

    family: int
    data: bytes

    def pack(self) -> bytes:
        """The bytes in memory."""
        return struct.pack("<H", self.family) + self.data


SocketAddress: TypeAlias = UnixAddress | InetAddress | Inet6Address | RawAddress

_INET_SIZE = 16
_INET6_SIZE = 28


def parse_address(data: bytes) -> SocketAddress:
    """The address that these bytes of a `struct sockaddr` stand for."""
    family = int.from_bytes(data[:2], "little")
    if family == AF_UNIX:
        path = data[2 : 2 + UNIX_PATH_MAX]
        return UnixAddress(path if path[:1] == b"\0" else path.partition(b"\0")[0])
    import socket

    if family == AF_INET and len(data) >= _INET_SIZE:
        return InetAddress(socket.inet_ntoa(data[4:8]), int.from_bytes(data[2:4], "big"))
    if family == AF_INET6 and len(data) >= _INET6_SIZE:
        port, flowinfo, host = struct.unpack_from("!HI16s", data, 2)
        scope_id = int.from_bytes(data[24:28], "little")
        return Inet6Address(socket.inet_ntop(socket.AF_INET6, host), port, flowinfo, scope_id)
    return RawAddress(family, data[2:])
