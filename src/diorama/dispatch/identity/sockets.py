"""Sockets: who the other end of an AF_UNIX socket is (unix(7)).

The kernel knows one user for all of a view, and lets nobody name another.  So what is sent with
SCM_CREDENTIALS is judged here, changed into what the kernel lets through, and put right where it arrives.
Who has not said who he is is told to be who he is when that is asked.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Final

from diorama.abi.capability import CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN
from diorama.abi.socket import SO_PASSCRED, SO_PEERCRED, MsgHdr, parse_control
from diorama.catalogue.sockets import GetSockOpt, RecvMMsg, RecvMsg, SendMMsg, SendMsg, SetSockOpt
from diorama.dispatch.identity.answers import Outcome, answers, fail
from diorama.engine.taking import taken

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.identity.state import Identities
    from diorama.view.identity import Identity

__all__ = ["SO_PEERGROUPS"]

SO_PEERGROUPS: Final = 59
_CREDENTIALS: Final = socket.SOL_SOCKET, socket.SCM_CREDENTIALS
_UCRED: Final = struct.Struct("<iII")
_CONTROL_MAX: Final = 1 << 16
_MESSAGES_MAX: Final = 1024


# -- sending --------------------------------------------------------------------------------------


@answers(SendMsg)
def send(identities: Identities, call: SendMsg) -> Outcome:
    """A message, perhaps with the word of its sender who he is."""
    header = call.message.read()
    changed = _sent(identities, call.tracee, header)
    if changed is None:
        return None
    address = call.tracee.memory.place(changed.pack(call.tracee.abi))
    pointer = call.message
    message = type(pointer)(address, MsgHdr, pointer.abi, pointer.layout, memory=call.tracee.memory)
    return call.replace(message=message)


@answers(SendMMsg)
def send_several(identities: Identities, call: SendMMsg) -> Outcome:
    """Several messages."""
    headers = call.messages.read_all(_MESSAGES_MAX)
    changed = [_sent(identities, call.tracee, header) for header in headers]
    if not any(changed):
        return None
    # How much was sent is told where they stand: so they stay there, with other control data for the moment.
    whole = [after or before for before, after in zip(headers, changed, strict=True)]
    call.messages.write_all(whole)
    try:
        return call.run()
    finally:
        now = call.messages.read_all(_MESSAGES_MAX)
        pairs = zip(headers, now, strict=True)
        call.messages.write_all([one.replace(msg_len=after.msg_len) for one, after in pairs])


def _sent(identities: Identities, tracee: Tracee, header: MsgHdr) -> MsgHdr | None:
    """A header with what the kernel is to be told; None if it is right as it is."""
    if not header.msg_control or not header.msg_controllen:
        return None
    control = bytearray(tracee.memory.read(header.msg_control, min(header.msg_controllen, _CONTROL_MAX)))
    found = False
    for level, kind, at, data in parse_control(tracee.abi, bytes(control)):
        if (level, kind) == _CREDENTIALS and len(data) == _UCRED.size:
            pid, uid, gid = _UCRED.unpack(data)
            _check(identities, tracee, pid, uid, gid)
            _remember(identities, tracee, pid, uid, gid)
            _UCRED.pack_into(control, at, tracee.pid, *identities.on_host)
            found = True
    return header.replace(msg_control=tracee.memory.place(bytes(control))) if found else None


def _remember(identities: Identities, tracee: Tracee, pid: int, uid: int, gid: int) -> None:
    """A process says something of itself that would not be told anyway, or does so no longer."""
    who = identities.of(tracee)
    if (pid, uid, gid) == (tracee.pid, who.uid, who.gid):
        identities.said.pop(tracee.pid, None)
    else:
        identities.said[tracee.pid] = pid, uid, gid


def _check(identities: Identities, tracee: Tracee, pid: int, uid: int, gid: int) -> None:
    """Who may say that he is whom; EPERM."""
    who = identities.of(tracee)
    is_right = pid == tracee.pid or who.has(CAP_SYS_ADMIN)
    is_right = is_right and (uid in (who.uid, who.euid, who.suid) or who.has(CAP_SETUID))
    if not (is_right and (gid in (who.gid, who.egid, who.sgid) or who.has(CAP_SETGID))):
        raise fail(errno.EPERM)


# -- receiving ------------------------------------------------------------------------------------


@answers(SetSockOpt)
def set_option(identities: Identities, call: SetSockOpt) -> Outcome:
    """From now on somebody wants to know who sends."""
    if call.level == socket.SOL_SOCKET and call.option == SO_PASSCRED:
        identities.is_told = True
    return None


@answers(RecvMsg)
def receive(identities: Identities, call: RecvMsg) -> Outcome:
    """A message; who it is from is put right."""
    if not identities.is_told or not call.message or not call.message.read().msg_control:
        return None
    if not _wants_to_know(call.tracee, call.fd):
        return None
    result = call.run()
    _put_right(identities, call.tracee, call.message.read())
    return result


@answers(RecvMMsg)
def receive_several(identities: Identities, call: RecvMMsg) -> Outcome:
    """Several messages."""
    if not identities.is_told or not _wants_to_know(call.tracee, call.fd):
        return None
    result = call.run()
    for header in call.messages.read_all(min(result, _MESSAGES_MAX)):
        _put_right(identities, call.tracee, header)
    return result


def _wants_to_know(tracee: Tracee, fd: int) -> bool:
    try:
        with taken(tracee.tid, tracee.pid, fd) as ours, socket.socket(fileno=os.dup(ours)) as at:
            return at.family == socket.AF_UNIX and bool(at.getsockopt(socket.SOL_SOCKET, SO_PASSCRED))
    except OSError:
        return False


def _put_right(identities: Identities, tracee: Tracee, header: MsgHdr) -> None:
    if not header.msg_control or not header.msg_controllen:
        return
    memory = tracee.memory
    control = memory.read(header.msg_control, min(header.msg_controllen, _CONTROL_MAX))
    for level, kind, at, data in parse_control(tracee.abi, control):
        if (level, kind) == _CREDENTIALS and len(data) == _UCRED.size:
            pid, uid, gid = _UCRED.unpack(data)
            memory.write(header.msg_control + at, _UCRED.pack(*_who(identities, pid, uid, gid)))


def _who(identities: Identities, pid: int, uid: int, gid: int) -> tuple[int, int, int]:
    """Who a sender is, or has said that he is."""
    shown = identities.mapping.user(uid), identities.mapping.group(gid)
    if (uid, gid) != identities.on_host:
        return pid, *shown
    said = identities.said.get(pid)
    if said is not None:
        return said
    who = identities.find(pid) if pid else None
    return (pid, *shown) if who is None else (pid, who.uid, who.gid)


# -- the other end --------------------------------------------------------------------------------


@answers(GetSockOpt)
def get_option(identities: Identities, call: GetSockOpt) -> Outcome:
    """Who the other end is."""
    if call.level != socket.SOL_SOCKET or call.option not in (SO_PEERCRED, SO_PEERGROUPS):
        return None
    peer = _peer(identities, call)
    if peer is None:
        return None
    pid, uid, gid, who = peer
    if call.option == SO_PEERCRED:
        mapping = identities.mapping
        ids = (mapping.user(uid), mapping.group(gid)) if who is None else (who.euid, who.egid)
        data = _UCRED.pack(pid, *ids)
        call.value.write(data[: call.value.read_size()])
        return 0
    groups = () if who is None else who.groups
    data = struct.pack(f"<{len(groups)}I", *groups)
    if call.value.read_size() < len(data):
        call.size.write(call.size.read().replace(value=len(data)))
        raise fail(errno.ERANGE)
    call.value.write(data)
    return 0


def _peer(identities: Identities, call: GetSockOpt) -> tuple[int, int, int, Identity | None] | None:
    """Process, user and group of the other end as the kernel knows them, and who that was in the view."""
    tracee = call.tracee
    try:
        with taken(tracee.tid, tracee.pid, call.fd) as ours, socket.socket(fileno=os.dup(ours)) as at:
            if at.family != socket.AF_UNIX:
                return None
            pid, uid, gid = _UCRED.unpack(at.getsockopt(socket.SOL_SOCKET, SO_PEERCRED, _UCRED.size))
            who = identities.meetings.at(pid, at) or identities.find(pid)
    except OSError:
        return None
    return (pid, uid, gid, who) if pid else None
