"""Lwip: the TCP/IP stack of Debian's liblwip0, by ctypes.

What it is, and what follows from that:

* It is built for the Hurd's lwip translator: with threads, without limits on connections (memory is
  malloc's), with IPv6 and its autoconfiguration, without DHCP and DNS. Its own sockets cannot be waited for
  by descriptor, so they are not used: we speak to its "raw" interface, whose callbacks tell what happens.
* All calls are made with the core locked (`with lwip.core`). lwIP's own thread runs the timers and what a
  host sends to itself, with the same lock; so callbacks come on two threads, one at a time.
* Calls keep Python's lock, being short; only those that wait give it away. Who waits for the core never has
  Python's lock, so the two cannot block each other.
* It has one instance a process, and an assertion of its ends the process. So it lives in one of its own.
"""

from __future__ import annotations

import ctypes
import secrets
import struct
from types import TracebackType
from typing import Any, Final

from diorama.errors import UsageError
from diorama.modules.networks.packet.layouts import Netif, TcpPcb

__all__ = ["ERRNO", "Lwip", "read_pbuf"]

OK: Final = 0
MEM: Final = -1
ABORTED: Final = -13
RESET: Final = -14
CLOSED: Final = -15
"""`err_t`, of which few need a name."""

ERRNO: Final = {
    0: 0,
    -1: 12,  # ENOMEM
    -2: 105,  # ENOBUFS
    -3: 110,  # ETIMEDOUT
    -4: 101,  # ENETUNREACH: no route
    -5: 115,
    -6: 22,
    -7: 11,
    -8: 98,  # EADDRINUSE
    -9: 114,
    -10: 106,
    -11: 107,
    -12: 100,  # ENETDOWN
    -13: 110,  # aborted, which is what a timer does: ETIMEDOUT
    -14: 104,
    -15: 107,
    -16: 22,
}
"""The errno of an `err_t`."""

RAW_LAYER: Final = 0
TRANSPORT_LAYER: Final = 74
IP_LAYER: Final = 54
RAM: Final = 640
"""Of pbuf_alloc: which headers will come before, and where the bytes are."""
WRITE_COPY: Final = 1

FLAG_UP: Final = 1
FLAG_BROADCAST: Final = 2
FLAG_LINK_UP: Final = 4
FLAG_ARP: Final = 8
FLAG_ETHERNET: Final = 16
FLAG_IGMP: Final = 32
FLAG_MLD6: Final = 64

_POINTER: Final = ctypes.c_void_p
_INT: Final = ctypes.c_int
_ERR: Final = ctypes.c_int8
_U8: Final = ctypes.c_uint8
_U16: Final = ctypes.c_uint16

NetifCallback: Final = ctypes.CFUNCTYPE(_ERR, _POINTER)
OutputCallback: Final = ctypes.CFUNCTYPE(_ERR, _POINTER, _POINTER)
RoutedCallback: Final = ctypes.CFUNCTYPE(_ERR, _POINTER, _POINTER, _POINTER)
TcpReceived: Final = ctypes.CFUNCTYPE(_ERR, _POINTER, _POINTER, _POINTER, _ERR)
TcpSent: Final = ctypes.CFUNCTYPE(_ERR, _POINTER, _POINTER, _U16)
TcpConnected: Final = ctypes.CFUNCTYPE(_ERR, _POINTER, _POINTER, _ERR)
TcpFailed: Final = ctypes.CFUNCTYPE(None, _POINTER, _ERR)
UdpReceived: Final = ctypes.CFUNCTYPE(None, _POINTER, _POINTER, _POINTER, _POINTER, _U16)
RawReceived: Final = ctypes.CFUNCTYPE(_U8, _POINTER, _POINTER, _POINTER, _POINTER)
_Done: Final = ctypes.CFUNCTYPE(None, _POINTER)

_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "ethernet_input": (_ERR, (_POINTER, _POINTER)),
    "etharp_find_addr": (ctypes.c_ssize_t, (_POINTER,) * 4),
    "etharp_get_entry": (ctypes.c_int, (ctypes.c_size_t, _POINTER, _POINTER, _POINTER)),
    "igmp_joingroup_netif": (_ERR, (_POINTER, _POINTER)),
    "igmp_leavegroup_netif": (_ERR, (_POINTER, _POINTER)),
    "mld6_joingroup_netif": (_ERR, (_POINTER, _POINTER)),
    "mld6_leavegroup_netif": (_ERR, (_POINTER, _POINTER)),
    "netif_add": (_POINTER, (_POINTER,) * 7),
    "netif_remove": (None, (_POINTER,)),
    "netif_create_ip6_linklocal_address": (None, (_POINTER, _U8)),
    "netif_add_ip6_address": (_ERR, (_POINTER, _POINTER, _POINTER)),
    "netif_ip6_addr_set": (None, (_POINTER, ctypes.c_int8, _POINTER)),
    "netif_ip6_addr_set_state": (None, (_POINTER, ctypes.c_int8, _U8)),
    "netif_loop_output": (_ERR, (_POINTER, _POINTER)),
    "netif_set_addr": (None, (_POINTER,) * 4),
    "netif_set_default": (None, (_POINTER,)),
    "netif_set_gw": (None, (_POINTER, _POINTER)),
    "netif_set_up": (None, (_POINTER,)),
    "netif_set_down": (None, (_POINTER,)),
    "netif_set_link_up": (None, (_POINTER,)),
    "netif_set_link_down": (None, (_POINTER,)),
    "pbuf_alloc": (_POINTER, (_INT, _U16, _INT)),
    "pbuf_copy_partial": (_U16, (_POINTER, _POINTER, _U16, _U16)),
    "pbuf_free": (_U8, (_POINTER,)),
    "pbuf_take": (_ERR, (_POINTER, ctypes.c_char_p, _U16)),
    "raw_bind": (_ERR, (_POINTER, _POINTER)),
    "raw_new_ip_type": (_POINTER, (_U8, _U8)),
    "raw_recv": (None, (_POINTER, RawReceived, _POINTER)),
    "raw_remove": (None, (_POINTER,)),
    "raw_sendto": (_ERR, (_POINTER, _POINTER, _POINTER)),
    "tcp_abort": (None, (_POINTER,)),
    "tcp_accept": (None, (_POINTER, TcpConnected)),
    "tcp_arg": (None, (_POINTER, _POINTER)),
    "tcp_bind": (_ERR, (_POINTER, _POINTER, _U16)),
    "tcp_close": (_ERR, (_POINTER,)),
    "tcp_connect": (_ERR, (_POINTER, _POINTER, _U16, TcpConnected)),
    "tcp_err": (None, (_POINTER, TcpFailed)),
    "tcp_listen_with_backlog": (_POINTER, (_POINTER, _U8)),
    "tcp_new_ip_type": (_POINTER, (_U8,)),
    "tcp_output": (_ERR, (_POINTER,)),
    "tcp_recv": (None, (_POINTER, TcpReceived)),
    "tcp_recved": (None, (_POINTER, _U16)),
    "tcp_sent": (None, (_POINTER, TcpSent)),
    "tcp_shutdown": (_ERR, (_POINTER, _INT, _INT)),
    "tcp_write": (_ERR, (_POINTER, ctypes.c_char_p, _U16, _U8)),
    "udp_bind": (_ERR, (_POINTER, _POINTER, _U16)),
    "udp_connect": (_ERR, (_POINTER, _POINTER, _U16)),
    "udp_disconnect": (None, (_POINTER,)),
    "udp_new_ip_type": (_POINTER, (_U8,)),
    "udp_recv": (None, (_POINTER, UdpReceived, _POINTER)),
    "udp_remove": (None, (_POINTER,)),
    "udp_sendto": (_ERR, (_POINTER, _POINTER, _POINTER, _U16)),
}

NAMES: Final = ("liblwip.so.0",)
_PBUF: Final = struct.Struct("QQHH")


def read_pbuf(pbuf: int) -> bytes:
    """All bytes of a packet, which may be in several pieces."""
    string_at = ctypes.string_at
    following, payload, total, size = _PBUF.unpack(string_at(pbuf, 20))
    data = string_at(payload, size)
    if size == total:
        return data
    parts = [data]
    while following and size < total:
        following, payload, _, more = _PBUF.unpack(string_at(following, 20))
        parts.append(string_at(payload, more))
        size += more
    return b"".join(parts)


class _Core:
    """The lock of lwIP's core."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._lock = library.sys_lock_tcpip_core
        self._unlock = library.sys_unlock_tcpip_core

    def __enter__(self) -> None:
        self._lock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unlock()


class Lwip:
    """The library, started.  Its functions are attributes: those of `_SIGNATURES`."""

    def __init__(self) -> None:
        try:
            waiting = ctypes.CDLL(NAMES[0])
            self._library = ctypes.PyDLL(NAMES[0])
        except OSError:
            raise UsageError("cannot start a packet stack: liblwip0 is not installed") from None
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(self._library, name)
            function.restype = result
            function.argtypes = arguments
            setattr(self, name, function)
        self.core = _Core(waiting)
        # lwIP takes its ports and identifiers from rand(3).
        ctypes.CDLL(None).srand(secrets.randbits(32))
        waiting.tcpip_init.argtypes = [_POINTER, _POINTER]
        waiting.tcpip_init(None, None)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def address_of(self, name: str) -> int:
        """Where a function or a variable of the library is."""
        return ctypes.addressof(ctypes.c_char.in_dll(self._library, name))

    def pbuf(self, data: bytes, layer: int = RAW_LAYER) -> int | None:
        """A packet with these bytes; None if there is no memory."""
        made: int | None = self.pbuf_alloc(layer, len(data), RAM)
        if made is not None:
            self.pbuf_take(made, data, len(data))
        return made

    def has_unsaid(self) -> bool:
        """Whether a connection has something that its peer has not acknowledged."""
        at = _POINTER.in_dll(self._library, "tcp_active_pcbs").value
        while at:
            pcb = TcpPcb.from_address(at)
            if pcb.unsent or pcb.unacked:
                return True
            at = pcb.next
        return False

    def check(self, netif: Netif) -> None:
        """Whether the structures are what we think: looks at an interface that was just added."""
        head = _POINTER.in_dll(self._library, "netif_list").value
        named = self._library.netif_name_to_index(netif.name + str(netif.num).encode())
        if head != ctypes.addressof(netif) or named != netif.num + 1:
            raise UsageError("cannot start a packet stack: this liblwip.so.0 has a layout that is not known")
