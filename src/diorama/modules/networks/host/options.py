"""Options: those of sockets that would lead round the rules.

A route that a packet is to take (ip(7), ipv6(7)) makes its first hop another than its address; some ways to
encapsulate or to begin in the middle of a connection do the same.  They are EPERM, as for who is not
privileged.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

from diorama.interfaces.network import refuse

__all__ = ["check_control", "check_option"]

_SOL_IP, _SOL_TCP, _SOL_UDP, _SOL_IPV6 = 0, 6, 17, 41
_ROUTING6: Final = frozenset({2, 3, 4, 5, 6, 54, 55, 57, 59})
"""IPV6_HOPOPTS, IPV6_RTHDR, IPV6_DSTOPTS, IPV6_RTHDRDSTOPTS, and those of RFC 2292; its PKTINFO is 2."""
_REFUSED: Final = {
    (_SOL_IP, 4): errno.EPERM,  # IP_OPTIONS
    (_SOL_IP, 16): errno.EPERM,  # IP_IPSEC_POLICY
    (_SOL_IP, 17): errno.EPERM,  # IP_XFRM_POLICY
    (_SOL_IP, 19): errno.EPERM,  # IP_TRANSPARENT
    (_SOL_IPV6, 34): errno.EPERM,  # IPV6_IPSEC_POLICY
    (_SOL_IPV6, 35): errno.EPERM,  # IPV6_XFRM_POLICY
    (_SOL_IPV6, 75): errno.EPERM,  # IPV6_TRANSPARENT
    (_SOL_TCP, 19): errno.EPERM,  # TCP_REPAIR
    (_SOL_TCP, 30): errno.EOPNOTSUPP,  # TCP_FASTOPEN_CONNECT
    (_SOL_UDP, 100): errno.EPERM,  # UDP_ENCAP
    (socket.SOL_SOCKET, socket.SO_BINDTODEVICE): errno.EPERM,
    (socket.SOL_SOCKET, 62): errno.EPERM,  # SO_BINDTOIFINDEX
    (socket.SOL_SOCKET, 36): errno.EPERM,  # SO_MARK
    **{(_SOL_IPV6, option): errno.EPERM for option in _ROUTING6 if option > 2},
}
_TCP_ULP: Final = 31
_SO_ZEROCOPY: Final = 60
_CONTROL: Final = frozenset({(_SOL_IP, 7), *((_SOL_IPV6, kind) for kind in _ROUTING6 if kind > 2)})


def check_option(at: socket.socket, type: int, level: int, option: int, value: bytes) -> bool:
    """What setsockopt(2) is refused, by `OSError`; whether it has been done."""
    code = _REFUSED.get((level, option))
    if code is not None:
        raise refuse(code)
    if (level, option) == (_SOL_TCP, _TCP_ULP):
        if value.rstrip(b"\0") != b"tls":
            raise refuse(errno.ENOENT)
        at.setsockopt(level, option, value)
        return True
    if (level, option) == (socket.SOL_SOCKET, _SO_ZEROCOPY) and type != socket.SOCK_STREAM:
        raise refuse(errno.EOPNOTSUPP)
    if level in (_SOL_IP, socket.SOL_SOCKET, _SOL_TCP, _SOL_UDP, _SOL_IPV6, socket.IPPROTO_ICMPV6):
        return False
    raise refuse(errno.ENOPROTOOPT)


def check_control(level: int, kind: int) -> None:
    """Control data of a message that would give it another way."""
    if (level, kind) in _CONTROL:
        raise refuse(errno.EPERM)
