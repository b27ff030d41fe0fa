"""Addresses: what sockets are bound and connected to, and what they are told of it.

Addresses of AF_UNIX in the file tree are not of a network. Abstract names (unix(7)) lead out of the view, for
whose network hides them, unless a program of the view has bound them.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from diorama.abi.socket import AF_INET, AF_UNSPEC, SocketAddress, UnixAddress, parse_address
from diorama.catalogue.model import Request
from diorama.catalogue.sockets import Bind, Connect, GetPeerName, GetSockName, Listen
from diorama.dispatch.network.answers import Outcome, answers, fail
from diorama.dispatch.network.guarding import connect_here

if TYPE_CHECKING:
    from diorama.dispatch.network.state import Networks

__all__ = ["check_abstract", "read_address"]

_ADDRESS_MAX = 128


@answers(Bind)
def bind(networks: Networks, call: Bind) -> Outcome:
    """Of AF_UNIX: remember abstract names."""
    with networks.lent(call) as lent:
        if lent is None:
            return _bind_elsewhere(networks, call)
        lent.endpoint.bind(lent.at, read_address(call.address.address, call.address_size, call))
    return 0


def _bind_elsewhere(networks: Networks, call: Bind) -> Outcome:
    address = parse_address(call.address.read()) if 2 < call.address_size <= _ADDRESS_MAX else None
    if isinstance(address, UnixAddress) and address.path[:1] == b"\0":
        networks.abstract.add(address.path)
    return None


@answers(Connect)
def connect(networks: Networks, call: Connect) -> Outcome:
    """By the kernel, to the address that the stack gives for the program's."""
    with networks.lent(call) as lent:
        if lent is None:
            check_abstract(networks, call, call.address.address, call.address_size)
            return None
        packed = lent.endpoint.connect(lent.at, read_address(call.address.address, call.address_size, call))
        if packed is not None and lent.endpoint.guarded:
            return connect_here(lent, packed)
    return 0 if packed is None else call.replace(address=packed, address_size=len(packed))


@answers(Listen)
def listen(networks: Networks, call: Listen) -> Outcome:
    """By the stack."""
    with networks.lent(call) as lent:
        if lent is None:
            return None
        lent.endpoint.listen(lent.at, call.backlog)
    return 0


@answers(GetSockName, GetPeerName)
def tell_name(networks: Networks, call: GetSockName | GetPeerName) -> Outcome:
    """By the stack."""
    with networks.lent(call) as lent:
        if lent is None:
            return None
        tell = lent.endpoint.name if isinstance(call, GetSockName) else lent.endpoint.peer
        address = tell(lent.at)
    if call.address.read_size() >= 1 << 31:
        raise fail(errno.EINVAL)
    if not call.address:
        raise fail(errno.EFAULT)
    call.address.write(address.pack())
    return 0


def read_address(at: int, size: int, call: Request) -> SocketAddress:
    """An address that a program gives; EINVAL for a size that no address has, EFAULT."""
    if not 0 <= size <= _ADDRESS_MAX:
        raise fail(errno.EINVAL)
    data = call.tracee.memory.read(at, size) if size else b""
    if len(data) < size:
        raise fail(errno.EFAULT)
    return parse_address(data)


def check_abstract(networks: Networks, call: Request, at: int, size: int) -> None:
    """Whether an address that the kernel is to use leads round the network of a program.

    Abstract names (ECONNREFUSED), servers that know names (ECONNREFUSED), and, with a descriptor that is no
    socket of that family, another family (EINVAL).
    """
    stacks = networks.task(call.tracee).stacks
    if stacks.guards:
        networks.check_socket(call)
    network = stacks.find(AF_INET)
    if not at or not 2 <= size <= _ADDRESS_MAX or not stacks:
        return
    address = read_address(at, size, call)
    if not isinstance(address, UnixAddress):
        family = int.from_bytes(address.pack()[:2], "little")
        if family != AF_UNSPEC and getattr(stacks.find(family), "guards", False):
            raise fail(errno.EINVAL)
        return
    if network is None:
        return
    is_abstract = address.path[:1] == b"\0"
    if network.hides_abstract and is_abstract and address.path not in networks.abstract:
        raise fail(errno.ECONNREFUSED)
    if network.hidden_sockets and not is_abstract and _is_hidden(network, call, address.path):
        raise fail(errno.ECONNREFUSED)


def _is_hidden(network: Any, call: Request, path: bytes) -> bool:
    start = "root" if path.startswith(b"/") else "cwd"
    try:
        found = os.stat(os.fsencode(f"/proc/{call.tracee.tid}/{start}/") + path)
    except OSError:
        return False
    return any(_is_same(found, hidden) for hidden in network.hidden_sockets)


def _is_same(found: os.stat_result, path: str) -> bool:
    try:
        return os.path.samestat(found, os.stat(path))
    except OSError:
        return False
