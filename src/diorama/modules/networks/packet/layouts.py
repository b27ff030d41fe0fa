"""Layouts: the structures of lwIP that we look into, as Debian's liblwip0 2.1.3 has them.

They depend on how lwIP was configured (`/usr/include/lwip/lwipopts.h` of liblwip-dev, on a machine with
64-bit pointers). A test compiles a program with those headers and compares; and `Lwip` looks at the first
interface that it adds before it believes them. Only what is used has a name, the rest is padding.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final

__all__ = ["ANY", "V4", "V6", "Address", "IpAddress", "Netif", "Pbuf", "RawPcb", "TcpPcb", "UdpPcb"]

Address = IPv4Address | IPv6Address

V4: Final = 0
V6: Final = 6
ANY: Final = 46
"""Values of `IpAddress.type` (IPADDR_TYPE_*); the last one is that of a socket for both."""

IPV6_ADDRESSES: Final = 6
"""How many IPv6 addresses an interface has room for."""


class IpAddress(ctypes.Structure):
    """`ip_addr_t`: bytes in network order, the zone (index of the interface) of an IPv6 address, the type."""

    data: ctypes.Array[ctypes.c_ubyte]
    zone: int
    type: int
    _fields_ = [
        ("data", ctypes.c_ubyte * 16),
        ("zone", ctypes.c_uint8),
        ("_0", ctypes.c_uint8 * 3),
        ("type", ctypes.c_uint8),
        ("_1", ctypes.c_uint8 * 3),
    ]

    @classmethod
    def of(cls, address: Address, zone: int = 0) -> IpAddress:
        """An address in lwIP's form."""
        made = cls()
        packed = address.packed
        ctypes.memmove(made.data, packed, len(packed))
        made.zone = zone
        made.type = V4 if address.version == 4 else V6
        return made

    def get(self) -> Address:
        """The address without its zone."""
        raw = bytes(self.data)
        return IPv6Address(raw) if self.type == V6 else IPv4Address(raw[:4])

    def text(self) -> str:
        """The same, as text; faster."""
        if self.type == V6:
            return socket.inet_ntop(socket.AF_INET6, bytes(self.data))
        return socket.inet_ntoa(struct.pack("4B", *self.data[:4]))


class Netif(ctypes.Structure):
    """`struct netif`."""

    next: int
    ip_addr: IpAddress
    netmask: IpAddress
    gw: IpAddress
    ip6_addr: ctypes.Array[IpAddress]
    ip6_addr_state: ctypes.Array[ctypes.c_uint8]
    input: int
    output: int
    linkoutput: int
    output_ip6: int
    state: int
    mtu: int
    mtu6: int
    hwaddr: ctypes.Array[ctypes.c_ubyte]
    hwaddr_len: int
    flags: int
    name: bytes
    num: int
    ip6_autoconfig_enabled: int
    rs_count: int
    _fields_ = [
        ("next", ctypes.c_void_p),
        ("ip_addr", IpAddress),
        ("netmask", IpAddress),
        ("gw", IpAddress),
        ("ip6_addr", IpAddress * IPV6_ADDRESSES),
        ("ip6_addr_state", ctypes.c_uint8 * IPV6_ADDRESSES),
        ("_lives", ctypes.c_uint32 * (2 * IPV6_ADDRESSES)),
        ("input", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("linkoutput", ctypes.c_void_p),
        ("output_ip6", ctypes.c_void_p),
        ("state", ctypes.c_void_p),
        ("_client_data", ctypes.c_void_p * 2),
        ("mtu", ctypes.c_uint16),
        ("mtu6", ctypes.c_uint16),
        ("hwaddr", ctypes.c_ubyte * 6),
        ("hwaddr_len", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("name", ctypes.c_char * 2),
        ("num", ctypes.c_uint8),
        ("ip6_autoconfig_enabled", ctypes.c_uint8),
        ("rs_count", ctypes.c_uint8),
        ("_rest", ctypes.c_uint8 * 47),
    ]


class Pbuf(ctypes.Structure):
    """`struct pbuf`: a piece of a packet."""

    next: int
    payload: int
    tot_len: int
    len: int
    _fields_ = [
        ("next", ctypes.c_void_p),
        ("payload", ctypes.c_void_p),
        ("tot_len", ctypes.c_uint16),
        ("len", ctypes.c_uint16),
        ("_rest", ctypes.c_uint8 * 4),
    ]


_IP_PCB: Final = [
    ("local_ip", IpAddress),
    ("remote_ip", IpAddress),
    ("netif_idx", ctypes.c_uint8),
    ("so_options", ctypes.c_uint8),
    ("tos", ctypes.c_uint8),
    ("ttl", ctypes.c_uint8),
    ("next", ctypes.c_void_p),
]


class TcpPcb(ctypes.Structure):
    """`struct tcp_pcb`: a connection."""

    local_ip: IpAddress
    remote_ip: IpAddress
    so_options: int
    tos: int
    ttl: int
    next: int | None
    state: int
    local_port: int
    remote_port: int
    flags: int
    mss: int
    sa: int
    sv: int
    rto: int
    nrtx: int
    lastack: int
    cwnd: int
    ssthresh: int
    snd_nxt: int
    snd_buf: int
    snd_queuelen: int
    unsent: int
    unacked: int
    keep_idle: int
    keep_intvl: int
    keep_cnt: int
    _fields_ = [
        *_IP_PCB,
        ("callback_arg", ctypes.c_void_p),
        ("state", ctypes.c_int),
        ("prio", ctypes.c_uint8),
        ("local_port", ctypes.c_uint16),
        ("remote_port", ctypes.c_uint16),
        ("flags", ctypes.c_uint16),
        ("_0", ctypes.c_uint8 * 26),
        ("mss", ctypes.c_uint16),
        ("_rtt", ctypes.c_uint32 * 2),
        ("sa", ctypes.c_int16),
        ("sv", ctypes.c_int16),
        ("rto", ctypes.c_int16),
        ("nrtx", ctypes.c_uint8),
        ("_dupacks", ctypes.c_uint8),
        ("lastack", ctypes.c_uint32),
        ("cwnd", ctypes.c_uint32),
        ("ssthresh", ctypes.c_uint32),
        ("_rto_end", ctypes.c_uint32),
        ("snd_nxt", ctypes.c_uint32),
        ("_1", ctypes.c_uint8 * 20),
        ("snd_buf", ctypes.c_uint32),
        ("snd_queuelen", ctypes.c_uint16),
        ("_2", ctypes.c_uint8 * 10),
        ("unsent", ctypes.c_void_p),
        ("unacked", ctypes.c_void_p),
        ("_3", ctypes.c_uint8 * 64),
        ("keep_idle", ctypes.c_uint32),
        ("keep_intvl", ctypes.c_uint32),
        ("keep_cnt", ctypes.c_uint32),
        ("_4", ctypes.c_uint8 * 12),
    ]


class UdpPcb(ctypes.Structure):
    """`struct udp_pcb`."""

    local_ip: IpAddress
    remote_ip: IpAddress
    so_options: int
    tos: int
    ttl: int
    flags: int
    local_port: int
    remote_port: int
    mcast_ifindex: int
    mcast_ttl: int
    _fields_ = [
        *_IP_PCB,
        ("flags", ctypes.c_uint8),
        ("local_port", ctypes.c_uint16),
        ("remote_port", ctypes.c_uint16),
        ("mcast_ip4", ctypes.c_uint32),
        ("mcast_ifindex", ctypes.c_uint8),
        ("mcast_ttl", ctypes.c_uint8),
        ("_rest", ctypes.c_uint8 * 26),
    ]


class RawPcb(ctypes.Structure):
    """`struct raw_pcb`."""

    local_ip: IpAddress
    remote_ip: IpAddress
    so_options: int
    tos: int
    ttl: int
    protocol: int
    chksum_offset: int
    chksum_reqd: int
    _fields_ = [
        *_IP_PCB,
        ("protocol", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("_0", ctypes.c_uint8 * 22),
        ("chksum_offset", ctypes.c_uint16),
        ("chksum_reqd", ctypes.c_uint8),
        ("_1", ctypes.c_uint8 * 5),
    ]
