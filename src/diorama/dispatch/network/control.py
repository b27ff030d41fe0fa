"""Control: control data of messages, cmsg(3), translated for stacks that have other than the kernel's."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.abi.socket import MSG_CTRUNC, MsgHdr, parse_control

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.catalogue.sockets import RecvMsg
    from diorama.dispatch.network.state import Lent

__all__ = ["CONTROL_MAX", "MORE", "fit", "given_control", "told_control", "with_room"]

CONTROL_MAX: Final = 1 << 16
MORE: Final = 512
"""Bytes that the kernel is given besides the room that the program has, where what it tells is translated."""

_ADDRESS_MAX: Final = 128

Part = tuple[int, int, bytes]


def told_control(lent: Lent, abi: Abi, control: bytes, room: int) -> tuple[bytes, int]:
    """What a program that has this much room is told, and MSG_CTRUNC if that is not enough."""
    if not lent.endpoint.has_control:
        return control, 0
    parts = [
        lent.endpoint.told(lent.at, level, kind, data) for level, kind, _, data in parse_control(abi, control)
    ]
    return fit(abi, parts, room)


def given_control(lent: Lent, abi: Abi, control: bytes) -> bytes:
    """What the kernel is given for what a program gives."""
    if not (control and lent.endpoint.has_control):
        return control
    given = [
        lent.endpoint.given(lent.at, level, kind, data)
        for level, kind, _, data in parse_control(abi, control)
    ]
    return fit(abi, [part for part in given if part is not None], CONTROL_MAX)[0]


def fit(abi: Abi, parts: Iterable[Part], room: int) -> tuple[bytes, int]:
    """Control data as the kernel writes it into room that may be too small, and MSG_CTRUNC if it is."""
    word, packed = abi.word, b""
    head = word + 8
    for level, kind, data in parts:
        left = room - len(packed)
        if left < head:
            return packed, MSG_CTRUNC
        size = min(head + len(data), left)
        whole = size.to_bytes(word, "little") + struct.pack("<ii", level, kind) + data[: size - head]
        packed += whole + bytes(min(-size % word, left - size))
        if size < head + len(data):
            return packed, MSG_CTRUNC
    return packed, 0


def with_room(call: RecvMsg, header: MsgHdr) -> RecvMsg:
    """The same call with a header of our own, with more room for control data, and some for the address."""
    tracee: Tracee = call.tracee
    size = min(header.msg_controllen, CONTROL_MAX) + MORE
    roomy = header.replace(
        msg_name=tracee.memory.place(bytes(_ADDRESS_MAX)),
        msg_namelen=_ADDRESS_MAX,
        msg_control=tracee.memory.place(bytes(size)),
        msg_controllen=size,
    )
    address = tracee.memory.place(roomy.pack(tracee.abi))
    pointer = call.message
    return call.replace(
        message=type(pointer)(address, MsgHdr, pointer.abi, pointer.layout, memory=tracee.memory)
    )
