"""The filter, simulated for every number: it stops what is wanted and nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.engine import _native
from diorama.engine.filter import CLONE_UNTRACED, EVERYTHING, RET_ALLOW, RET_ENOSYS, RET_TRACE, compile_filter

TAG = _native.PARK_TAG
PASSED = ("restart_syscall", "rt_sigreturn", "sigreturn")
PARKS = ("ppoll", "ppoll_time64")


def simulate(program: bytes, nr: int, arch: int, arg0: int = 0) -> int:
    """Run the program as the kernel would, with every access checked."""
    code = list(struct.iter_unpack("=HBBI", program))
    data = struct.pack("=IIQ6Q", nr & 0xFFFFFFFF, arch, 0, arg0, 0, 0, 0, 0, 0)
    at, word = 0, 0
    while True:
        op, jump_true, jump_false, k = code[at]
        at += 1
        if op == 0x20:
            word = struct.unpack_from("=I", data, k)[0]
        elif op == 0x06:
            return k
        elif op == 0x05:
            at += k
        else:
            holds = {0x15: word == k, 0x35: word >= k, 0x45: bool(word & k)}[op]
            at += jump_true if holds else jump_false


def expected(abi: Abi, nr: int, arg0: int, wanted: set[int] | None) -> int:
    names = {number: name for name, number in NUMBERS[abi.title].items()}
    name = names.get(nr, "")
    asked = wanted is None or nr in wanted
    if name in PASSED or (name in PARKS and arg0 == TAG):
        return RET_ALLOW
    if name == "clone3" or (name == "clone" and arg0 & CLONE_UNTRACED):
        return RET_TRACE
    return RET_TRACE if asked else RET_ALLOW


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(Abi.native()), st.sets(st.integers(0, 1023))))
def test_every_number_has_the_verdict_that_was_asked_for(wanted: dict[Abi, set[int]]) -> None:
    program = compile_filter(wanted, tag=TAG)
    for abi in Abi.native():
        for nr in range(1024):
            for arg0 in (0, TAG, TAG | 1 << 32, CLONE_UNTRACED):
                want = expected(abi, nr, arg0, wanted.get(abi, set()))
                assert simulate(program, nr, abi.audit, arg0) == want, (abi, nr, arg0)


def test_everything_is_stopped_but_for_what_belongs_to_calls_judged_before() -> None:
    program = compile_filter(EVERYTHING, tag=TAG)
    for abi in Abi.native():
        for nr in (*range(1024), 0x3FFFFFFF):
            for arg0 in (0, TAG, CLONE_UNTRACED):
                assert simulate(program, nr, abi.audit, arg0) == expected(abi, nr, arg0, None)


@pytest.mark.parametrize("wanted", [{}, EVERYTHING])
def test_what_cannot_be_watched_is_refused(wanted: object) -> None:
    program = compile_filter(wanted, tag=TAG)  # type: ignore[arg-type]
    assert simulate(program, 0, 0x12345) == RET_ENOSYS
    if Abi.native()[0] is Abi.X86_64:
        for nr in (0x40000000, 0x40000001, -1):
            assert simulate(program, nr, Abi.X86_64.audit) == RET_ENOSYS


def test_the_program_of_an_empty_view_is_short() -> None:
    assert len(compile_filter({}, tag=TAG)) // 8 < 50


def test_a_program_with_every_number_fits_the_kernel() -> None:
    every_other = {abi: range(0, 512, 2) for abi in Abi.native()}
    assert len(compile_filter(every_other, tag=TAG)) // 8 <= 4096
