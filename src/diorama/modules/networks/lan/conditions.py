"""Conditions: what a packet between two hosts of a LAN suffers, and the packet filters that make it so.

Of latency, jitter, bandwidth and loss, what was said of two hosts counts, else what was said of one of them
(the worse, if of both), else what was said of all. A host hears itself always, and at once.

Who is cut off from whom, and which datagrams are lost, is decided in the kernel: by a classic BPF program
(socket(7), SO_ATTACH_FILTER; the kernel's Documentation/networking/filter.rst) that drops packets by the host
in their source address, on every socket that may hear them; for TCP see `silence`.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from diorama.modules.networks.lan.wire import Impairment, State

__all__ = [
    "GATEWAY",
    "GATEWAY_NAME",
    "Conditions",
    "attach",
    "conditions_between",
    "make_filter",
    "make_probe", "make_program",
    "name_of",
    "silent_hosts",
]

GATEWAY: Final = 254
"""The host number of the gateway, which is the keeper."""
GATEWAY_NAME: Final = "gateway"


@dataclass(frozen=True, slots=True)
class Conditions:
    """Between two hosts: seconds there and back, seconds, bytes a second (None: any), a share of 1."""

    latency: float = 0.0
    jitter: float = 0.0
    bandwidth: float | None = None
    loss: float = 0.0
    is_cut: bool = False
    is_captured: bool = False

    @property
    def has_relay(self) -> bool:
        """Whether connections go through the keeper, which delays, slows or writes down what passes."""
        return bool(self.latency or self.jitter or self.bandwidth or self.is_captured)


def name_of(state: State, number: int) -> str:
    """The name of a host, or of the gateway; empty for a number that nobody has."""
    names = (host.name for host in state.hosts if host.host == number)
    return GATEWAY_NAME if number == GATEWAY else next(names, "")


def conditions_between(state: State, one: str, other: str) -> Conditions:
    """Between two hosts, by their names."""
    if one == other:
        return Conditions()
    bandwidth = _said(state.impairments, one, other, "bandwidth", min)
    return Conditions(
        latency=_said(state.impairments, one, other, "latency", max) or 0.0,
        jitter=_said(state.impairments, one, other, "jitter", max) or 0.0,
        bandwidth=bandwidth or None,
        loss=_said(state.impairments, one, other, "loss", max) or 0.0,
        is_cut=_is_cut(state, one, other),
        is_captured=bool(state.pcap),
    )


def _said(
    said: Mapping[str, Impairment], one: str, other: str, what: str, worse: Callable[[list[float]], float]
) -> float | None:
    of_both = _value(said, "|".join(sorted((one, other))), what)
    if of_both is not None:
        return of_both
    found = [value for value in (_value(said, one, what), _value(said, other, what)) if value is not None]
    return worse(found) if found else _value(said, "", what)


def _value(said: Mapping[str, Impairment], key: str, what: str) -> float | None:
    impairment = said.get(key)
    value: float | None = None if impairment is None else getattr(impairment, what)
    return value


def _is_cut(state: State, one: str, other: str) -> bool:
    silent = {*state.paused, *state.down}
    if one in silent or other in silent:
        return True
    if {("", one), ("", other), (min(one, other), max(one, other))} & {*state.cuts}:
        return True
    sides = [index for index, group in enumerate(state.groups) if one in group]
    others = [index for index, group in enumerate(state.groups) if other in group]
    return bool(sides and others) and sides != others


# -- packet filters: struct sock_filter of <linux/filter.h> ------------------------------------------------

_LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_LOAD_HALF: Final = 0x28  # BPF_LD | BPF_H | BPF_ABS
_LOAD_BYTE: Final = 0x30  # BPF_LD | BPF_B | BPF_ABS
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_GREATER_EQUAL: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_NETWORK: Final = -0x100000  # SKF_NET_OFF: offsets in the IP header
_RANDOM: Final = -0x1000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
_UDP: Final = 17
_UDP_HEAD: Final = 8
_ALL: Final = 0xFFFFFFFF
_SO_ATTACH_FILTER: Final = 26


def _instruction(code: int, value: int, if_so: int = 0, if_not: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_so, if_not, value & _ALL)


_DROP: Final = _instruction(_RETURN, 0)
_PASS: Final = _instruction(_RETURN, _ALL)


def attach(at: socket.socket, program: bytes) -> None:
    """Let a socket hear only what a program passes."""
    room = ctypes.create_string_buffer(program, len(program))
    packed = struct.pack("HL", len(program) // len(_DROP), ctypes.addressof(room))
    at.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, packed)


def make_probe(number: int) -> bytes:
    """The program that leaves one byte of a datagram that does not really come from a LAN's address."""
    return b"".join((
        _instruction(_LOAD_HALF, _NETWORK + 12),
        _instruction(_JUMP_EQUAL, 127 << 8 | number, if_not=1),
        _PASS,
        _instruction(_RETURN, _UDP_HEAD + 1),
    ))


def make_program(number: int, dropped: Iterable[int], lossy: Mapping[int, float]) -> bytes:
    """The program that drops what comes from outside of a LAN or from some hosts, and of others a share.

    All of a LAN have IPv4 source addresses 127.NUMBER.HOST.x.  The share is one of datagrams.
    """
    gone = sorted(set(dropped))
    losing = {host: share for host, share in sorted(lossy.items()) if share > 0 and host not in gone}
    program = [
        _instruction(_LOAD_HALF, _NETWORK + 12),
        _instruction(_JUMP_EQUAL, 127 << 8 | number, 1, 0),
        _DROP,
        _instruction(_LOAD_BYTE, _NETWORK + 14),
    ]
    for host in gone:
        program += [_instruction(_JUMP_EQUAL, host, 0, 1), _DROP]
    for host, share in losing.items():
        program += [
            _instruction(_JUMP_EQUAL, host, 0, 6),
            _instruction(_LOAD_BYTE, _NETWORK + 9),
            _instruction(_JUMP_EQUAL, _UDP, 0, 3),
            _instruction(_LOAD_WORD, _RANDOM),
            _instruction(_JUMP_GREATER_EQUAL, min(_ALL, int(share * (1 << 32))), 1, 0),
            _DROP,
            _PASS,
        ]
    return b"".join([*program, _PASS])


def silent_hosts(state: State, name: str) -> frozenset[int]:
    """The hosts that one does not hear now."""
    others = {GATEWAY: GATEWAY_NAME, **{host.host: host.name for host in state.hosts if host.name != name}}
    return frozenset(host for host, other in others.items() if _is_cut(state, name, other))


def make_filter(state: State, name: str) -> bytes:
    """The program for the sockets of a host but those of TCP."""
    others = {GATEWAY: GATEWAY_NAME, **{host.host: host.name for host in state.hosts if host.name != name}}
    found = {host: conditions_between(state, name, other) for host, other in others.items()}
    return make_program(
        state.number,
        [host for host, between in found.items() if between.is_cut],
        {host: between.loss for host, between in found.items()},
    )
