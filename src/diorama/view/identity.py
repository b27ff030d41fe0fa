"""Identity: who a task is, and what becomes of that when it asks for another user or group.

The rules are those of credentials(7), setuid(2) and its kin, and of "effect of user ID changes on
capabilities" in capabilities(7), in the order in which the kernel applies them.  An identity is a value: a
change gives another one or `OSError`, and a task that is cloned has what its parent had at that moment.
As in the kernel it belongs to a thread; that all threads of a process change together is the C library's
work. `diorama.view.capabilities` has what is asked about capabilities, and what executing a file makes of an
identity.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from typing import Final

from diorama.abi.capability import (
    ALL_CAPABILITIES,
    CAP_KILL,
    CAP_SETGID,
    CAP_SETUID,
    CAP_SYS_NICE,
    CAP_SYS_PTRACE,
    CAP_SYS_RESOURCE,
    FILE_CAPABILITIES,
    NGROUPS_MAX,
    SECBIT_KEEP_CAPS,
    SECBIT_NO_SETUID_FIXUP,
)

__all__ = ["KEEP", "Identity", "Mapping", "refused"]

KEEP: Final = -1
"""The id -1, which leaves one as it is."""

_ROOT: Final = 0


def refused(code: int = errno.EPERM) -> OSError:
    """The error that Linux gives."""
    return OSError(code, os.strerror(code))


@dataclass(frozen=True, slots=True)
class Identity:
    """Users, groups and capability sets of a task; `groups` are the supplementary ones, sorted.

    Capability sets are bit masks.  `fsuid` and `fsgid` count for files.
    """

    uid: int
    euid: int
    suid: int
    fsuid: int
    gid: int
    egid: int
    sgid: int
    fsgid: int
    groups: tuple[int, ...] = ()
    permitted: int = 0
    effective: int = 0
    inheritable: int = 0
    bounding: int = ALL_CAPABILITIES
    ambient: int = 0
    securebits: int = 0
    no_new_privs: bool = False

    @classmethod
    def of(cls, uid: int, gid: int, groups: tuple[int, ...] = ()) -> Identity:
        """Who logs in as this user: with all capabilities if it is root, else with none."""
        capabilities = ALL_CAPABILITIES if uid == _ROOT else 0
        return cls(
            uid, uid, uid, uid, gid, gid, gid, gid, tuple(sorted(groups)),
            permitted=capabilities, effective=capabilities,
        )  # fmt: skip

    def has(self, capability: int) -> bool:
        """Whether a capability is effective."""
        return bool(self.effective >> capability & 1)

    def is_in_group(self, gid: int) -> bool:
        """Whether a group counts for it where effective ids do."""
        return gid == self.egid or gid in self.groups

    # -- users --------------------------------------------------------------------------------

    def setuid(self, uid: int) -> Identity:
        """Another user, all three ids of it if who asks may be anybody; EPERM."""
        _check(uid)
        if self.has(CAP_SETUID):
            return self._users(uid, uid, uid)
        if uid not in (self.uid, self.suid):
            raise refused()
        return self._users(self.uid, uid, self.suid)

    def setreuid(self, uid: int, euid: int) -> Identity:
        """Another real and effective user; EPERM."""
        may = self.has(CAP_SETUID)
        if uid != KEEP and not (may or uid in (self.uid, self.euid)):
            raise refused()
        if euid != KEEP and not (may or euid in (self.uid, self.euid, self.suid)):
            raise refused()
        effective = _choose(euid, self.euid)
        saved = effective if uid != KEEP or euid not in (KEEP, self.uid) else self.suid
        return self._users(_choose(uid, self.uid), effective, saved)

    def setresuid(self, uid: int, euid: int, suid: int) -> Identity:
        """Another real, effective and saved user; EPERM."""
        if uid in (KEEP, self.uid) and suid in (KEEP, self.suid) and _is_kept(euid, self.euid, self.fsuid):
            return self
        wanted = {uid, euid, suid} - {KEEP, self.uid, self.euid, self.suid}
        if wanted and not self.has(CAP_SETUID):
            raise refused()
        return self._users(_choose(uid, self.uid), _choose(euid, self.euid), _choose(suid, self.suid))

    def setfsuid(self, uid: int) -> Identity:
        """Another user for files, if that is allowed."""
        mine = (self.uid, self.euid, self.suid, self.fsuid)
        if uid == KEEP or not (uid in mine or self.has(CAP_SETUID)):
            return self
        effective = self.effective
        if not self.securebits & SECBIT_NO_SETUID_FIXUP:
            if self.fsuid == _ROOT != uid:
                effective &= ~FILE_CAPABILITIES
            elif uid == _ROOT != self.fsuid:
                effective |= self.permitted & FILE_CAPABILITIES
        return replace(self, fsuid=uid, effective=effective)

    def _users(self, uid: int, euid: int, suid: int) -> Identity:
        """With other users; the file system's follows the effective one, and capabilities follow root."""
        changed = replace(self, uid=uid, euid=euid, suid=suid, fsuid=euid)
        if self.securebits & SECBIT_NO_SETUID_FIXUP:
            return changed
        permitted, effective, ambient = self.permitted, self.effective, self.ambient
        if _ROOT in (self.uid, self.euid, self.suid) and _ROOT not in (uid, euid, suid):
            ambient = 0
            if not self.securebits & SECBIT_KEEP_CAPS:
                permitted = effective = 0
        if self.euid == _ROOT != euid:
            effective = 0
        elif euid == _ROOT != self.euid:
            effective = permitted
        return replace(changed, permitted=permitted, effective=effective, ambient=ambient)

    # -- groups -------------------------------------------------------------------------------

    def setgid(self, gid: int) -> Identity:
        """Another group, all three ids of it if who asks may be in any; EPERM."""
        _check(gid)
        if self.has(CAP_SETGID):
            return self._groups(gid, gid, gid)
        if gid not in (self.gid, self.sgid):
            raise refused()
        return self._groups(self.gid, gid, self.sgid)

    def setregid(self, gid: int, egid: int) -> Identity:
        """Another real and effective group; EPERM."""
        may = self.has(CAP_SETGID)
        if gid != KEEP and not (may or gid in (self.gid, self.egid)):
            raise refused()
        if egid != KEEP and not (may or egid in (self.gid, self.egid, self.sgid)):
            raise refused()
        effective = _choose(egid, self.egid)
        saved = effective if gid != KEEP or egid not in (KEEP, self.gid) else self.sgid
        return self._groups(_choose(gid, self.gid), effective, saved)

    def setresgid(self, gid: int, egid: int, sgid: int) -> Identity:
        """Another real, effective and saved group; EPERM."""
        if gid in (KEEP, self.gid) and sgid in (KEEP, self.sgid) and _is_kept(egid, self.egid, self.fsgid):
            return self
        wanted = {gid, egid, sgid} - {KEEP, self.gid, self.egid, self.sgid}
        if wanted and not self.has(CAP_SETGID):
            raise refused()
        return self._groups(_choose(gid, self.gid), _choose(egid, self.egid), _choose(sgid, self.sgid))

    def setfsgid(self, gid: int) -> Identity:
        """Another group for files, if that is allowed."""
        mine = (self.gid, self.egid, self.sgid, self.fsgid)
        if gid == KEEP or not (gid in mine or self.has(CAP_SETGID)):
            return self
        return replace(self, fsgid=gid)

    def may_setgroups(self, count: int) -> None:
        """What setgroups(2) checks before it reads the groups."""
        if not self.has(CAP_SETGID):
            raise refused()
        if not 0 <= count <= NGROUPS_MAX:
            raise refused(errno.EINVAL)

    def setgroups(self, groups: tuple[int, ...]) -> Identity:
        """Other supplementary groups; EPERM, EINVAL."""
        self.may_setgroups(len(groups))
        if KEEP in groups:
            raise refused(errno.EINVAL)
        return replace(self, groups=tuple(sorted(groups)))

    def _groups(self, gid: int, egid: int, sgid: int) -> Identity:
        return replace(self, gid=gid, egid=egid, sgid=sgid, fsgid=egid)

    # -- others -------------------------------------------------------------------------------

    def may_signal(self, other: Identity) -> bool:
        """Whether it may send signals to another, kill(2); SIGCONT in a session besides."""
        return bool({self.euid, self.uid} & {other.suid, other.uid}) or self.has(CAP_KILL)

    def may_trace(self, other: Identity, *, files: bool = False) -> bool:
        """Whether it may trace or look into another, ptrace(2); by its ids for `files` in /proc."""
        uid, gid, capabilities = self.uid, self.gid, self.permitted
        if files:
            uid, gid, capabilities = self.fsuid, self.fsgid, self.effective
        if self.has(CAP_SYS_PTRACE):
            return True
        same = {other.uid, other.euid, other.suid} == {uid} and {other.gid, other.egid, other.sgid} == {gid}
        return same and not other.permitted & ~capabilities

    def may_schedule(self, other: Identity) -> bool:
        """Whether it may say when and where another runs, sched_setaffinity(2)."""
        return self.euid in (other.euid, other.uid) or self.has(CAP_SYS_NICE)

    def may_limit(self, other: Identity) -> bool:
        """Whether it may see and set limits of another, prlimit(2)."""
        same = {other.uid, other.euid, other.suid} == {self.uid}
        return (same and {other.gid, other.egid, other.sgid} == {self.gid}) or self.has(CAP_SYS_RESOURCE)

    def closes_memory(self, before: Identity) -> bool:
        """Whether changing from `before` to this makes a process undumpable (PR_SET_DUMPABLE, prctl(2))."""
        ids = self.euid, self.egid, self.fsuid, self.fsgid
        old = before.euid, before.egid, before.fsuid, before.fsgid
        return ids != old or bool(self.permitted & ~before.permitted)


@dataclass(frozen=True, slots=True)
class Mapping:
    """How ids of the host are shown: the supervisor's own as those of the user that was chosen.

    A supervisor that is root is shown as what it is: then all ids are those of the host.
    """

    host_uid: int
    host_gid: int
    uid: int
    gid: int

    @property
    def changes(self) -> bool:
        """Whether anything is shown as another."""
        return (self.host_uid, self.host_gid) != (self.uid, self.gid)

    def user(self, uid: int) -> int:
        """What a user of the host is in the view."""
        return self.uid if uid == self.host_uid else uid

    def group(self, gid: int) -> int:
        """What a group of the host is in the view."""
        return self.gid if gid == self.host_gid else gid

    def host_user(self, uid: int) -> int:
        """Who a user of the view is on the host, as far as the supervisor may name one."""
        return self.host_uid if uid == self.uid else uid

    def host_group(self, gid: int) -> int:
        """Which group of the host a group of the view is, as far as the supervisor may name one."""
        return self.host_gid if gid == self.gid else gid


def _check(id: int) -> None:
    if id == KEEP:
        raise refused(errno.EINVAL)


def _choose(asked: int, now: int) -> int:
    return now if asked == KEEP else asked


def _is_kept(asked: int, effective: int, filesystem: int) -> bool:
    return asked == KEEP or asked == effective == filesystem
