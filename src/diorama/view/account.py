"""Account: how a program of a view says as whom it wants to go on.

It sets the extended attribute `system.identity` of `/proc/self` to the numbers of a user and a group, and of
the supplementary groups, with blanks between them: `1000 1000 4 27`.
"""

from __future__ import annotations

from typing import Final

from diorama.abi.capability import NGROUPS_MAX
from diorama.view.identity import Identity

__all__ = ["ATTRIBUTE", "PATH", "parse_identity", "write_identity"]

ATTRIBUTE: Final = b"system.identity"
PATH: Final = "/proc/self"
_MOST: Final = 0xFFFFFFFE


def parse_identity(value: bytes) -> Identity:
    """Who logs in as that; `ValueError`."""
    uid, gid, *groups = [int(word) for word in value.split()]
    if len(groups) > NGROUPS_MAX or not all(0 <= id <= _MOST for id in (uid, gid, *groups)):
        raise ValueError(value)
    return Identity.of(uid, gid, tuple(groups))


def write_identity(identity: Identity) -> bytes:
    """The value that says so."""
    return b" ".join(b"%d" % id for id in (identity.uid, identity.gid, *identity.groups))
