"""Telling: calls that tell the address of a socket, of itself or of a peer.

They are asked about only once a socket was bound through a mount.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from diorama.catalogue.sockets import Accept4, GetPeerName, GetSockName, RecvFrom
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.borrowing import borrow
from diorama.dispatch.files.generated import Subject, makes

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.files.state import Files

_UNIX_LINE_FIELDS = 7


@answers(GetSockName, GetPeerName, Accept4, RecvFrom)
def tell_address(files: Files, call: GetSockName | GetPeerName | Accept4 | RecvFrom) -> Outcome:
    """The program's own text, where the kernel has another."""
    if not (len(files.addresses) and call.address and _is_unix(call.tracee, call.fd)):
        return None
    room = call.address_size.read().value
    result: int = call.run()
    size = call.address_size.read().value
    given = files.addresses.given(call.tracee.memory.read(call.address.address, min(size, 128, max(room, 0))))
    if given is not None:
        call.tracee.memory.write(call.address.address, given[:room])
        call.address_size.write(call.address_size.read().replace(value=len(given)))
    return result


def _is_unix(tracee: Tracee, fd: int) -> bool:
    """Whether it is a socket of that family, or may be."""
    try:
        own = borrow(tracee, fd)
    except OSError:
        return False
    if own is None:
        return True
    try:
        with socket.socket(fileno=own) as found:
            return found.family == socket.AF_UNIX
    except OSError:
        os.close(own)
        return False


@makes(rb"net/unix")
def make_unix(files: Files, subject: Subject) -> bytes:
    """The sockets of the network namespace."""
    return b"".join(_renamed(files, line) for line in subject.real().splitlines(keepends=True))


def _renamed(files: Files, line: bytes) -> bytes:
    fields = line.rstrip(b"\n").split(None, _UNIX_LINE_FIELDS)
    if len(fields) <= _UNIX_LINE_FIELDS or not len(files.addresses):
        return line
    path = fields[_UNIX_LINE_FIELDS]
    return line[: len(line) - len(path) - 1] + files.addresses.named(path) + b"\n"
