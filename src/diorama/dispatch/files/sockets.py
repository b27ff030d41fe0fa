"""Sockets: the paths of AF_UNIX addresses."""

from __future__ import annotations

import errno
import os
from typing import Any

from diorama.abi.fcntl import AT_FDCWD
from diorama.abi.socket import UNIX_PATH_MAX, MsgHdr, UnixAddress, parse_address
from diorama.catalogue.handles import In, SockAddr
from diorama.catalogue.model import Request
from diorama.catalogue.sockets import Bind, Connect, SendMMsg, SendMsg, SendTo
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.binding import bind, bound_path
from diorama.dispatch.files.layered import check_directory, parent_of, whole
from diorama.dispatch.files.owned import check_writable
from diorama.dispatch.files.owned_names import bind_owned
from diorama.dispatch.files.passing import note_sent
from diorama.dispatch.files.state import Files, fail
from diorama.view.mounts import Place

_ADDRESS_MAX = 128
_MESSAGES_MAX = 1024


@answers(Bind, Connect, SendTo)
def address(files: Files, call: Bind | Connect | SendTo) -> Outcome:
    """A call with an address as an argument."""
    if not call.address or not 2 < call.address_size <= _ADDRESS_MAX:
        return None
    data = _given(call.address)
    place = _place(files, call, data)
    if isinstance(call, Bind) and place is not None and place.filesystem is not None:
        return bind(files, call, place, data)
    if isinstance(call, Bind) and place is not None and place.mount.layers is not None:
        return _bind_in_layers(files, call, place)
    if place is not None and not isinstance(call, Bind):
        check_writable(files, call, place)
    packed = None if place is None else _pack(files, call, place)
    changed = None if packed is None else call.replace(address=packed, address_size=len(packed))
    if not isinstance(call, Bind):
        return changed
    files.addresses.bound(packed or data, data)
    is_owned = place is not None and place.mount.owners is not None
    return bind_owned(files, call, place, changed) if is_owned and place is not None else changed


@answers(SendMsg)
def message(files: Files, call: SendMsg) -> Outcome:
    """A call with an address in a message."""
    header = _given(call.message)
    note_sent(files, call.tracee, header)
    changed = _addressed(files, call, header)
    return None if changed is header else call.replace(message=changed)


@answers(SendMMsg)
def messages(files: Files, call: SendMMsg) -> Outcome:
    """Several messages: those before one that cannot be sent are, and it is told of by the next call."""
    headers = call.messages.read_all(_MESSAGES_MAX)
    changed: list[MsgHdr] = []
    for header in headers:
        note_sent(files, call.tracee, header)
        try:
            changed.append(_addressed(files, call, header))
        except OSError:
            if not changed:
                raise
            break
    if all(new is old for new, old in zip(changed, headers, strict=False)):
        return None if len(changed) == len(headers) else call.replace(count=len(changed))
    return _send(call, headers, changed)


def _given(value: Any) -> Any:
    """What a handler further out has put in the place of what the program pointed at, or that."""
    return value.read() if isinstance(value, (In, SockAddr)) else value  # pyright: ignore[reportUnknownVariableType]


def _send(call: SendMMsg, headers: list[MsgHdr], changed: list[MsgHdr]) -> int:
    """Send from another array, and put what the kernel writes there into the program's."""
    abi, memory, size = call.tracee.abi, call.tracee.memory, MsgHdr.size(call.tracee.abi, "mmsghdr")
    address = memory.place(b"".join(header.pack(abi, "mmsghdr") for header in changed))
    count = call.replace(messages=address, count=len(changed)).run()
    sent = [MsgHdr.unpack(abi, memory.read(address + at * size, size), "mmsghdr") for at in range(count)]
    lengths = zip(headers, sent, strict=False)
    call.messages.write_all([header.replace(msg_len=one.msg_len) for header, one in lengths])
    return count


def _addressed(files: Files, call: Request, header: MsgHdr) -> MsgHdr:
    """The message with its host path, itself if that meets no mount."""
    memory = call.tracee.memory
    place = _place(files, call, _name(memory, header.msg_name, header.msg_namelen))
    if place is not None:
        check_writable(files, call, place)
    packed = None if place is None else _pack(files, call, place)
    if packed is None:
        return header
    return header.replace(msg_name=memory.place(packed), msg_namelen=len(packed))


def _bind_in_layers(files: Files, call: Bind, place: Place) -> Outcome:
    """Make the socket in the writable layer."""
    layers, path = whole(place)
    if not place.missing:
        raise fail(errno.EADDRINUSE)
    with layers.lock:
        check_directory(files, call.tracee, layers, parent_of(path))
        real, covered = layers.room(path)
        if not covered:
            return _bind_at(files, call, real)
        layers.make_over(path, lambda staged: _run(_bind_at(files, call, staged)))
    return 0


def _bind_at(files: Files, call: Bind, path: bytes) -> Bind:
    packed = UnixAddress(_shortened(files, path)).pack()[: 2 + UNIX_PATH_MAX]
    files.addresses.bound(packed, call.address.read())
    return call.replace(address=packed, address_size=len(packed))


def _run(call: Bind) -> None:
    call.run()


def _name(memory: Any, at: int, size: int) -> bytes:
    return memory.read(at, size) if at and 2 < size <= _ADDRESS_MAX else b""


def _place(files: Files, call: Request, data: bytes) -> Place | None:
    """Where an address leads; None if it meets no mount."""
    parsed = parse_address(data)
    if not isinstance(parsed, UnixAddress) or parsed.path[:1] in (b"", b"\0"):
        return None
    is_name = isinstance(call, Bind)
    place = files.walk(files.task(call.tracee), AT_FDCWD, parsed.path, parent=is_name)
    if place is None or not place.touched:
        return None
    if is_name and place.mount.read_only:
        raise fail(errno.EROFS if place.missing else errno.EADDRINUSE)
    if place.missing and not is_name and place.mount.layers is not None:
        raise fail(errno.ENOENT)  # what the host has there may be what hides it
    return place


def _pack(files: Files, call: Request, place: Place) -> bytes | None:
    """The address with its host path; None if that is what the kernel finds anyway."""
    if place.straight:
        return None
    path = _short_path(files, place) if place.filesystem is None else bound_path(files, call, place)
    return UnixAddress(path).pack()[: 2 + UNIX_PATH_MAX]


def _short_path(files: Files, place: Place) -> bytes:
    """The host path, which an address has little room for; by a link to the directory if it is too long."""
    return _shortened(files, place.host_path)


def _shortened(files: Files, path: bytes) -> bytes:
    if len(path) <= UNIX_PATH_MAX:
        return path
    directory, name = os.path.split(path.rstrip(b"/"))
    path = os.path.join(files.standins.shortcut(directory), name)
    if len(path) > UNIX_PATH_MAX:
        raise fail(errno.ENAMETOOLONG)
    return path
