"""Messages: those that carry an address.

Where the engine cannot change a call cheaply, the message is sent or received by us in the program's stead,
as long as that need not wait. What must wait is the program's own call, so that signals, time limits and
other threads find it where they should; what the kernel has told it is put right afterwards.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.abi.io import IoVec
from diorama.abi.socket import (
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    MSG_FASTOPEN,
    MSG_PEEK,
    MSG_TRUNC,
    MsgHdr,
    SocketAddress,
)
from diorama.catalogue.handles import IoVecs
from diorama.catalogue.sockets import RecvFrom, RecvMMsg, RecvMsg, SendMMsg, SendMsg, SendTo
from diorama.dispatch.network.addresses import check_abstract, read_address
from diorama.dispatch.network.answers import Outcome, answers, fail
from diorama.dispatch.network.control import CONTROL_MAX, MORE, given_control, told_control, with_room
from diorama.dispatch.network.guarding import FULL, check_flags, native_control, open_here, send_here, waits
from diorama.engine.rawsocket import RawMessage, Sent, pack_control, receive_raw, send_raw

if TYPE_CHECKING:
    from diorama.catalogue.model import Request, Tracee
    from diorama.dispatch.network.state import Lent, Networks

__all__: list[str] = []

_MESSAGES_MAX: Final = 1024
_SIZE_MAX: Final = 1 << 20
_DATAGRAM_MAX: Final = 65_507

# -- sending ----------------------------------------------------------------------------------


@answers(SendTo)
def send(networks: Networks, call: SendTo) -> Outcome:
    """One message; what has no address goes where the socket is connected to."""
    if not call.address:
        return None
    with networks.lent(call) as lent:
        if lent is None:
            check_abstract(networks, call, call.address.address, call.address_size)
            return None
        if lent.endpoint.guarded and lent.is_stream:
            flags = _open_here(lent, call, call.address.address, call.address_size, call.flags)
            return call.replace(address=0, address_size=0, flags=flags)
        address = read_address(call.address.address, call.address_size, call)
        sent = lent.endpoint.sending(lent.at, address)
        if sent.drop:
            return _send_copies(lent, call.buffer.read(), sent, b"")
        if lent.endpoint.guarded:
            _check_size(call.size)
            return send_here(lent, call.buffer.read(), sent, b"", call.flags)
        if _may_act(call.tracee, lent) and call.size <= _SIZE_MAX:
            done = _send_now(lent, call.buffer.read(), sent, b"", call.flags)
            if done is not None:
                return done
    if not sent.control:
        return call.replace(address=sent.address, address_size=len(sent.address or b""))
    place = call.tracee.memory.place
    vector = place(IoVec(call.buffer.address, call.size).pack(call.tracee.abi))
    header = _with(call.tracee, MsgHdr(msg_iov=vector, msg_iovlen=1), sent, b"")
    return int(call.tracee.syscall.sendmsg(call.fd, place(header.pack(call.tracee.abi)), call.flags))


def _open_here(lent: Lent, call: Request, at: int, size: int, flags: int) -> int:
    """Connect for a message that does so as well (TCP Fast Open): its other flags."""
    if not flags & MSG_FASTOPEN:
        return flags
    return open_here(lent, read_address(at, size, call) if at else None, flags)


@answers(SendMsg)
def send_message(networks: Networks, call: SendMsg) -> Outcome:
    """One message in pieces, with control data."""
    header = call.message.read()
    if not (header.msg_name or header.msg_control) and not networks.guards(call.tracee):
        return None
    with networks.lent(call) as lent:
        if lent is None:
            if not header.msg_name:
                return None
            check_abstract(networks, call, header.msg_name, header.msg_namelen)
            return None
        if lent.endpoint.guarded:
            if lent.is_stream:
                flags = _open_here(lent, call, header.msg_name, header.msg_namelen, call.flags)
                return None if flags == call.flags else call.replace(flags=flags)
        elif not (header.msg_name or lent.endpoint.has_control):
            return None
        outcome = _send_one(lent, call, header, call.flags)
    return outcome if isinstance(outcome, int) else call.replace(message=outcome)


@answers(SendMMsg)
def send_messages(networks: Networks, call: SendMMsg) -> Outcome:
    """Several: those before one that cannot be sent at once are, and it is told of by the next call."""
    headers = call.messages.read_all(_MESSAGES_MAX)
    is_addressed = any(header.msg_name or header.msg_control for header in headers)
    if not is_addressed and not networks.guards(call.tracee):
        return None
    with networks.lent(call) as lent:
        if lent is None:
            for header in filter(lambda header: header.msg_name, headers):
                check_abstract(networks, call, header.msg_name, header.msg_namelen)
            return None
        if lent.endpoint.guarded:
            check_flags(lent, call.flags)
            if lent.is_stream:
                return None
        done = _send_several(lent, call, headers)
    if done or not headers:
        call.messages.write_all(done)
        return len(done)
    return _send_first(networks, call, headers[0])


def _send_several(lent: Lent, call: SendMMsg, headers: list[MsgHdr]) -> list[MsgHdr]:
    """Those of several messages that can be sent at once; a guarded endpoint waits for the first."""
    done: list[MsgHdr] = []
    while len(done) < len(headers):
        try:
            flags = call.flags | MSG_DONTWAIT if done else call.flags
            size = _send_here(lent, call, headers[len(done)], flags)
        except OSError:
            if not done:
                raise
            break
        if size is None:
            break
        done.append(headers[len(done)].replace(msg_len=size))
    return done


def _send_first(networks: Networks, call: SendMMsg, header: MsgHdr) -> int:
    """The first of several has to wait: by the program itself."""
    with networks.lent(call) as lent:
        assert lent is not None
        outcome = _send_one(lent, call, header, call.flags)
    if isinstance(outcome, MsgHdr):
        message = call.tracee.memory.place(outcome.pack(call.tracee.abi))
        outcome = call.tracee.syscall.sendmsg(call.fd, message, call.flags)
    call.messages.write_all([header.replace(msg_len=outcome)])
    return 1


def _send_one(lent: Lent, call: Request, header: MsgHdr, flags: int) -> int | MsgHdr:
    """Send it here, or say what the kernel is to be given for it."""
    tracee = call.tracee
    if lent.endpoint.guarded:
        return _send_guarded(lent, call, header, flags)
    if _may_act(tracee, lent):
        size = _send_here(lent, call, header, flags)
        if size is not None:
            return size
    sent, control = _translated(lent, call, header)
    return len(_gather(tracee, header)) if sent.drop else _with(tracee, header, sent, control)


def _send_guarded(lent: Lent, call: Request, header: MsgHdr, flags: int) -> int:
    _check_size(sum(piece.iov_len for piece in _vectors(call.tracee, header).read_all(_MESSAGES_MAX)))
    sent, control = _translated(lent, call, header)
    data = _gather(call.tracee, header)
    return send_here(lent, data, sent, native_control(lent, call.tracee.abi, control), flags)


def _check_size(size: int) -> None:
    """No datagram is as long as that."""
    if size > _SIZE_MAX:
        raise fail(errno.EMSGSIZE)


def _send_here(lent: Lent, call: Request, header: MsgHdr, flags: int) -> int | None:
    if lent.endpoint.guarded:
        return _send_guarded(lent, call, header, flags)
    sent, control = _translated(lent, call, header)
    data = _gather(call.tracee, header)
    return len(data) if sent.drop else _send_now(lent, data, sent, control, flags)


def _translated(lent: Lent, call: Request, header: MsgHdr) -> tuple[Sent, bytes]:
    """What the kernel is given for an address, and the program's own control data."""
    sent = Sent(None)
    if header.msg_name:
        address = read_address(header.msg_name, header.msg_namelen, call)
        sent = lent.endpoint.sending(lent.at, address)
    control = given_control(lent, call.tracee.abi, _control(call.tracee, header))
    if sent.copies:
        _send_copies(lent, _gather(call.tracee, header), sent, control)
    return sent, control


def _send_copies(lent: Lent, data: bytes, sent: Sent, control: bytes) -> int:
    """Send a message to several, none of whom is waited for: its size."""
    if sent.copies and len(data) > _DATAGRAM_MAX:
        raise fail(errno.EMSGSIZE)
    control = pack_control(sent.control) + control
    for address in sent.copies:
        with suppress(OSError):
            send_raw(lent.at.fileno(), data, address, control, MSG_DONTWAIT)
    return len(data)


def _send_now(lent: Lent, data: bytes, sent: Sent, control: bytes, flags: int) -> int | None:
    """Send a message from here; None if the program has to wait."""
    control = pack_control(sent.control) + control
    try:
        return send_raw(lent.at.fileno(), data, sent.address, control, flags | MSG_DONTWAIT)
    except OSError as error:
        if error.errno in FULL and waits(lent, flags):
            return None
        raise


def _with(tracee: Tracee, header: MsgHdr, sent: Sent, control: bytes) -> MsgHdr:
    """A message to be sent by the kernel."""
    place = tracee.memory.place
    if sent.address is not None:
        header = header.replace(msg_name=place(sent.address), msg_namelen=len(sent.address))
    if sent.control or header.msg_control:
        control = pack_control(sent.control) + control
        header = header.replace(msg_control=place(control), msg_controllen=len(control))
    return header


def _control(tracee: Tracee, header: MsgHdr) -> bytes:
    if not header.msg_control:
        return b""
    return tracee.memory.read(header.msg_control, min(header.msg_controllen, CONTROL_MAX))


def _vectors(tracee: Tracee, header: MsgHdr) -> IoVecs:
    return IoVecs(header.msg_iov, header.msg_iovlen, IoVec, tracee.abi, "", tracee.memory)


def _gather(tracee: Tracee, header: MsgHdr) -> bytes:
    return _vectors(tracee, header).gather(_SIZE_MAX) if header.msg_iovlen else b""


# -- receiving --------------------------------------------------------------------------------


@answers(RecvFrom)
def receive(networks: Networks, call: RecvFrom) -> Outcome:
    """One message, and who sent it."""
    if not call.address:
        return None
    while True:
        with networks.lent(call) as lent:
            if lent is None or (lent.is_stream and not lent.is_held):
                return None
            if lent.is_stream:
                break
            message = _receive_now(lent, call.tracee, call.size, 0, call.flags)
            endpoint = lent.endpoint
            if message is not None:
                told = _told(lent, message, call.flags)
                if told is None:
                    continue
                call.buffer.write(message.data)
                call.address.write(told.pack())
                return message.size
        room = call.address.read_size()
        size = call.run()
        with networks.lent(call) as lent:
            told = None if lent is None else endpoint.received(lent.at, call.address.read())
        if told is not None:
            call.address.write(told.pack(), room)
            return size
    # What the kernel tells here is the name of the other end of a pair; of a connection nothing is told.
    size = call.run()
    call.address.write(b"")
    return size


@answers(RecvMsg)
def receive_message(networks: Networks, call: RecvMsg) -> Outcome:
    """One message in pieces, with control data."""
    header = call.message.read()
    if not (header.msg_name or header.msg_control):
        return None
    while True:
        with networks.lent(call) as lent:
            if lent is None or (lent.is_stream and not lent.is_held):
                return None
            if lent.is_stream:
                break
            endpoint = lent.endpoint
            filled = _receive_here(lent, call.tracee, header, call.flags)
        if filled is not None:
            header, size = filled
            if size < 0:
                continue
            call.message.write(header)
            return size
        asked = with_room(call, header) if header.msg_control and endpoint.has_control else call
        size = asked.run()
        with networks.lent(call) as lent:
            right = None if lent is None else _put_right(lent, call.tracee, header, asked.message.read())
        if lent is None or right is not None:
            if right is not None:
                call.message.write(right)
            return size
        call.message.write(header)
    size = call.run()
    call.message.write(call.message.read().replace(msg_namelen=0))
    return size


@answers(RecvMMsg)
def receive_messages(networks: Networks, call: RecvMMsg) -> Outcome:
    """Several; the kernel waits for the first, and no longer than that."""
    headers = call.messages.read_all(_MESSAGES_MAX)
    if not any(header.msg_name or header.msg_control for header in headers):
        return None
    with networks.lent(call) as lent:
        if lent is None or lent.is_stream:
            return None
    while True:
        count = call.replace(count=min(call.count, _MESSAGES_MAX)).run()
        with networks.lent(call) as lent:
            if lent is None:
                return count
            kept = _put_several_right(lent, call.tracee, headers, call.messages.read_all(count))
        if kept or not count:
            call.messages.write_all(kept)
            return len(kept)
        call.messages.write_all(headers)


def _put_several_right(
    lent: Lent, tracee: Tracee, asked: list[MsgHdr], made: list[MsgHdr]
) -> list[MsgHdr]:
    """What is told of several messages; where one was not for the program, those behind it close the gap."""
    kept: list[MsgHdr] = []
    for index, header in enumerate(made):
        room = asked[len(kept)]
        right = _put_right(lent, tracee, room, header)
        if right is None:
            continue
        if len(kept) < index:
            data = _vectors(tracee, header).gather(header.msg_len)
            size = _vectors(tracee, room).scatter(data)
            cut = MSG_TRUNC if size < len(data) else 0
            right = right.replace(msg_len=size, msg_flags=right.msg_flags | cut)
        kept.append(right.replace(msg_iov=room.msg_iov, msg_iovlen=room.msg_iovlen))
    return kept


def _receive_now(lent: Lent, tracee: Tracee, size: int, control_size: int, flags: int) -> RawMessage | None:
    """Receive a message here; None if the program has to wait or do it itself."""
    if not _may_act(tracee, lent) or size > _SIZE_MAX or flags & MSG_ERRQUEUE:
        return None
    try:
        return receive_raw(lent.at.fileno(), size, control_size, flags | MSG_DONTWAIT)
    except OSError as error:
        if error.errno in FULL and waits(lent, flags):
            return None
        raise


def _receive_here(lent: Lent, tracee: Tracee, header: MsgHdr, flags: int) -> tuple[MsgHdr, int] | None:
    """Receive a message into the program's pieces: its header and size, -1 if it was not for it."""
    vectors = _vectors(tracee, header)
    room = sum(piece.iov_len for piece in vectors.read_all(_MESSAGES_MAX))
    control_size = min(header.msg_controllen, CONTROL_MAX) if header.msg_control else 0
    more = MORE if control_size and lent.endpoint.has_control else 0
    message = _receive_now(lent, tracee, room, control_size + more, flags)
    if message is None:
        return None
    is_told = bool(message.address) or lent.is_held
    told = _told(lent, message, flags) if is_told else None
    if told is None and is_told:
        return header, -1
    vectors.scatter(message.data)
    control, lacks = told_control(lent, tracee.abi, message.control, control_size)
    if header.msg_control:
        tracee.memory.write(header.msg_control, control)
    name = told.pack() if told is not None else b""
    if header.msg_name and name:
        tracee.memory.write(header.msg_name, name[: header.msg_namelen])
    return (
        header.replace(
            msg_namelen=len(name) if header.msg_name else 0,
            msg_controllen=len(control),
            msg_flags=message.flags | lacks,
        ),
        message.size,
    )


def _told(lent: Lent, message: RawMessage, flags: int) -> SocketAddress | None:
    """What the program is told of where a message came from; None if it is not for it: then it is gone."""
    told = lent.endpoint.received(lent.at, message.address)
    if told is None and flags & MSG_PEEK:
        receive_raw(lent.at.fileno(), 0, 0, MSG_DONTWAIT | MSG_TRUNC)
    return told


def _put_right(lent: Lent, tracee: Tracee, asked: MsgHdr, header: MsgHdr) -> MsgHdr | None:
    """What the kernel has told the program of a message, in memory and its header; None: not for it.

    `asked` is the header before, which has the room for an address.
    """
    memory = tracee.memory
    if header.msg_name and (header.msg_namelen or lent.is_held):
        size = min(header.msg_namelen, asked.msg_namelen) if asked.msg_name else header.msg_namelen
        told = lent.endpoint.received(lent.at, memory.read(header.msg_name, size) if size else b"")
        if told is None:
            return None
        name = told.pack()
        if asked.msg_name:
            memory.write(asked.msg_name, name[: asked.msg_namelen])
        header = header.replace(msg_namelen=len(name) if asked.msg_name else 0)
    if header.msg_control and header.msg_controllen:
        control, lacks = told_control(lent, tracee.abi, _control(tracee, header), asked.msg_controllen)
        memory.write(asked.msg_control, control)
        header = header.replace(msg_controllen=len(control), msg_flags=header.msg_flags | lacks)
    return header.replace(msg_name=asked.msg_name, msg_control=asked.msg_control)


# -- both -------------------------------------------------------------------------------------


def _may_act(tracee: Tracee, lent: Lent) -> bool:
    """Whether to do it in the program's stead: where changing its call costs more, and layouts are ours."""
    return tracee.gives_at_once and not lent.is_stream and tracee.abi is Abi.native()[0]
