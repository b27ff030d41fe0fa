"""The filter of a view that is notified: what notifies, and what passes by its tag."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.engine import filter as module
from diorama.engine.choice import make_tag
from diorama.engine.filter import RET_ALLOW, RET_ENOSYS, RET_USER_NOTIF, Everything, compile_filter
from engine.simulation import BPF_MAXINSNS, X86, interesting, run

TAG = 0x1EED_4321_1234_5000
LOW = TAG & 0xFFFFFFFF


def sixth(word: int) -> tuple[int, ...]:
    return 0, 0, 0, 0, 0, word


ARGUMENTS = [(), sixth(TAG), sixth(LOW), sixth(TAG ^ 1), sixth(TAG ^ 1 << 63), (TAG, TAG, TAG, TAG, TAG)]


def expected(abi: Abi, wanted: set[int] | None, number: int, args: tuple[int, ...]) -> int:
    """What the specification says."""
    never = {NUMBERS[abi.title].get(name) for name in ("restart_syscall", "rt_sigreturn", "sigreturn")}
    if number == 0xFFFFFFFF:
        return RET_ALLOW
    if abi is Abi.X86_64 and number >= 0x40000000:
        return RET_ENOSYS
    if number in never or (wanted is not None and number not in wanted):
        return RET_ALLOW
    is_tagged = args[5:] == ((TAG if abi.word == 8 else LOW),)
    return RET_ALLOW if is_tagged else RET_USER_NOTIF


def check(program: bytes, abi: Abi, wanted: set[int] | None) -> None:
    for number in interesting(abi):
        for args in ARGUMENTS:
            answer, _ = run(program, abi.audit, number, args)
            assert answer == expected(abi, wanted, number, args), (abi.title, number, args)


numbers_of_calls = st.sets(st.integers(0, 500), max_size=60) | st.sets(st.integers(0, 1023), max_size=400)


@settings(max_examples=15, deadline=None)
@given(numbers_of_calls, numbers_of_calls)
def test_every_number_is_answered_as_specified(wide: set[int], narrow: set[int]) -> None:
    program = compile_filter({Abi.X86_64: wide, Abi.I386: narrow}, tag=TAG, abis=X86, notify=True)
    check(program, Abi.X86_64, wide)
    check(program, Abi.I386, narrow)


@pytest.mark.parametrize("abi", list(Abi))
def test_everything_notifies_except_what_never_does(abi: Abi) -> None:
    check(compile_filter(Everything(), tag=TAG, abis=(abi,), notify=True), abi, None)


@pytest.mark.parametrize("abi", list(Abi))
def test_an_empty_view_notifies_of_nothing(abi: Abi) -> None:
    """No child can get away from a listener, so not even clones are looked at."""
    check(compile_filter({}, tag=TAG, abis=(abi,), notify=True), abi, set())


def test_a_wanted_call_passes_by_the_tag_in_its_sixth_argument_only() -> None:
    number = NUMBERS["x86-64"]["openat"]
    program = compile_filter({Abi.X86_64: [number]}, tag=TAG, abis=X86, notify=True)
    for place in range(6):
        args = tuple(TAG if place == at else 0 for at in range(6))
        answer = run(program, Abi.X86_64.audit, number, args)[0]
        assert answer == (RET_ALLOW if place == 5 else RET_USER_NOTIF)


def test_the_tag_of_a_32_bit_call_is_the_low_half() -> None:
    number = NUMBERS["i386"]["openat"]
    program = compile_filter({Abi.I386: [number], Abi.X86_64: [number]}, tag=TAG, abis=X86, notify=True)
    assert run(program, Abi.I386.audit, number, sixth(LOW))[0] == RET_ALLOW
    assert run(program, Abi.X86_64.audit, number, sixth(LOW))[0] == RET_USER_NOTIF


def test_foreign_architectures_do_not_run() -> None:
    program = compile_filter(Everything(), tag=TAG, abis=X86, notify=True)
    for arch in (0, Abi.AARCH64.audit, 0xFFFFFFFF):
        for args in ((), sixth(TAG)):
            assert run(program, arch, 0, args)[0] == RET_ENOSYS


def test_an_allowed_number_is_decided_without_its_arguments() -> None:
    program = compile_filter({Abi.X86_64: [257]}, tag=TAG, abis=X86, notify=True)
    loads = [word for code, _, _, word in struct.iter_unpack("=HBBI", program) if code == module.LOAD]
    assert sorted(word for word in loads if word > 4) == [56, 60]


def test_the_longest_program_fits() -> None:
    odd = range(1, 600, 2)
    program = compile_filter({Abi.X86_64: odd, Abi.I386: odd}, tag=TAG, abis=X86, notify=True)
    assert len(program) // 8 < BPF_MAXINSNS
    check(program, Abi.I386, set(odd))


def test_a_tag_cannot_be_guessed_and_is_one_that_mmap_takes() -> None:
    tags = {make_tag() for _ in range(100)}
    assert len(tags) == 100
    assert all(0 < tag < 1 << 63 and tag % 4096 == 0 for tag in tags)
    assert all(tag & 0xFFFFFFFF for tag in tags), "its low half must not be what any call may have there"
