"""Becoming: another user by order of who uses the view, without any right to be it (`diorama su`).

Who sets the attribute `system.identity` of /proc/self to the numbers of a user, its group and its groups is
that user from then on, as after a login.  A view keeps nobody from anything that he could do outside, so
there is no password; but who has promised to gain no privileges has done so.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from diorama.catalogue.xattr import SetXattr
from diorama.dispatch.identity.answers import Outcome, answers, fail
from diorama.view.account import ATTRIBUTE, parse_identity

if TYPE_CHECKING:
    from diorama.dispatch.identity.state import Identities


@answers(SetXattr)
def become(identities: Identities, call: SetXattr) -> Outcome:
    """Somebody else; EPERM for who has set `no_new_privs`."""
    if call.name != ATTRIBUTE:
        return None
    if identities.of(call.tracee).no_new_privs:
        raise fail(errno.EPERM)
    try:
        identity = parse_identity(call.value.read())
    except ValueError:
        raise fail(errno.EINVAL) from None
    identities.change(call.tracee, identity)
    return 0
