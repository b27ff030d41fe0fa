"""The filter, run by an interpreter of classic BPF against its specification."""

from __future__ import annotations

import ctypes
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.abi.process import CLONE_UNTRACED
from diorama.engine import filter as module
from diorama.engine.filter import RET_ALLOW, RET_ENOSYS, RET_TRACE, Everything, compile_filter
from engine.simulation import BPF_MAXINSNS, X86, interesting, run

TAG = 0x5EED_0000_1234_5678
UNTRACED = (CLONE_UNTRACED | 17,)


def expected(abi: Abi, wanted: set[int] | None, number: int, args: tuple[int, ...], tag: int = TAG) -> int:
    """What the specification says."""
    numbers = NUMBERS[abi.title]
    if number == 0xFFFFFFFF:
        return RET_ALLOW
    if abi is Abi.X86_64 and number >= 0x40000000:
        return RET_ENOSYS
    if number in {numbers.get(name) for name in ("restart_syscall", "rt_sigreturn", "sigreturn")}:
        return RET_ALLOW
    if number in {numbers.get(name) for name in ("ppoll", "ppoll_time64")} and args[:1] == (tag,):
        return RET_ALLOW
    if number == numbers["clone3"] or wanted is None or number in wanted:
        return RET_TRACE
    if number == numbers["clone"] and args and args[0] & CLONE_UNTRACED:
        return RET_TRACE
    return RET_ALLOW


def check(program: bytes, abi: Abi, wanted: set[int] | None) -> None:
    for number in interesting(abi):
        for args in ((), (TAG,), (TAG & 0xFFFFFFFF,), (TAG ^ 1,), UNTRACED):
            answer, _ = run(program, abi.audit, number, args)
            assert answer == expected(abi, wanted, number, args), (abi.title, number, args)


numbers_of_calls = st.sets(st.integers(0, 500), max_size=60) | st.sets(st.integers(0, 1023), max_size=400)


@settings(max_examples=15, deadline=None)
@given(numbers_of_calls, numbers_of_calls)
def test_every_number_is_answered_as_specified(wide: set[int], narrow: set[int]) -> None:
    program = compile_filter({Abi.X86_64: wide, Abi.I386: narrow}, tag=TAG, abis=X86)
    check(program, Abi.X86_64, wide)
    check(program, Abi.I386, narrow)


@pytest.mark.parametrize("abi", list(Abi))
def test_everything_stops_except_what_never_does(abi: Abi) -> None:
    check(compile_filter(Everything(), tag=TAG, abis=(abi,)), abi, None)


@pytest.mark.parametrize("abi", list(Abi))
def test_an_empty_view_stops_only_at_clones_that_would_escape(abi: Abi) -> None:
    check(compile_filter({}, tag=TAG, abis=(abi,)), abi, set())


def test_a_jump_beyond_255_instructions_arrives() -> None:
    wanted = set(range(0, 1024, 2))
    program = compile_filter({Abi.X86_64: wanted, Abi.I386: wanted}, tag=TAG, abis=X86)
    assert len(program) // 8 > 4 * 255
    check(program, Abi.X86_64, wanted)
    check(program, Abi.I386, wanted)


def test_foreign_architectures_do_not_run() -> None:
    program = compile_filter(Everything(), tag=TAG, abis=X86)
    for arch in (0, Abi.AARCH64.audit, 0xFFFFFFFF):
        assert run(program, arch, 0)[0] == RET_ENOSYS


def test_the_program_of_an_empty_view_is_short() -> None:
    program = compile_filter({}, tag=TAG, abis=X86)
    assert len(program) // 8 <= 36
    for name in ("getppid", "clock_gettime", "read", "openat"):
        assert run(program, Abi.X86_64.audit, NUMBERS["x86-64"][name])[1] <= 7


def test_an_allowed_number_is_decided_without_its_arguments() -> None:
    """So that the kernel's bitmap of allowed calls takes it."""
    program = compile_filter({Abi.X86_64: [257]}, tag=TAG, abis=X86)
    instructions = struct.iter_unpack("=HBBI", program)
    loads = [operand for code, _, _, operand in instructions if code == module.LOAD and operand > 4]
    assert loads == [16, 16], "only the two checks of clone look at an argument"


def test_the_longest_program_fits() -> None:
    odd = range(1, 600, 2)
    assert len(compile_filter({Abi.X86_64: odd, Abi.I386: odd}, tag=TAG, abis=X86)) // 8 < BPF_MAXINSNS


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the kernel of another architecture")
def test_the_kernel_takes_the_program() -> None:
    """Checked in a child: a filter cannot be taken off again."""
    program = compile_filter({Abi.X86_64: {NUMBERS["x86-64"]["getppid"]}}, tag=TAG)
    child = os.fork()
    if child == 0:
        os._exit(_install_and_call(program))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def _install_and_call(program: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(program)
    header = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    if libc.prctl(38, 1, 0, 0, 0):
        return 2
    if libc.syscall(NUMBERS["x86-64"]["seccomp"], 1, 0, ctypes.c_char_p(header)):
        return 3
    os.getpid()
    # Without a tracer RET_TRACE answers ENOSYS, which shows that this call is wanted and others are not.
    return 0 if libc.syscall(NUMBERS["x86-64"]["getppid"]) == -1 and ctypes.get_errno() == 38 else 4
