"""Ways: calls that are no socket's, and lead round a network.

Who must not get round a network (`guards`) is refused them, as Linux refuses those who may not do that.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from diorama.catalogue.identity import RequestKey, Seccomp
from diorama.catalogue.rings import IoUringEnter, IoUringRegister, IoUringSetup
from diorama.catalogue.system import Bpf
from diorama.dispatch.network.answers import Outcome, answers, fail
from diorama.errors import Unsupported

if TYPE_CHECKING:
    from diorama.catalogue.model import Request
    from diorama.dispatch.network.state import Networks

__all__ = ["HAS_LISTENER", "OF_GUARDS"]

HAS_LISTENER: Final = 8
"""SECCOMP_FILTER_FLAG_NEW_LISTENER."""
OF_GUARDS: Final = frozenset[type["Request"]]({Bpf, IoUringEnter, IoUringRegister, Seccomp})
"""Calls that concern only who must not get round its network."""


@answers(IoUringSetup)
def make_ring(networks: Networks, call: IoUringSetup) -> Outcome:
    """A ring connects and sends without a system call; programs fall back when there is none."""
    if networks.task(call.tracee).stacks.is_plain:
        return None
    raise Unsupported(call.NAME, "not supported on a network of the view", errno.ENOSYS)


@answers(IoUringEnter, IoUringRegister)
def use_ring(networks: Networks, call: Request) -> Outcome:
    """One that a program has from outside is none of the view's."""
    if networks.guards(call.tracee):
        raise fail(errno.ENOSYS)
    return None


@answers(RequestKey)
def ask_for_key(networks: Networks, call: RequestKey) -> Outcome:
    """The kernel may have a program of the host's ask DNS or a server for a key: not from here (ENOKEY)."""
    if call.info is not None and networks.guards(call.tracee):
        raise fail(errno.ENOKEY)
    return None


@answers(Bpf)
def load_program(networks: Networks, call: Bpf) -> Outcome:
    """Programs in the kernel see and send what they like: EPERM, as for who is not privileged."""
    if networks.guards(call.tracee):
        raise fail(errno.EPERM)
    return None


@answers(Seccomp)
def filter_calls(networks: Networks, call: Seccomp) -> Outcome:
    """A listener of the program's own is asked before us, and what it lets go on is not seen here: EBUSY.

    As where there is a listener already.
    """
    if call.flags & HAS_LISTENER and networks.guards(call.tracee):
        raise fail(errno.EBUSY)
    return None
