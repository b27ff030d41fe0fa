"""Credentials: who a task is to the files of a synthetic file system, and what that lets it do.

On the host the kernel checks permissions.  What exists only in the view is checked here, by the rules of
credentials(7), capabilities(7) and path_resolution(7), with the identity of the task that asks.

The task's are its file system ids, supplementary groups and effective capabilities.  Capabilities that it
has in a user namespace of its own are not counted: they are about files of users who are mapped into it.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, replace
from typing import Final

from diorama.abi.fcntl import R_OK, W_OK, X_OK
from diorama.view.acl import NOBODY, begin
from diorama.view.filesystem import Attributes

__all__ = [
    "CAP_CHOWN",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_MKNOD",
    "CAP_SETFCAP",
    "CAP_SYS_ADMIN",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "Credentials",
]

CAP_CHOWN: Final = 0
CAP_DAC_OVERRIDE: Final = 1
CAP_DAC_READ_SEARCH: Final = 2
CAP_FOWNER: Final = 3
CAP_FSETID: Final = 4
CAP_SYS_CHROOT: Final = 18
CAP_SYS_PTRACE: Final = 19
CAP_SYS_PACCT: Final = 20
CAP_SYS_ADMIN: Final = 21
CAP_MKNOD: Final = 27
CAP_SETFCAP: Final = 31

_STATUS: Final = re.compile(
    rb"\nUmask:\t(\d+)\n(?s:.*?)\nUid:\t(\d+)\t\d+\t\d+\t(\d+)\nGid:\t(\d+)\t\d+\t\d+\t(\d+)\n"
    rb"(?s:.*?)\nGroups:\t([\d ]*)\n(?s:.*?)\nCapPrm:\t(\w+)\nCapEff:\t(\w+)\n"
)
"""What counts in a status, in the order that the kernel has had since it tells the umask."""
_MIGHTY: Final = sum(1 << one for one in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID))


@dataclass(frozen=True, slots=True)
class Credentials:
    """The identity that counts for files.

    `uid` and `gid` are the file system ids, `capabilities` the effective ones as a bit mask, `permitted`
    those that access(2) counts for a real user 0; `umask` are the bits that new files do not get.
    """

    uid: int
    gid: int
    groups: frozenset[int] = frozenset()
    capabilities: int = 0
    real_uid: int = 0
    real_gid: int = 0
    permitted: int = 0
    umask: int = 0o022

    @classmethod
    def parse(cls, status: bytes) -> Credentials:
        """From /proc/PID/status, proc(5)."""
        found = _STATUS.search(status)
        if found is not None:
            umask, real_uid, uid, real_gid, gid, groups, permitted, effective = found.groups()
            numbers = int(uid), int(gid), frozenset(map(int, groups.split())), int(effective, 16)
            return cls(*numbers, int(real_uid), int(real_gid), int(permitted, 16), int(umask, 8))
        parts = [line.partition(b":") for line in status.split(b"\n")]
        lines = {name: value for name, _, value in parts}
        real_uid, _, _, uid = map(int, lines[b"Uid"].split())
        real_gid, _, _, gid = map(int, lines[b"Gid"].split())
        return cls(
            uid=uid,
            gid=gid,
            groups=frozenset(map(int, lines[b"Groups"].split())),
            capabilities=int(lines[b"CapEff"], 16),
            real_uid=real_uid,
            real_gid=real_gid,
            permitted=int(lines[b"CapPrm"], 16),
            umask=int(lines.get(b"Umask", b"0022"), 8),
        )

    def real(self) -> Credentials:
        """Those of the real user, by which access(2) decides."""
        capabilities = self.capabilities if self.real_uid == self.uid else 0
        if self.real_uid == 0:
            capabilities = self.permitted
        return replace(self, uid=self.real_uid, gid=self.real_gid, capabilities=capabilities)

    def has(self, capability: int) -> bool:
        """Whether it has a capability (capabilities(7))."""
        return bool(self.capabilities >> capability & 1)

    @property
    def is_mighty(self) -> bool:
        """Whether no owner and no mode keeps it from anything but to execute what nobody may execute."""
        return not _MIGHTY & ~self.capabilities and self.real_uid == self.uid

    def is_in_group(self, gid: int) -> bool:
        """Whether a group is one of its."""
        return gid == self.gid or gid in self.groups

    def owns(self, attributes: Attributes) -> bool:
        """Whether it may do what only the owner may."""
        return attributes.unchecked or attributes.uid == self.uid or self.has(CAP_FOWNER)

    def permits(self, attributes: Attributes, wanted: int) -> bool:
        """Whether it may do what the R_OK, W_OK, X_OK bits say."""
        if attributes.unchecked:
            return not (wanted & X_OK and stat.S_ISREG(attributes.mode)) or bool(attributes.mode & 0o111)
        wanted &= R_OK | W_OK | X_OK
        if self._is_granted(attributes, wanted):
            return True
        if not self.capabilities:
            return False
        is_directory = stat.S_ISDIR(attributes.mode)
        reads_only = not wanted & W_OK if is_directory else wanted == R_OK
        if reads_only and self.has(CAP_DAC_READ_SEARCH):
            return True
        can_run = is_directory or not wanted & X_OK or attributes.mode & 0o111
        return bool(can_run) and self.has(CAP_DAC_OVERRIDE)

    def _is_granted(self, attributes: Attributes, wanted: int) -> bool:
        """Whether mode or access control list grant it."""
        if attributes.uid == self.uid:
            return not wanted & ~(attributes.mode >> 6)
        if attributes.acl is not None and attributes.mode & stat.S_IRWXG:
            group = attributes.gid
            return attributes.acl.permits(
                wanted, self.uid, lambda id: self.is_in_group(group if id == NOBODY else id)
            )
        granted = attributes.mode >> 3 if self.is_in_group(attributes.gid) else attributes.mode
        return not wanted & ~granted

    def may_replace(self, directory: Attributes, victim: Attributes) -> bool:
        """Whether the sticky bit of a directory lets it remove or rename what is there."""
        if not directory.mode & stat.S_ISVTX or self.uid in (victim.uid, directory.uid):
            return True
        if directory.unchecked:
            return True
        return self.has(CAP_FOWNER)

    def keeps_group_bit(self, gid: int) -> bool:
        """Whether a file of this group keeps the set-group-ID bit that it is given."""
        return self.is_in_group(gid) or self.has(CAP_FSETID)

    def make(self, mode: int, directory: Attributes) -> tuple[int, int, int]:
        """Mode, owner and group of what is made with this mode (and type) in a directory; inode(7)."""
        if directory.default_acl is not None and not stat.S_ISLNK(mode):
            mode = begin(directory.default_acl, mode)[0]
        elif not stat.S_ISLNK(mode):
            mode &= ~self.umask
        if not directory.mode & stat.S_ISGID:
            return mode, self.uid, self.gid
        if stat.S_ISDIR(mode):
            return mode | stat.S_ISGID, self.uid, directory.gid
        both = stat.S_ISGID | stat.S_IXGRP
        if mode & both == both and not self.keeps_group_bit(directory.gid):
            mode &= ~stat.S_ISGID
        return mode, self.uid, directory.gid

    def drops(self, attributes: Attributes) -> int:
        """Which of the set-user-ID and set-group-ID bits a file loses when it is written or given away.

        Writing and truncating by one with CAP_FSETID leaves them: that is for the caller to ask.
        """
        if stat.S_ISDIR(attributes.mode):
            return 0
        lost = attributes.mode & stat.S_ISUID
        if attributes.mode & stat.S_ISGID and (
            attributes.mode & stat.S_IXGRP or not self.keeps_group_bit(attributes.gid)
        ):
            lost |= stat.S_ISGID
        return lost
