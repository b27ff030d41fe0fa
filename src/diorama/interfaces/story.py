"""Story: what there is to tell of a network besides its links and routes: counters, neighbours, sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from diorama.abi.rtnetlink import NUD_REACHABLE

__all__ = ["Counters", "Neighbour", "SocketState", "TcpState"]


@dataclass(frozen=True, slots=True)
class Counters:
    """What has gone through a link, as proc_net(5) tells it in `dev`."""

    received_bytes: int = 0
    received_packets: int = 0
    received_errors: int = 0
    received_dropped: int = 0
    multicast: int = 0
    sent_bytes: int = 0
    sent_packets: int = 0
    sent_errors: int = 0
    sent_dropped: int = 0


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Who is known on a link: its address there (empty if it is looked for), NUD_* its state."""

    link: int
    address: str
    hardware: bytes
    state: int = NUD_REACHABLE


class TcpState:
    """The states of a TCP connection, as `/proc/net/tcp` and sock_diag(7) number them."""

    ESTABLISHED: Final = 1
    SYN_SENT: Final = 2
    SYN_RECV: Final = 3
    FIN_WAIT1: Final = 4
    FIN_WAIT2: Final = 5
    TIME_WAIT: Final = 6
    CLOSE: Final = 7
    CLOSE_WAIT: Final = 8
    LAST_ACK: Final = 9
    LISTEN: Final = 10
    CLOSING: Final = 11


@dataclass(frozen=True, slots=True)
class SocketState:
    """A socket of a network: addresses and ports as its program knows them.

    `inode` is that of the program's descriptor (fstat(2)), by which `ss -p` finds whose it is. One that is
    not connected has the state CLOSE, and (UDP) ESTABLISHED if it is. `queued_in` and `queued_out` are bytes;
    of one that listens, connections that wait, and how many may.
    """

    family: int
    protocol: int
    local: tuple[str, int]
    peer: tuple[str, int]
    state: int = TcpState.CLOSE
    inode: int = 0
    uid: int = 0
    queued_in: int = 0
    queued_out: int = 0
    link: int = 0
    only_ipv6: bool = False
