"""Filter: the seccomp program that stops the calls a view wants, and no others.

A classic BPF program over `struct seccomp_data` (seccomp(2)): the ABI first, because numbers mean nothing
without it, then a binary search over ranges of numbers that share a verdict.  Whatever the subscriptions:

* a call through an ABI that we do not know, or through x32, is ENOSYS: it could not be watched;
* restart_syscall and sigreturn are let through, they belong to calls that were judged already;
* ppoll with the park tag is let through: a thread sleeps in it between two guardians;
* clone3, and clone with CLONE_UNTRACED, are stopped, lest a child escapes its guardian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS

__all__ = ["EVERYTHING", "Wanted", "compile_filter"]

Wanted = Mapping[Abi, Iterable[int]]

RET_ALLOW: Final = 0x7FFF0000
RET_TRACE: Final = 0x7FF00000
RET_ENOSYS: Final = 0x00050000 | 38
CLONE_UNTRACED: Final = 0x00800000

_LOAD, _JEQ, _JGE, _JSET, _JA, _RET = 0x20, 0x15, 0x35, 0x45, 0x05, 0x06
_NR, _ARCH, _ARG0 = 0, 4, 16
_X32_BIT = 0x40000000
_PASSED = ("restart_syscall", "rt_sigreturn", "sigreturn")
_PARKS = ("ppoll", "ppoll_time64")

Instruction = tuple[int, int, int, int]
_TRACE: Final[Instruction] = (_RET, 0, 0, RET_TRACE)
_ALLOW: Final[Instruction] = (_RET, 0, 0, RET_ALLOW)


class Everything:
    """All numbers of all ABIs, also those that the headers do not know."""


EVERYTHING: Final = Everything()


def compile_filter(wanted: Wanted | Everything, *, tag: int) -> bytes:
    """The program, as `struct sock_filter[]`; `tag` is the first argument of the parking ppoll."""
    code: list[Instruction] = [(_LOAD, 0, 0, _ARCH)]
    for abi in Abi.native():
        part = _abi_program(abi, wanted, tag)
        code += [(_JEQ, 1, 0, abi.audit), (_JA, 0, 0, len(part)), *part]
    code.append((_RET, 0, 0, RET_ENOSYS))
    return b"".join([struct.pack("=HBBI", *instruction) for instruction in code])


def _abi_program(abi: Abi, wanted: Wanted | Everything, tag: int) -> list[Instruction]:
    verdicts = _verdicts(abi, wanted, tag)
    default = [_TRACE] if isinstance(wanted, Everything) else [_ALLOW]
    ranges: list[tuple[int, list[Instruction]]] = [(0, verdicts.get(0, default))]
    for number in sorted({n + step for n in verdicts for step in (0, 1)} - {0}):
        verdict = verdicts.get(number, default)
        if verdict != ranges[-1][1]:
            ranges.append((number, verdict))
    code: list[Instruction] = [(_LOAD, 0, 0, _NR)]
    if abi is Abi.X86_64:
        code += [(_JSET, 0, 1, _X32_BIT), (_RET, 0, 0, RET_ENOSYS)]
    return code + _search(ranges)


def _verdicts(abi: Abi, wanted: Wanted | Everything, tag: int) -> dict[int, list[Instruction]]:
    numbers = NUMBERS[abi.title]
    asked: set[int] = set() if isinstance(wanted, Everything) else set(wanted.get(abi, ()))
    verdicts: dict[int, list[Instruction]] = {number: [_TRACE] for number in asked}
    everything = isinstance(wanted, Everything)
    for name in _PARKS:
        number = numbers.get(name)
        if number is not None and (everything or number in asked):
            verdicts[number] = _park(tag)
    if "clone3" in numbers:
        verdicts[numbers["clone3"]] = [_TRACE]
    if not everything and numbers["clone"] not in asked:
        verdicts[numbers["clone"]] = [(_LOAD, 0, 0, _ARG0), (_JSET, 0, 1, CLONE_UNTRACED), _TRACE, _ALLOW]
    for name in _PASSED:
        if name in numbers:
            verdicts[numbers[name]] = [_ALLOW]
    return verdicts


def _park(tag: int) -> list[Instruction]:
    low, high = (_LOAD, 0, 0, _ARG0), (_LOAD, 0, 0, _ARG0 + 4)
    return [low, (_JEQ, 0, 3, tag), high, (_JEQ, 0, 1, 0), _ALLOW, _TRACE]


def _search(ranges: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """A binary search; jumps are made with JA, whose offset has no limit of 255."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    low, high = _search(ranges[:middle]), _search(ranges[middle:])
    first = ranges[middle][0]
    if len(low) <= 255:
        return [(_JGE, len(low), 0, first), *low, *high]
    return [(_JGE, 0, 1, first), (_JA, 0, 0, len(low)), *low, *high]
