"""Filter: the seccomp program that decides which calls of a program stop.

The program is classic BPF over `struct seccomp_data` (seccomp(2)). It looks at the architecture, then finds
the range of call numbers by binary search, then the answer of that range. Its invariants:

* A number that nobody wants is allowed without a look at an argument. Since Linux 5.11 the kernel runs a new
  filter once for each number and keeps those in a bitmap, so an allowed call does not run it at all.
* A number may be wanted only with certain arguments (`only_if`); those in memory cannot be looked at.
* Some calls never stop: `restart_syscall` and the returns from signal handlers, with which the kernel goes on
  with what was decided before; a `ppoll` on our tag, in which a new task waits for its guardian; and -1, to
  which a tracer sets the number of a call that is to be skipped.
* Some calls always stop. `clone` with CLONE_UNTRACED and `clone3`, whose flags are in memory, could make a
  task that has this filter but no tracer. Its first wanted call would fail with ENOSYS.
* What has no entry in a table here does not run: foreign architectures and the x32 ABI answer ENOSYS.

With `notify` a wanted call notifies instead of stopping. No child can get away from a listener, so `clone`
needs no care, and nobody is parked; but a call whose sixth argument is the tag passes: it is the
supervisor's own, made by a program that is being started, or by a promoted thread (`native/promote.c`). The
tag is random, and different for each program, so a program cannot guess it.

A conditional jump reaches 255 instructions; beyond that it jumps over an unconditional one.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.abi.process import CLONE_UNTRACED
from diorama.engine._native import TEST_BITS, TEST_NE, TEST_NO_BITS, TEST_OUTSIDE, TEST_WITHIN

if TYPE_CHECKING:
    from diorama.engine.rules import Test

__all__ = ["Everything", "compile_filter"]

RET_ALLOW = 0x7FFF0000
RET_TRACE = 0x7FF00000
RET_USER_NOTIF = 0x7FC00000
RET_ENOSYS = 0x00050000 | errno.ENOSYS

LOAD = 0x20
JUMP = 0x05
JUMP_EQUAL = 0x15
JUMP_GREATER_EQUAL = 0x35
JUMP_SET = 0x45
RETURN = 0x06
AND = 0x54

_NUMBER, _ARCH, _ARG0_LOW, _ARG0_HIGH = 0, 4, 16, 20
_ARG5_LOW, _ARG5_HIGH = 56, 60
_REACH = 255
_X32 = 0x40000000
_SKIPPED = 0xFFFFFFFF

_NEVER = ("restart_syscall", "rt_sigreturn", "sigreturn")
_PARKING = ("ppoll", "ppoll_time64")


class Everything:
    """Asks for a stop at each call that may stop."""


class Instruction(NamedTuple):
    """One `struct sock_filter`."""

    code: int
    if_true: int
    if_false: int
    operand: int


Program: TypeAlias = list[Instruction]
Alternatives: TypeAlias = "tuple[tuple[Test, ...], ...]"
Tests: TypeAlias = Mapping[int, Alternatives]

_ALLOW = [Instruction(RETURN, 0, 0, RET_ALLOW)]
_TRACE = [Instruction(RETURN, 0, 0, RET_TRACE)]
_ENOSYS = [Instruction(RETURN, 0, 0, RET_ENOSYS)]
# Replaced by a jump to what stands once at the end: for each range of wanted numbers it would be too long.
_TO_THE_END = [Instruction(JUMP, 0, 0, 0)]


def compile_filter(
    wanted: Mapping[Abi, Iterable[int]] | Everything,
    *,
    tag: int,
    abis: tuple[Abi, ...] | None = None,
    notify: bool = False,
    only_if: Mapping[Abi, Mapping[int, Alternatives]] | None = None,
) -> bytes:
    """The program, as an array of `struct sock_filter`, that stops (or notifies) at the wanted numbers.

    `tag` is the first argument of a `ppoll` that does not stop, or with `notify` the sixth argument of any
    call that does not; `abis` are those that the kernel may present, by default this machine's. `only_if`
    holds for some of the wanted numbers alternatives, each a tuple of tests of arguments that must all hold.
    """
    program = _ENOSYS
    for abi in reversed(abis or Abi.native()):
        numbers = None if isinstance(wanted, Everything) else frozenset(wanted.get(abi, ()))
        tests = (only_if or {}).get(abi, {})
        body = _notifying_body(abi, numbers, tag, tests) if notify else _body(abi, numbers, tag, tests)
        program = _branch(JUMP_EQUAL, abi.audit, body, program)
    program = [Instruction(LOAD, 0, 0, _ARCH), *program]
    return b"".join([struct.pack("=HBBI", *instruction) for instruction in program])


def _branch(code: int, operand: int, taken: Program, otherwise: Program) -> Program:
    """A conditional jump, what follows when it is not taken, and what follows when it is."""
    if len(otherwise) <= _REACH:
        return [Instruction(code, len(otherwise), 0, operand), *otherwise, *taken]
    far = Instruction(JUMP, 0, 0, len(otherwise))
    return [Instruction(code, 0, 1, operand), far, *otherwise, *taken]


def _body(abi: Abi, wanted: frozenset[int] | None, tag: int, tests: Tests) -> Program:
    """What decides for one ABI; all numbers are wanted if `wanted` is None."""
    return _table(abi, wanted, _TRACE, {**_tested(abi, tests, _TRACE), **_special(abi, wanted, tag)})


def _notifying_body(abi: Abi, wanted: frozenset[int] | None, tag: int, tests: Tests) -> Program:
    """As `_body`, for a filter that notifies."""
    numbers = NUMBERS[abi.title]
    never = {numbers[name]: _ALLOW for name in _NEVER if name in numbers}
    table = _table(abi, wanted, _TO_THE_END, {**_tested(abi, tests, _TO_THE_END), **never})
    far = _TO_THE_END[0]
    if not any(instruction is far for instruction in table):
        return table
    jumps = [
        instruction._replace(operand=len(table) - at - 1) if instruction is far else instruction
        for at, instruction in enumerate(table)
    ]
    return [*jumps, *_notify(tag if abi.word == 8 else tag & 0xFFFFFFFF)]


def _tested(abi: Abi, tests: Tests, taken: Program) -> dict[int, Program]:
    """Numbers that are wanted with certain arguments only."""
    programs: dict[int, Program] = {}
    for number, alternatives in tests.items():
        program = _ALLOW
        for alternative in reversed(alternatives):
            program = _all_hold(abi, alternative, taken, program)
        programs[number] = program
    return programs


def _all_hold(abi: Abi, tests: tuple[Test, ...], taken: Program, otherwise: Program) -> Program:
    for test in reversed(tests):
        taken = _holds(abi, test, taken, otherwise)
    return taken


def _holds(abi: Abi, test: Test, taken: Program, otherwise: Program) -> Program:
    """Compare an argument, the low half first."""
    low, high = test.value & 0xFFFFFFFF, test.value >> 32 & 0xFFFFFFFF
    at = _ARG0_LOW + 8 * test.arg
    if test.op == TEST_OUTSIDE:
        return _outside(at, low, taken, otherwise)
    if test.op == TEST_WITHIN:
        return _within(at, low, taken, otherwise)
    if test.width == 32 or abi.word == 4:
        return _half(at, test.op, low, taken, otherwise)
    if test.op == TEST_NE:
        return _half(at, test.op, low, taken, _half(at + 4, test.op, high, taken, otherwise))
    return _half(at, test.op, low, _half(at + 4, test.op, high, taken, otherwise), otherwise)


def _outside(at: int, bounds: int, taken: Program, otherwise: Program) -> Program:
    """Compare with two bounds, of 16 bits each; what is negative is not outside."""
    below = _branch(JUMP_GREATER_EQUAL, bounds & 0xFFFF, otherwise, taken)
    within = _branch(JUMP_GREATER_EQUAL, bounds >> 16, taken, below)
    return [Instruction(LOAD, 0, 0, at), *_branch(JUMP_GREATER_EQUAL, 1 << 31, otherwise, within)]


def _within(at: int, bounds: int, taken: Program, otherwise: Program) -> Program:
    """Compare with two bounds, of 16 bits each."""
    above = _branch(JUMP_GREATER_EQUAL, bounds >> 16, otherwise, taken)
    return [Instruction(LOAD, 0, 0, at), *_branch(JUMP_GREATER_EQUAL, bounds & 0xFFFF, above, otherwise)]


def _half(at: int, op: int, value: int, taken: Program, otherwise: Program) -> Program:
    load = Instruction(LOAD, 0, 0, at)
    if op == TEST_NO_BITS:
        return [load, *_branch(JUMP_SET, value, otherwise, taken)]
    if op == TEST_BITS:
        return [load, Instruction(AND, 0, 0, value), *_branch(JUMP_EQUAL, value, taken, otherwise)]
    if op == TEST_NE:
        taken, otherwise = otherwise, taken
    return [load, *_branch(JUMP_EQUAL, value, taken, otherwise)]


def _table(abi: Abi, wanted: frozenset[int] | None, taken: Program, special: dict[int, Program]) -> Program:
    default = taken if wanted is None else _ALLOW
    answers = {**dict.fromkeys(wanted or (), taken), **special}
    starts: list[tuple[int, Program]] = [(0, default)]
    for number in sorted(answers):
        _begin(starts, number, answers[number])
        _begin(starts, number + 1, default)
    if abi is Abi.X86_64:
        _begin(starts, _X32, _ENOSYS)
    _begin(starts, _SKIPPED, _ALLOW)
    return [Instruction(LOAD, 0, 0, _NUMBER), *_search(starts)]


def _notify(tag: int) -> Program:
    """Notify unless the sixth argument is the tag."""
    notify = [Instruction(RETURN, 0, 0, RET_USER_NOTIF)]
    high = Instruction(LOAD, 0, 0, _ARG5_HIGH)
    low = Instruction(LOAD, 0, 0, _ARG5_LOW)
    both = [high, *_branch(JUMP_EQUAL, tag >> 32, _ALLOW, notify)]
    return [low, *_branch(JUMP_EQUAL, tag & 0xFFFFFFFF, both, notify)]


def _special(abi: Abi, wanted: frozenset[int] | None, tag: int) -> dict[int, Program]:
    """The numbers that are not answered as they are asked for."""
    numbers = NUMBERS[abi.title]
    special = {numbers[name]: _ALLOW for name in _NEVER if name in numbers}
    special[numbers["clone3"]] = _TRACE
    if wanted is not None and numbers["clone"] not in wanted:
        flags = Instruction(LOAD, 0, 0, _ARG0_LOW)
        special[numbers["clone"]] = [flags, *_branch(JUMP_SET, CLONE_UNTRACED, _TRACE, _ALLOW)]
    for name in _PARKING:
        number = numbers.get(name)
        if number is not None and (wanted is None or number in wanted):
            special[number] = _unless_tagged(tag)
    return special


def _unless_tagged(tag: int) -> Program:
    """Stop unless the first argument is the tag."""
    high = Instruction(LOAD, 0, 0, _ARG0_HIGH)
    low = Instruction(LOAD, 0, 0, _ARG0_LOW)
    both = [high, *_branch(JUMP_EQUAL, tag >> 32, _ALLOW, _TRACE)]
    return [low, *_branch(JUMP_EQUAL, tag & 0xFFFFFFFF, both, _TRACE)]


def _begin(starts: list[tuple[int, Program]], number: int, answer: Program) -> None:
    """Let a range begin, unless it only goes on with the one before."""
    if starts[-1][0] == number:
        starts.pop()
    if not starts or starts[-1][1] is not answer:
        starts.append((number, answer))


def _search(starts: list[tuple[int, Program]]) -> Program:
    """Binary search for the range that the loaded number is in."""
    if len(starts) == 1:
        return starts[0][1]
    middle = len(starts) // 2
    return _branch(JUMP_GREATER_EQUAL, starts[middle][0], _search(starts[middle:]), _search(starts[:middle]))
