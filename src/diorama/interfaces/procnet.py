"""Proc net: the text of the files in `/proc/net` that tell of a network, proc_net(5).

`proc_files` has what a stack hands to `Network.files`. Files about what is not told (multicast groups, raw
sockets, most statistics) are as those of a network that has none of it; they are there because the kernel's
own would tell of the host.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from diorama.abi.netdevice import IFF_LOOPBACK
from diorama.abi.rtnetlink import (
    NUD_FAILED,
    NUD_INCOMPLETE,
    NUD_NOARP,
    NUD_PERMANENT,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_TABLE_MAIN,
    RTN_LOCAL,
)
from diorama.abi.socket import AF_INET, AF_INET6
from diorama.interfaces.network import Link, Story
from diorama.interfaces.routing import Way, in_order, scope, ways
from diorama.interfaces.story import SocketState, TcpState

__all__ = ["proc_files"]

_TCP: Final = 6
_UDP: Final = 17
_NOBODY: Final = "0" * 32
_RTF_UP: Final = 0x1
_RTF_GATEWAY: Final = 0x2
_RTF_HOST: Final = 0x4
_RTF_OF_LOCAL: Final = 0x80200000
"""RTF_LOCAL and RTF_NONEXTHOP."""
_SCOPES: Final = {RT_SCOPE_HOST: 0x10, RT_SCOPE_LINK: 0x20}
_COMPLETE: Final = 0x2
_PERMANENT: Final = 0x4
_WIDE: Final = 149
_NARROW: Final = 127

_DEV: Final = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast\
|bytes    packets errs drop fifo colls carrier compressed
"""
_ROUTE: Final = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
_ARP: Final = "IP address       HW type     Flags       HW address            Mask     Device\n"
_REST: Final = "st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
_TCP_HEAD: Final = f"  sl  local_address rem_address   {_REST}"
_UDP_HEAD: Final = f"   sl  local_address rem_address   {_REST} ref pointer drops"
_IPV6_HEAD: Final = f"  sl  {'local_address':38}{'remote_address':38}{_REST}"
_UDP6_HEAD: Final = f"{_IPV6_HEAD} ref pointer drops"
_NETLINK: Final = (
    "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
)
_PACKET: Final = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n"
_IGMP: Final = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
_SILENT: Final = (
    "anycast6 dev_mcast fib_trie fib_triestat igmp6 ip6_flowlabel mcfilter mcfilter6 netstat nf_conntrack "
    "nf_conntrack_expect rt6_stats rt_acct rt_cache snmp6"
)
"""Files that would tell of the host, and have nothing to tell."""
_SNMP: Final[Mapping[str, str]] = {
    "Ip": "Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos "
    "InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails "
    "FragOKs FragFails FragCreates OutTransmits",
    "Icmp": "InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects "
    "InEchos InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps OutMsgs OutErrors "
    "OutRateLimitGlobal OutRateLimitHost OutDestUnreachs OutTimeExcds OutParmProbs OutSrcQuenchs "
    "OutRedirects OutEchos OutEchoReps OutTimestamps OutTimestampReps OutAddrMasks OutAddrMaskReps",
    "Tcp": "RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab "
    "InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors",
    "Udp": "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti "
    "MemErrors",
    "UdpLite": "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors "
    "IgnoredMulti MemErrors",
}
_KNOWN: Final = {
    "Forwarding": 2,
    "DefaultTTL": 64,
    "RtoAlgorithm": 1,
    "RtoMin": 200,
    "RtoMax": 120000,
    "MaxConn": -1,
}


def proc_files(
    story: Story, sockets: Callable[[], Sequence[SocketState]] = tuple
) -> dict[str, Callable[[], bytes]]:
    """The files, by path, with what makes their content."""
    made: dict[str, Callable[[], str]] = {
        "dev": lambda: _dev(story),
        "route": lambda: _routes(story),
        "ipv6_route": lambda: _routes_of_ipv6(story),
        "if_inet6": lambda: _addresses_of_ipv6(story),
        "arp": lambda: _neighbours(story),
        "tcp": lambda: _sockets(sockets(), AF_INET, _TCP),
        "tcp6": lambda: _sockets(sockets(), AF_INET6, _TCP),
        "udp": lambda: _sockets(sockets(), AF_INET, _UDP),
        "udp6": lambda: _sockets(sockets(), AF_INET6, _UDP),
        "sockstat": lambda: _statistics(sockets(), AF_INET),
        "sockstat6": lambda: _statistics(sockets(), AF_INET6),
        "snmp": lambda: _snmp(sockets()),
    }
    empty = {
        "raw": f"{_TCP_HEAD} ref pointer drops\n",
        "icmp": _padded(f"{_TCP_HEAD} ref pointer drops", _NARROW),
        "udplite": _padded(_UDP_HEAD, _NARROW),
        **dict.fromkeys(("raw6", "udplite6", "icmp6"), f"{_UDP6_HEAD}\n"),
        **dict.fromkeys(_SILENT.split(), ""),
        "igmp": _IGMP,
        "netlink": _NETLINK,
        "packet": _PACKET,
    }
    files = {f"/proc/net/{name}": _constant(text) for name, text in empty.items()}
    return {**files, **{f"/proc/net/{name}": _encoded(make) for name, make in made.items()}}


def _constant(text: str) -> Callable[[], bytes]:
    content = text.encode()
    return lambda: content


def _encoded(make: Callable[[], str]) -> Callable[[], bytes]:
    return lambda: make().encode(errors="surrogateescape")


def _padded(line: str, width: int) -> str:
    return f"{line:{width}}\n"


# -- links and routes -------------------------------------------------------------------------------------


def _dev(story: Story) -> str:
    return _DEV + "".join(_counters(link) for link in story.links())


def _counters(link: Link) -> str:
    count = link.counters
    received = (
        f"{count.received_bytes:7} {count.received_packets:7} {count.received_errors:4} "
        f"{count.received_dropped:4} {0:4} {0:5} {0:10} {count.multicast:9}"
    )
    sent = (
        f"{count.sent_bytes:8} {count.sent_packets:7} {count.sent_errors:4} {count.sent_dropped:4} "
        f"{0:4} {0:5} {0:7} {0:10}"
    )
    return f"{link.name:>6}: {received} {sent}\n"


def _names(story: Story) -> dict[int, str]:
    return {link.index: link.name for link in story.links()}


def _routes(story: Story) -> str:
    names = _names(story)
    main = [way for way in ways(story, 4) if way.table == RT_TABLE_MAIN]
    return _padded(_ROUTE, _NARROW) + "".join(_padded(_route(way, names), _NARROW) for way in main)


def _route(way: Way, names: Mapping[int, str]) -> str:
    flags = _RTF_UP | (_RTF_GATEWAY if way.gateway else 0) | (_RTF_HOST if way.subnet.prefixlen == 32 else 0)
    gateway = _word(way.gateway or IPv4Address(0))
    mask = _word(ip_address(str(way.subnet.netmask)))
    to = _word(way.subnet.network_address)
    return f"{names[way.link]}\t{to}\t{gateway}\t{flags:04X}\t0\t0\t{way.metric}\t{mask}\t0\t0\t0"


def _routes_of_ipv6(story: Story) -> str:
    names = _names(story)
    lines = [_route_of_ipv6(way, names[way.link]) for way in ways(story, 6)]
    home = next((link.name for link in story.links() if link.flags & IFF_LOOPBACK), "lo")
    nowhere = f"{_NOBODY} 00 {_NOBODY} 00 {_NOBODY} ffffffff 00000001 00000000 00200200 {home:>8}\n"
    return "".join([*lines, nowhere])


def _route_of_ipv6(way: Way, name: str) -> str:
    flags = _RTF_UP | (_RTF_GATEWAY if way.gateway else 0)
    if way.type == RTN_LOCAL:
        flags |= _RTF_OF_LOCAL
    to = way.subnet.network_address.packed.hex()
    gateway = way.gateway.packed.hex() if way.gateway else _NOBODY
    numbers = f"{way.metric:08x} 00000001 00000000 {flags:08x}"
    return f"{to} {way.subnet.prefixlen:02x} {_NOBODY} 00 {gateway} {numbers} {name:>8}\n"


def _addresses_of_ipv6(story: Story) -> str:
    return "".join(
        f"{one.packed.hex()} {link.index:02x} {one.network.prefixlen:02x} "
        f"{_SCOPES.get(scope(one.ip), 0):02x} 80 {link.name:>8}\n"
        for link in story.links()
        for one in in_order(link, 6)
    )


def _neighbours(story: Story) -> str:
    links = {link.index: link for link in story.links()}
    lines = [_ARP]
    for one in story.neighbours():
        link = links.get(one.link)
        if link is None or ":" in one.address or one.state & NUD_NOARP:
            continue
        flags = 0 if one.state & (NUD_INCOMPLETE | NUD_FAILED) else _COMPLETE
        flags |= _PERMANENT if one.state & NUD_PERMANENT else 0
        hardware = (one.hardware or bytes(6)).hex(":")
        kind = f"0x{link.kind:<10x}0x{flags:<10x}"
        lines.append(f"{one.address:16} {kind}{hardware:17}     *        {link.name}\n")
    return "".join(lines)


# -- sockets ----------------------------------------------------------------------------------------------


def _word(address: IPv4Address | IPv6Address) -> str:
    """An address as the kernel writes it: words of the machine, in hexadecimal digits."""
    return "".join(f"{word:08X}" for (word,) in struct.iter_unpack("=I", address.packed))


def _end(end: tuple[str, int]) -> str:
    return f"{_word(ip_address(end[0]))}:{end[1]:04X}"


def _sockets(sockets: Sequence[SocketState], family: int, protocol: int) -> str:
    found = [one for one in sockets if (one.family, one.protocol) == (family, protocol)]
    is_tcp, is_old = protocol == _TCP, family == AF_INET
    head = {
        (True, True): _padded(_TCP_HEAD, _WIDE),
        (True, False): f"{_IPV6_HEAD}\n",
        (False, True): _padded(_UDP_HEAD, _NARROW),
        (False, False): f"{_UDP6_HEAD}\n",
    }[is_tcp, is_old]
    lines = list(_lines(found, is_tcp=is_tcp))
    if is_old:
        return head + "".join(_padded(line, _WIDE if is_tcp else _NARROW) for line in lines)
    return head + "".join(f"{line}\n" for line in lines)


def _lines(sockets: Sequence[SocketState], *, is_tcp: bool) -> Iterator[str]:
    for number, one in enumerate(sockets):
        queues = f"{one.queued_out:08X}:{one.queued_in:08X}"
        if is_tcp and one.state == TcpState.LISTEN:
            queues = f"00000000:{one.queued_in:08X}"
        rest = f"{queues} 00:00000000 00000000 {one.uid:5} {0:8} {one.inode}"
        tail = "1 0000000000000000 100 0 0 10 0" if is_tcp else "2 0000000000000000 0"
        width = 4 if is_tcp else 5
        yield f"{number:{width}}: {_end(one.local)} {_end(one.peer)} {one.state:02X} {rest} {tail}"


def _count(sockets: Sequence[SocketState], family: int, protocol: int) -> int:
    return sum((one.family, one.protocol) == (family, protocol) for one in sockets)


def _statistics(sockets: Sequence[SocketState], family: int) -> str:
    tcp, udp = (_count(sockets, family, protocol) for protocol in (_TCP, _UDP))
    everything = sum(one.protocol == _TCP for one in sockets)
    if family == AF_INET6:
        rest = "UDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n"
        return f"TCP6: inuse {tcp}\nUDP6: inuse {udp}\n{rest}"
    return (
        f"sockets: used {len(sockets)}\nTCP: inuse {tcp} orphan 0 tw 0 alloc {everything} mem 0\n"
        f"UDP: inuse {udp} mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n"
    )


def _snmp(sockets: Sequence[SocketState]) -> str:
    connected = sum(one.protocol == _TCP and one.state == TcpState.ESTABLISHED for one in sockets)
    known = {**_KNOWN, "CurrEstab": connected}
    lines: list[str] = []
    for title, names in _SNMP.items():
        values = " ".join(str(known.get(name, 0)) for name in names.split())
        lines += [f"{title}: {names}\n", f"{title}: {values}\n"]
    return "".join(lines)
