"""Capabilities: what a task makes of its capability sets, and what a file that it executes makes of them.

The rules are those of capabilities(7), capset(2), prctl(2) and execve(2), in the kernel's order of checks.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from diorama.abi.capability import (
    CAP_SETPCAP,
    CAP_SETUID,
    LAST_CAPABILITY,
    SECBIT_KEEP_CAPS,
    SECBIT_KEEP_CAPS_LOCKED,
    SECBIT_NO_CAP_AMBIENT_RAISE,
    SECBIT_NOROOT,
    FileCapabilities,
)
from diorama.view.identity import Identity, refused

__all__ = [
    "NOTHING",
    "Executed",
    "Privileges",
    "capset",
    "clear_ambient",
    "drop_bounding",
    "execute",
    "has_ambient",
    "in_bounding",
    "keep_capabilities",
    "lower_ambient",
    "raise_ambient",
    "set_securebits",
]

_BITS: Final = 0x555
_LOCKS: Final = _BITS << 1
_FREE: Final = 0xF00
"""Bits about executing scripts, which everybody may set, with their locks."""


def capset(who: Identity, effective: int, permitted: int, inheritable: int) -> Identity:
    """Other sets for a thread; EPERM."""
    if not who.has(CAP_SETPCAP) and inheritable & ~(who.inheritable | who.permitted):
        raise refused()
    if inheritable & ~(who.inheritable | who.bounding):
        raise refused()
    if permitted & ~who.permitted or effective & ~permitted:
        raise refused()
    ambient = who.ambient & permitted & inheritable
    return replace(who, effective=effective, permitted=permitted, inheritable=inheritable, ambient=ambient)


def in_bounding(who: Identity, capability: int) -> bool:
    """As PR_CAPBSET_READ."""
    _check(capability)
    return bool(who.bounding >> capability & 1)


def drop_bounding(who: Identity, capability: int) -> Identity:
    """As PR_CAPBSET_DROP."""
    if not who.has(CAP_SETPCAP):
        raise refused()
    _check(capability)
    return replace(who, bounding=who.bounding & ~(1 << capability))


def set_securebits(who: Identity, bits: int) -> Identity:
    """As PR_SET_SECUREBITS."""
    changed = who.securebits ^ bits
    locked = who.securebits & _LOCKS
    if locked >> 1 & changed or locked & ~bits or bits & ~(_BITS | _LOCKS):
        raise refused()
    if not who.has(CAP_SETPCAP) and (not changed or changed & ~_FREE):
        raise refused()
    return replace(who, securebits=bits)


def keep_capabilities(who: Identity, value: int) -> Identity:
    """As PR_SET_KEEPCAPS."""
    if value > 1:
        raise refused(errno.EINVAL)
    if who.securebits & SECBIT_KEEP_CAPS_LOCKED:
        raise refused()
    others = who.securebits & ~SECBIT_KEEP_CAPS
    return replace(who, securebits=others | (SECBIT_KEEP_CAPS if value else 0))


def has_ambient(who: Identity, capability: int) -> bool:
    """As PR_CAP_AMBIENT_IS_SET."""
    _check(capability)
    return bool(who.ambient >> capability & 1)


def raise_ambient(who: Identity, capability: int) -> Identity:
    """As PR_CAP_AMBIENT_RAISE."""
    _check(capability)
    if not (who.permitted & who.inheritable) >> capability & 1 or (
        who.securebits & SECBIT_NO_CAP_AMBIENT_RAISE
    ):
        raise refused()
    return replace(who, ambient=who.ambient | 1 << capability)


def lower_ambient(who: Identity, capability: int) -> Identity:
    """As PR_CAP_AMBIENT_LOWER."""
    _check(capability)
    return replace(who, ambient=who.ambient & ~(1 << capability))


def clear_ambient(who: Identity) -> Identity:
    """As PR_CAP_AMBIENT_CLEAR_ALL."""
    return replace(who, ambient=0)


def _check(capability: int) -> None:
    if not 0 <= capability <= LAST_CAPABILITY:
        raise refused(errno.EINVAL)


# -- executing ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Privileges:
    """What a file gives who executes it: another user or group (set-user-ID), and capabilities."""

    uid: int | None = None
    gid: int | None = None
    capabilities: FileCapabilities | None = None


class Executed(NamedTuple):
    """Who runs a program, and whether it is told to be careful (AT_SECURE, getauxval(3)).

    `closes`: nobody may look into it but who may look into all (PR_SET_DUMPABLE, prctl(2)).
    """

    identity: Identity
    secure: bool
    closes: bool


NOTHING: Final = Privileges()


def execute(who: Identity, file: Privileges = NOTHING, *, shares: bool = False) -> Executed:
    """What becomes of an identity by execve(2) of a file; EPERM.

    `shares`: another process shares root and current directory with it, and so gets no new privileges.
    """
    gives_ids = not who.no_new_privs
    euid = file.uid if gives_ids and file.uid is not None else who.euid
    egid = file.gid if gives_ids and file.gid is not None else who.egid
    permitted, effective = _from_file(who, file.capabilities)
    has_capabilities = file.capabilities is not None
    permitted, effective = _from_root(who, euid, has_capabilities, permitted, effective)
    changes = euid != who.euid or egid not in (who.fsgid, *who.groups)
    if (changes or permitted & ~who.permitted) and (who.no_new_privs or shares):
        if not who.has(CAP_SETUID) or who.no_new_privs:
            euid, egid = who.uid, who.gid
        permitted &= who.permitted
    ambient = 0 if has_capabilities or changes else who.ambient
    permitted |= ambient
    identity = replace(
        who,
        euid=euid, suid=euid, fsuid=euid, egid=egid, sgid=egid, fsgid=egid,
        permitted=permitted,
        effective=permitted if effective else ambient,
        ambient=ambient,
        securebits=who.securebits & ~SECBIT_KEEP_CAPS,
    )  # fmt: skip
    differs = (euid, egid) != (who.uid, who.gid)
    secure = changes or differs or (who.uid != 0 and (effective or bool(permitted & ~ambient)))
    return Executed(identity, secure, differs or identity.closes_memory(who))


def _from_file(who: Identity, file: FileCapabilities | None) -> tuple[int, bool]:
    """What is permitted by the capabilities of a file, and whether they become effective."""
    if file is None:
        return 0, False
    permitted = who.bounding & file.permitted | who.inheritable & file.inheritable
    if file.effective and file.permitted & ~permitted:
        raise refused()
    return permitted, file.effective


def _from_root(
    who: Identity, euid: int, has_capabilities: bool, permitted: int, effective: bool
) -> tuple[int, bool]:
    """The same with what root has besides, unless it is an ordinary user for the kernel."""
    if who.securebits & SECBIT_NOROOT or (has_capabilities and who.uid != 0 and euid == 0):
        return permitted, effective
    if 0 in (euid, who.uid):
        permitted = who.bounding | who.inheritable
    return permitted, effective or euid == 0
