"""Roster: which hosts a LAN has: their numbers, names and addresses."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface, ip_network
from typing import Final

from diorama.errors import UsageError
from diorama.modules.networks.lan.conditions import GATEWAY, GATEWAY_NAME
from diorama.modules.networks.lan.wire import Hello, HostRecord, State

__all__ = ["admit", "check_subnets", "gateway_record", "new_state"]

_SMALLEST6: Final = 120


def _subnet(text: str, version: int) -> IPv4Network | IPv6Network:
    try:
        found = ip_network(text)
    except ValueError as error:
        raise UsageError(f"{error}") from None
    if found.version != version or found.num_addresses < 4:
        raise UsageError(f"{text} is no IPv{version} subnet for hosts and a gateway")
    if isinstance(found, IPv6Network) and found.prefixlen > _SMALLEST6:
        raise UsageError(f"{text} has less than 256 addresses")
    if found.is_loopback or found.is_multicast:
        raise UsageError(f"{text} is no subnet of a network")
    return found


def gateway_record(state: State) -> HostRecord:
    """The gateway: the last address of the subnet but the one for all hosts; in IPv6 the 254th."""
    subnet, subnet6 = ip_network(state.subnet), ip_network(state.subnet6)
    return HostRecord(GATEWAY, GATEWAY_NAME, str(subnet[-2]), str(subnet6[GATEWAY]))


def new_state(lan: str, number: int, hello: Hello) -> State:
    """A LAN without hosts, with the subnets that its first host wishes for or is in; `UsageError`."""
    subnet = hello.subnet or _around(hello.address, 24) or f"10.{number}.0.0/24"
    subnet6 = hello.subnet6 or _around(hello.address6, 64) or f"fd00:{number:x}::/64"
    return State(
        lan=lan,
        number=number,
        subnet=str(_subnet(subnet, 4)),
        subnet6=str(_subnet(subnet6, 6)),
    )


def _around(address: str, length: int) -> str | None:
    """The subnet of an address, of this length unless it tells its own."""
    if not address:
        return None
    try:
        return str(ip_interface(address if "/" in address else f"{address}/{length}").network)
    except ValueError as error:
        raise UsageError(f"{error}") from None


def check_subnets(state: State, hello: Hello) -> None:
    """Who joins a LAN wishes for the subnets that it has, or for none; `UsageError`."""
    for wish, version, has in ((hello.subnet, 4, state.subnet), (hello.subnet6, 6, state.subnet6)):
        if wish and str(_subnet(wish, version)) != has:
            raise UsageError(f"it has the subnet {has} already, not {wish}")


def admit(state: State, hello: Hello) -> HostRecord:
    """The host that somebody becomes; `UsageError` for a name or an address that is taken, or cannot be."""
    number = _free_number(state)
    name = hello.host or _free_name(state, number)
    for host in state.hosts:
        if host.name == name:
            raise UsageError(f"a host is called {name} already, that of process {host.pid}")
    if name == GATEWAY_NAME:
        raise UsageError(f"{name} is what the gateway is called")
    subnet, subnet6 = IPv4Network(state.subnet), IPv6Network(state.subnet6)
    return HostRecord(
        number,
        name,
        _wanted(state, hello.address, subnet) or _free(state, subnet, number),
        _wanted(state, hello.address6, subnet6) or _free(state, subnet6, number),
        hello.pid,
    )


def _free_number(state: State) -> int:
    taken = {host.host for host in state.hosts}
    free = next((number for number in range(1, GATEWAY) if number not in taken), None)
    if free is None:
        raise UsageError(f"it has {GATEWAY - 1} hosts, and cannot have more")
    return free


def _free_name(state: State, number: int) -> str:
    taken = {host.name for host in state.hosts}
    numbers = (number, *range(1, GATEWAY + 1))
    return next(name for name in map("host{}".format, numbers) if name not in taken)


def _taken(state: State) -> dict[str, str]:
    gateway = gateway_record(state)
    taken = {gateway.address: "the gateway", gateway.address6: "the gateway"}
    for host in state.hosts:
        taken |= {host.address: host.name, host.address6: host.name}
    return taken


def _wanted(state: State, text: str, subnet: IPv4Network | IPv6Network) -> str:
    """An address that was given, in its one spelling; empty if none was."""
    if not text:
        return ""
    plain, _, prefix = text.partition("/")
    try:
        address = ip_address(plain)
    except ValueError as error:
        raise UsageError(f"{error}") from None
    if address not in subnet or (prefix and prefix != str(subnet.prefixlen)):
        raise UsageError(f"{text} is not an address of its subnet, {subnet}")
    if address == subnet[0] or (subnet.version == 4 and address == subnet[-1]):
        raise UsageError(f"{text} is not an address of a host")
    taken = _taken(state)
    if str(address) in taken:
        raise UsageError(f"{text} is the address of {taken[str(address)]} already")
    return str(address)


def _free(state: State, subnet: IPv4Network | IPv6Network, number: int) -> str:
    """The address with the host's number if that can be had, else the first that nobody has."""
    taken = _taken(state)
    found = next((str(one) for one in _candidates(subnet, number) if str(one) not in taken), None)
    if found is None:
        raise UsageError(f"its subnet {subnet} has no address left")
    return found


def _candidates(subnet: IPv4Network | IPv6Network, number: int) -> Iterator[IPv4Address | IPv6Address]:
    last = subnet.num_addresses - (2 if subnet.version == 4 else 1)
    for index in (number, *range(1, min(last, 1000) + 1)):
        if 1 <= index <= last:
            yield subnet[index]
