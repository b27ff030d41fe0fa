"""Frames: what is to be known of an Ethernet frame before lwIP has it."""

from __future__ import annotations

from typing import Final

__all__ = ["asked_port"]

_TCP: Final = 6
_SYN_ACK: Final = 0x12
_SYN: Final = 0x02


def asked_port(frame: bytes) -> int:
    """The port that a frame asks for a connection with; 0 if it does not.

    That is TCP's SYN alone, right behind a plain IP header.
    """
    if len(frame) < 54:
        return 0
    if frame[12:15] == b"\x08\x00\x45" and frame[23] == _TCP:
        start = 34
    elif frame[12:14] == b"\x86\xdd" and frame[20] == _TCP and len(frame) >= 74:
        start = 54
    else:
        return 0
    if frame[start + 13] & _SYN_ACK != _SYN:
        return 0
    return int.from_bytes(frame[start + 2 : start + 4], "big")
