"""Sockets: SO_RCVTIMEO and SO_SNDTIMEO (socket(7)), durations that the kernel keeps."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from diorama.catalogue.sockets import GetSockOpt, SetSockOpt
from diorama.dispatch.clock.answers import Outcome, answers
from diorama.view.clock import NSEC

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.clock.state import Clocks

__all__ = ["TIMEOUTS"]

_SOL_SOCKET: Final = 1
_NEW: Final = (66, 67)
TIMEOUTS: Final = (20, 21, *_NEW)
"""SO_RCVTIMEO and SO_SNDTIMEO, with a `struct timeval` of the program and with 64 bits (x86, arm, riscv)."""

_MOST: Final = 60 * 366 * 86400 * NSEC
"""What is longer is for ever; it is not too long for 32 bits."""


def _format(tracee: Tracee, option: int) -> struct.Struct:
    return struct.Struct("<qq" if option in _NEW or tracee.abi.word >= 8 else "<ii")


@answers(SetSockOpt)
def setsockopt(clocks: Clocks, call: SetSockOpt) -> Outcome:
    """What is 0 waits for ever, and stays so; what would be 0 for the host becomes a microsecond."""
    course = clocks.of(call.tracee).course
    form = _format(call.tracee, call.option)
    if call.level != _SOL_SOCKET or call.option not in TIMEOUTS or course.pace == 1 or call.size < form.size:
        return None
    seconds, micros = form.unpack(call.tracee.memory.read(call.value.address, form.size))
    if seconds < 0 or not 0 <= micros < 10**6 or not (seconds or micros):
        return None
    lasts = course.lasts(seconds * NSEC + micros * 1000)
    told = (0, 0) if lasts is None or lasts > _MOST else divmod(-(-lasts // 1000), 10**6)
    return call.replace(value=form.pack(*told), size=form.size)


@answers(GetSockOpt)
def getsockopt(clocks: Clocks, call: GetSockOpt) -> Outcome:
    """As the program has set it."""
    course = clocks.of(call.tracee).course
    form = _format(call.tracee, call.option)
    if call.level != _SOL_SOCKET or call.option not in TIMEOUTS or course.pace == 1:
        return None
    result = call.run()
    data = call.tracee.memory.read(call.value.address, form.size)
    if call.size.read().value >= form.size:
        seconds, micros = form.unpack(data)
        counts = min(course.counts((seconds * 10**6 + micros) * 1000), _MOST)
        call.tracee.memory.write(call.value.address, form.pack(*divmod(counts // 1000, 10**6)))
    return result
