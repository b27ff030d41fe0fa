"""Options: what else a socket is asked and told."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from diorama.abi.socket import AF_INET
from diorama.catalogue.io import Ioctl
from diorama.catalogue.sockets import GetSockOpt, SetSockOpt, Shutdown
from diorama.dispatch.network.answers import Outcome, answers, fail

if TYPE_CHECKING:
    from diorama.dispatch.network.state import Networks

__all__ = ["SIOC_END", "SIOC_FIRST", "TUNSETIFF"]

_VALUE_MAX: Final = 1 << 16
SIOC_FIRST: Final = 0x8900
SIOC_END: Final = 0x8C00
TUNSETIFF: Final = 0x400454CA
_ROUTES: Final = (0x890B, 0x890C)
_DEVICES: Final = 0x8910
_UNIX_FILE: Final = 0x89E0
_PRIVATE: Final = 0x89F0


@answers(GetSockOpt)
def get_option(networks: Networks, call: GetSockOpt) -> Outcome:
    """By the stack, or else the kernel."""
    endpoint = networks.endpoint(call)
    if endpoint is None:
        return None
    size = call.value.read_size()
    if size >= 1 << 31:
        raise fail(errno.EINVAL)
    with networks.lent(call) as lent:
        value = None if lent is None else endpoint.get_option(lent.at, call.level, call.option, size)
    if value is None:
        return None
    call.value.write(value)
    return 0


@answers(SetSockOpt)
def set_option(networks: Networks, call: SetSockOpt) -> Outcome:
    """By the stack, and if that is not all, the kernel."""
    with networks.lent(call) as lent:
        if lent is None:
            return None
        if not 0 <= call.size <= _VALUE_MAX:
            raise fail(errno.EINVAL)
        value = call.tracee.memory.read(call.value.address, call.size) if call.size else b""
        done = lent.endpoint.set_option(lent.at, call.level, call.option, value)
    return 0 if done else None


@answers(Shutdown)
def shut_down(networks: Networks, call: Shutdown) -> Outcome:
    """By the stack, and if that is not all, the kernel."""
    with networks.lent(call) as lent:
        done = lent is not None and lent.endpoint.shutdown(lent.at, call.how)
    return 0 if done else None


@answers(Ioctl)
def control(networks: Networks, call: Ioctl) -> Outcome:
    """By the stack, or else the kernel: what is asked of sockets (netdevice(7))."""
    if call.command == TUNSETIFF:
        if networks.guards(call.tracee):
            raise fail(errno.EPERM)
        return None
    if not SIOC_FIRST <= call.command < SIOC_END:
        return None
    with networks.lent(call) as lent:
        if lent is not None:
            done = lent.endpoint.control(lent.at, call.command, call.argument, call.tracee.memory)
            if done is not None:
                return done
    network, family = networks.network(call.tracee, AF_INET), networks.family(call)
    if network is None or family is None:
        return None
    answer: int | None = network.control(family, call.command, call.argument, call.tracee)
    if answer is None and networks.guards(call.tracee):
        _check_device(networks, call)
    return answer


def _check_device(networks: Networks, call: Ioctl) -> None:
    """Interfaces can be asked for and changed with a socket of any family: EPERM."""
    networks.check_socket(call)
    is_of_device = _DEVICES <= call.command < _UNIX_FILE or call.command >= _PRIVATE
    if is_of_device or call.command in _ROUTES:
        raise fail(errno.EPERM)
