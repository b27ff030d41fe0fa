"""Users: calls that ask for users and groups, or change them (credentials(7)).

The calls of i386 that are older than ids of 32 bits tell 65534 for an id that has no room in 16 bits.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from diorama.abi.io import Number
from diorama.catalogue.identity import (
    GetEGid,
    GetEUid,
    GetGid,
    GetGroups,
    GetResGid,
    GetResUid,
    GetUid,
    SetFsGid,
    SetFsUid,
    SetGid,
    SetGroups,
    SetReGid,
    SetResGid,
    SetResUid,
    SetReUid,
    SetUid,
)
from diorama.dispatch.identity.answers import Outcome, answers, fail
from diorama.view.identity import KEEP

if TYPE_CHECKING:
    from diorama.abi.arch import Abi
    from diorama.catalogue.model import Request
    from diorama.dispatch.identity.state import Identities
    from diorama.view.identity import Identity

_OVERFLOW: Final = 65534
_OLD: Final = frozenset({
    "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "setgroups",
    "setfsuid", "setfsgid",
})  # fmt: skip
"""Names of calls that mean 16 bits where there are others that end in 32."""


def _is_old(call: Request) -> bool:
    """Whether a call means ids of 16 bits."""
    spelling = call.spelling
    return spelling is not None and spelling.name in _OLD and _has_old(spelling.abi)


def _has_old(abi: Abi) -> bool:
    from diorama.abi.numbers import NUMBERS

    return "getuid32" in NUMBERS[abi.title]


def _told(call: Request, id: int) -> int:
    return _OVERFLOW if id > 0xFFFF and _is_old(call) else id


# -- asking ---------------------------------------------------------------------------------------


@answers(GetUid)
def getuid(identities: Identities, call: GetUid) -> Outcome:
    """The real user."""
    return _told(call, identities.of(call.tracee).uid)


@answers(GetEUid)
def geteuid(identities: Identities, call: GetEUid) -> Outcome:
    """The effective user."""
    return _told(call, identities.of(call.tracee).euid)


@answers(GetGid)
def getgid(identities: Identities, call: GetGid) -> Outcome:
    """The real group."""
    return _told(call, identities.of(call.tracee).gid)


@answers(GetEGid)
def getegid(identities: Identities, call: GetEGid) -> Outcome:
    """The effective group."""
    return _told(call, identities.of(call.tracee).egid)


@answers(GetResUid)
def getresuid(identities: Identities, call: GetResUid) -> Outcome:
    """All three users."""
    who = identities.of(call.tracee)
    return _tell_three(call, who.uid, who.euid, who.suid)


@answers(GetResGid)
def getresgid(identities: Identities, call: GetResGid) -> Outcome:
    """All three groups."""
    who = identities.of(call.tracee)
    return _tell_three(call, who.gid, who.egid, who.sgid)


def _tell_three(call: GetResUid | GetResGid, real: int, effective: int, saved: int) -> int:
    for pointer, id in ((call.real, real), (call.effective, effective), (call.saved, saved)):
        pointer.write(Number(_told(call, id)))
    return 0


@answers(GetGroups)
def getgroups(identities: Identities, call: GetGroups) -> Outcome:
    """The supplementary groups, or how many there are."""
    groups = identities.of(call.tracee).groups
    if call.count < 0:
        raise fail(errno.EINVAL)
    if not call.count:
        return len(groups)
    if len(groups) > call.count:
        raise fail(errno.EINVAL)
    code = "H" if _is_old(call) else "I"
    told = [_told(call, group) for group in groups]
    if told:
        call.tracee.memory.write(call.groups, struct.pack(f"<{len(told)}{code}", *told))
    return len(groups)


# -- changing -------------------------------------------------------------------------------------


def _become(identities: Identities, call: Request, identity: Identity) -> int:
    identities.change(call.tracee, identity)
    return 0


@answers(SetUid)
def setuid(identities: Identities, call: SetUid) -> Outcome:
    """Another user; for good, if it is a privileged one who asks."""
    return _become(identities, call, identities.of(call.tracee).setuid(call.user))


@answers(SetReUid)
def setreuid(identities: Identities, call: SetReUid) -> Outcome:
    """Another real and effective user."""
    return _become(identities, call, identities.of(call.tracee).setreuid(call.real, call.effective))


@answers(SetResUid)
def setresuid(identities: Identities, call: SetResUid) -> Outcome:
    """Another real, effective and saved user."""
    who = identities.of(call.tracee).setresuid(call.real, call.effective, call.saved)
    return _become(identities, call, who)


@answers(SetFsUid)
def setfsuid(identities: Identities, call: SetFsUid) -> Outcome:
    """Another user for files; the one before is told."""
    who = identities.of(call.tracee)
    _become(identities, call, who.setfsuid(call.user))
    return _told(call, who.fsuid)


@answers(SetGid)
def setgid(identities: Identities, call: SetGid) -> Outcome:
    """Another group."""
    return _become(identities, call, identities.of(call.tracee).setgid(call.group))


@answers(SetReGid)
def setregid(identities: Identities, call: SetReGid) -> Outcome:
    """Another real and effective group."""
    return _become(identities, call, identities.of(call.tracee).setregid(call.real, call.effective))


@answers(SetResGid)
def setresgid(identities: Identities, call: SetResGid) -> Outcome:
    """Another real, effective and saved group."""
    who = identities.of(call.tracee).setresgid(call.real, call.effective, call.saved)
    return _become(identities, call, who)


@answers(SetFsGid)
def setfsgid(identities: Identities, call: SetFsGid) -> Outcome:
    """Another group for files; the one before is told."""
    who = identities.of(call.tracee)
    _become(identities, call, who.setfsgid(call.group))
    return _told(call, who.fsgid)


@answers(SetGroups)
def setgroups(identities: Identities, call: SetGroups) -> Outcome:
    """Other supplementary groups."""
    who = identities.of(call.tracee)
    who.may_setgroups(call.count)
    size, code = (2, "H") if _is_old(call) else (4, "I")
    data = call.tracee.memory.read(call.groups, call.count * size) if call.count else b""
    if len(data) < call.count * size:
        raise fail(errno.EFAULT)
    none = (1 << 8 * size) - 1
    groups = struct.unpack(f"<{call.count}{code}", data)
    return _become(identities, call, who.setgroups(tuple(KEEP if one == none else one for one in groups)))
