"""Capability: numbers of capabilities(7), their sets on files, and what capget(2) and prctl(2) are asked."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

__all__ = ["ALL_CAPABILITIES", "LAST_CAPABILITY", "NAMES", "FileCapabilities"]

NAMES: Final = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
)  # fmt: skip
"""In the order of their numbers, as getpcaps(8) shows them without `cap_`."""

LAST_CAPABILITY: Final = len(NAMES) - 1
ALL_CAPABILITIES: Final = (1 << len(NAMES)) - 1

CAP_CHOWN = 0
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_FOWNER = 3
CAP_FSETID = 4
CAP_KILL = 5
CAP_SETGID = 6
CAP_SETUID = 7
CAP_SETPCAP = 8
CAP_LINUX_IMMUTABLE = 9
CAP_NET_BIND_SERVICE = 10
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13
CAP_SYS_MODULE = 16
CAP_SYS_RAWIO = 17
CAP_SYS_CHROOT = 18
CAP_SYS_PTRACE = 19
CAP_SYS_PACCT = 20
CAP_SYS_ADMIN = 21
CAP_SYS_BOOT = 22
CAP_SYS_NICE = 23
CAP_SYS_RESOURCE = 24
CAP_SYS_TIME = 25
CAP_SYS_TTY_CONFIG = 26
CAP_MKNOD = 27
CAP_SETFCAP = 31
CAP_MAC_OVERRIDE = 32
CAP_SYSLOG = 34

FILE_CAPABILITIES: Final = sum(
    1 << one
    for one in (
        CAP_CHOWN, CAP_MKNOD, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID,
        CAP_LINUX_IMMUTABLE, CAP_MAC_OVERRIDE,
    )
)  # fmt: skip
"""Those that come and go with the file system user 0 (capabilities(7), "effect of user ID changes")."""

NGROUPS_MAX: Final = 65536

SECBIT_NOROOT = 1 << 0
SECBIT_NO_SETUID_FIXUP = 1 << 2
SECBIT_KEEP_CAPS = 1 << 4
SECBIT_KEEP_CAPS_LOCKED = 1 << 5
SECBIT_NO_CAP_AMBIENT_RAISE = 1 << 6

CAPABILITY_VERSION_1 = 0x19980330
CAPABILITY_VERSION_2 = 0x20071026
CAPABILITY_VERSION_3 = 0x20080522

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_GET_KEEPCAPS = 7
PR_SET_KEEPCAPS = 8
PR_SET_SECCOMP = 22
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_GET_SECUREBITS = 27
PR_SET_SECUREBITS = 28
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47

PR_CAP_AMBIENT_IS_SET = 1
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_LOWER = 3
PR_CAP_AMBIENT_CLEAR_ALL = 4

_REVISION_MASK: Final = 0xFF000000
_EFFECTIVE: Final = 1
_WORDS: Final = {0x01000000: (1, 12), 0x02000000: (2, 20), 0x03000000: (2, 24)}
"""By revision of `security.capability`: how many words a set has, and the size of the whole."""


class FileCapabilities(NamedTuple):
    """What the attribute `security.capability` of a file says."""

    permitted: int
    inheritable: int
    effective: bool

    @classmethod
    def parse(cls, data: bytes) -> FileCapabilities | None:
        """From the attribute; None for what is none, or is for the root of another user namespace."""
        if len(data) < 4:
            return None
        (magic,) = struct.unpack_from("<I", data)
        words, size = _WORDS.get(magic & _REVISION_MASK, (0, 0))
        if not words or len(data) != size:
            return None
        sets = struct.unpack_from(f"<{2 * words}I", data, 4)
        if size > 20 and struct.unpack_from("<I", data, 20)[0]:
            return None
        permitted = sum(word << 32 * at for at, word in enumerate(sets[0::2]))
        inheritable = sum(word << 32 * at for at, word in enumerate(sets[1::2]))
        return cls(permitted & ALL_CAPABILITIES, inheritable & ALL_CAPABILITIES, bool(magic & _EFFECTIVE))
