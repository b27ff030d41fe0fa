"""What is known of a frame before the stack has it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diorama.modules.networks.packet.frames import asked_port

SYN, ACK, RST = 0x02, 0x10, 0x04


def frame(version: int, flags: int, port: int, protocol: int = 6) -> bytes:
    tcp = struct.pack("!HHIIBBHHH", 5000, port, 1, 0, 0x50, flags, 1000, 0, 0)
    if version == 4:
        return bytes(12) + b"\x08\x00" + struct.pack("!BBHHHBBH8x", 0x45, 0, 40, 0, 0, 64, protocol, 0) + tcp
    return bytes(12) + b"\x86\xdd" + struct.pack("!IHBB32x", 6 << 28, 20, protocol, 64) + tcp


@pytest.mark.parametrize("version", [4, 6])
def test_a_connection_is_asked_for_by_a_syn_alone(version: int) -> None:
    assert asked_port(frame(version, SYN, 80)) == 80
    assert asked_port(frame(version, SYN | ACK, 80)) == 0
    assert asked_port(frame(version, ACK, 80)) == 0
    assert asked_port(frame(version, RST, 80)) == 0
    assert asked_port(frame(version, SYN, 80, protocol=17)) == 0


@given(st.binary(max_size=100))
def test_no_frame_is_too_strange(data: bytes) -> None:
    assert 0 <= asked_port(data) < 1 << 16
