"""Making: sockets that programs make, or get by accepting connections."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from diorama.abi.socket import SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_TYPE_MASK
from diorama.catalogue.sockets import Accept4, Socket
from diorama.dispatch.network.answers import Outcome, answers, fail
from diorama.engine.held import Descriptor

if TYPE_CHECKING:
    from diorama.dispatch.network.state import Networks

__all__: list[str] = []


@answers(Socket)
def make(networks: Networks, call: Socket) -> Outcome:
    """The stack makes it."""
    network = networks.network(call.tracee, call.family)
    if network is None:
        return None
    if call.type & ~(SOCK_TYPE_MASK | SOCK_NONBLOCK | SOCK_CLOEXEC):
        raise fail(errno.EINVAL)
    endpoint = network.make(call.family, call.type & SOCK_TYPE_MASK, call.protocol)
    with endpoint.open() as made:
        os.set_blocking(made.fileno(), not call.type & SOCK_NONBLOCK)
        networks.add(made, endpoint, network)
        return Descriptor(made.detach(), bool(call.type & SOCK_CLOEXEC))


@answers(Accept4)
def accept(networks: Networks, call: Accept4) -> Outcome:
    """The kernel accepts, in the program's own call; those that are not for it are closed.

    Our copy of the listener is closed before: who waits must not keep it open.
    """
    with networks.lent(call) as lent:
        if lent is None:
            return None
        endpoint, network = lent.endpoint, lent.network
        endpoint.accepting(lent.at)
    while True:
        fd = call.replace(address=0, address_size=0).run()
        networks.asks(call.tracee)  # the file tree has asked for it meanwhile
        with networks.copy_of(call.tracee, fd) as new:
            accepted = endpoint.accepted(new)
            if accepted is None:
                call.tracee.syscall.close(fd)
                continue
            networks.add(new, accepted, network)
            try:
                call.address.write(accepted.peer(new).pack())
            except OSError as error:
                if error.errno not in (errno.ENOTCONN, errno.EINVAL):
                    call.tracee.syscall.close(fd)
                    raise
            return fd
