"""Wire: what the members of a LAN and its keeper tell each other.

Messages are msgpack (msgspec) on an AF_UNIX socket that keeps their bounds (SOCK_SEQPACKET); descriptors come
with them. Who joins says `Hello` and is answered with `Welcome` or `Refused`; from then on the keeper tells
each change of the `State` as a whole, so that a member that has missed some has missed nothing. A member says
`Seen` when its sockets are as a state wants them, and is told when all others' are (`Settled`). What is asked
for has an `id`, which the answer repeats.
"""

from __future__ import annotations

import array
import socket
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct, field

__all__ = [
    "VERSION",
    "Answer",
    "AskOutside",
    "AskRelay",
    "AskWhy",
    "Changed",
    "Done",
    "Hello",
    "HostRecord",
    "Impairment",
    "Message",
    "Order",
    "Pinged",
    "Published",
    "Refused",
    "Seen",
    "Settled",
    "State",
    "Watch",
    "Welcome",
    "receive",
    "send",
]

VERSION: Final = 3
"""Of these messages: who speaks another one is refused."""
_LARGEST: Final = 1 << 20
_MOST_DESCRIPTORS: Final = 4


class HostRecord(Struct, frozen=True):
    """A host: its number on the LAN, and what it is called; addresses without a prefix length."""

    host: int
    name: str
    address: str
    address6: str
    pid: int = 0


class Impairment(Struct, frozen=True):
    """What passes suffers: seconds there and back, seconds, bytes a second, a share of 1. None: unsaid."""

    latency: float | None = None
    jitter: float | None = None
    bandwidth: float | None = None
    loss: float | None = None


class Published(Struct, frozen=True):
    """A port of the machine that leads to one of a host."""

    address: str
    port: int
    host: str
    target: int
    protocol: str = "tcp"


class State(Struct):
    """All that is known of a LAN. Hosts are called by their names where they may leave and come again."""

    lan: str
    number: int
    subnet: str
    subnet6: str
    version: int = 0
    hosts: list[HostRecord] = field(default_factory=list[HostRecord])
    impairments: dict[str, Impairment] = field(default_factory=dict[str, Impairment])
    """Of all ("") hosts, of one (`db`) or of two (`db|web`, in order)."""
    cuts: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Two hosts, in order, or one ("", `db`) and all others."""
    groups: list[list[str]] = field(default_factory=list[list[str]])
    """The sides of a partition: hosts in different ones do not hear each other."""
    paused: list[str] = field(default_factory=list[str])
    down: list[str] = field(default_factory=list[str])
    names: dict[str, str] = field(default_factory=dict[str, str])
    published: list[Published] = field(default_factory=list[Published])
    gateway: list[str] = field(default_factory=list[str])
    pcap: str = ""


class Hello(Struct, tag=True):
    """Somebody joins: with what is wished for; or again, with what it was and all that it knows."""

    version: int
    pid: int
    lan: str
    host: str = ""
    address: str = ""
    address6: str = ""
    subnet: str = ""
    subnet6: str = ""
    again: int = 0
    known: State | None = None


class Watch(Struct, tag=True):
    """Somebody who is no member wants to know, and to give orders."""

    version: int


class Welcome(Struct, tag=True):
    """It has joined, as this host (0: it only watches)."""

    host: int
    state: State
    notes: list[str] = field(default_factory=list[str])
    """What its user should be told: what this LAN lacks."""


class Refused(Struct, tag=True):
    """It cannot be: why; `code` is an errno."""

    why: str
    code: int = 22
    id: int = 0


class Changed(Struct, tag=True):
    """The state is this now."""

    state: State


class Seen(Struct, tag=True):
    """The sockets of a member are as this version of the state wants them; so that others may rely on it.

    `is_settled`: they were already (`Settled`), and are where they can only be then.
    """

    version: int
    is_settled: bool = False


class Settled(Struct, tag=True):
    """The sockets of all members are as this version of the state wants them."""

    version: int


class AskRelay(Struct, tag=True):
    """A connection, or datagrams, from one real address to another are to suffer what they must."""

    id: int
    source: tuple[str, int]
    target: tuple[str, int]
    protocol: str


class AskOutside(Struct, tag=True):
    """The same to an address that is not of this LAN."""

    id: int
    source: tuple[str, int]
    address: str
    port: int
    protocol: str


class AskWhy(Struct, tag=True):
    """Why a connection from a real address, by a relay, could not be made."""

    id: int
    source: tuple[str, int]


class Pinged(Struct, tag=True):
    """A ping or its answer passes: identifier, sequence number, data."""

    source: str
    target: str
    body: bytes
    is_reply: bool


class Answer(Struct, tag=True):
    """The real address to use in place of it, None: none; or the errno that is the reason, 0: none."""

    id: int
    address: tuple[str, int] | None
    code: int = 0


class Order(Struct, tag=True):
    """`diorama net NAME VERB WORD...`."""

    id: int
    verb: str
    words: list[str]


class Done(Struct, tag=True):
    """An order was carried out, by all members: the state that came of it."""

    id: int
    state: State


Message = (
    Hello
    | Watch
    | Welcome
    | Refused
    | Changed
    | Seen
    | Settled
    | AskRelay
    | AskOutside
    | AskWhy
    | Answer
    | Pinged
    | Order
    | Done
)
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Message)


def send(at: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send a message; BlockingIOError if it has to wait and may not."""
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    at.sendmsg([_ENCODER.encode(message)], control, socket.MSG_NOSIGNAL)


def receive(at: socket.socket) -> tuple[Message, list[int]]:
    """The next message, with its descriptors, which are the caller's; EOFError after the last one.

    ValueError for what is none.
    """
    data, control, flags, _ = at.recvmsg(
        _LARGEST, socket.CMSG_SPACE(4 * _MOST_DESCRIPTORS), socket.MSG_CMSG_CLOEXEC
    )
    found = array.array("i")
    for level, kind, content in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
    if not data:
        raise EOFError
    if flags & socket.MSG_TRUNC:
        raise ValueError("a message that is too long")
    try:
        message: Message = _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None
    return message, list(found)
