"""Frames: what is to be known of an Ethernet frame before lwIP has it.

Everybody on the wire may send anything, and an assertion of lwIP's that fails ends the process of the
stack. So what is known to make one fail does not get there: lwIP 2.1.3 believes the length that a packet of
UDP-Lite says is to be summed up.
"""

from __future__ import annotations

from typing import Final

__all__ = ["asked_port", "is_harmful"]

_IPV4: Final = b"\x08\x00"
_IPV6: Final = b"\x86\xdd"
_TCP: Final = 6
_UDP_LITE: Final = 136
_FRAGMENT: Final = 44
_EXTENSIONS: Final = frozenset({0, 43, 60})
"""Headers of IPv6 that tell their size in units of eight bytes: hop by hop, routing, options."""
_SYN_ACK: Final = 0x12
_SYN: Final = 0x02


def is_harmful(frame: bytes) -> bool:
    """Whether lwIP must not see a frame."""
    kind = frame[12:14]
    if kind == _IPV4:
        return len(frame) > 23 and frame[23] == _UDP_LITE
    return kind == _IPV6 and len(frame) > 20 and _last_header(frame) == _UDP_LITE


def _last_header(frame: bytes) -> int:
    """The protocol behind all extension headers of IPv6."""
    header, at = frame[20], 54
    while header in _EXTENSIONS or header == _FRAGMENT:
        if at + 2 > len(frame):
            break
        size = 8 if header == _FRAGMENT else 8 + 8 * frame[at + 1]
        header, at = frame[at], at + size
    return header


def asked_port(frame: bytes) -> int:
    """The port that a frame asks for a connection with; 0 if it does not.

    That is TCP's SYN alone, right behind a plain IP header.
    """
    if len(frame) < 54:
        return 0
    if frame[12:15] == b"\x08\x00\x45" and frame[23] == _TCP:
        start = 34
    elif frame[12:14] == _IPV6 and frame[20] == _TCP and len(frame) >= 74:
        start = 54
    else:
        return 0
    if frame[start + 13] & _SYN_ACK != _SYN:
        return 0
    return int.from_bytes(frame[start + 2 : start + 4], "big")
