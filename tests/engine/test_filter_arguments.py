"""The filter by arguments, run by the interpreter of the filter's own tests, against what each test says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.engine import _native
from diorama.engine.filter import RET_ALLOW, RET_TRACE, compile_filter
from diorama.engine.rules import Test as ArgumentTest
from engine.simulation import X86, run

TAG = 0x5EED_0000_1234_5678

WORDS = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from([0, 1, 2**32 - 1, 2**32, 2**63, 5, 4, 3 | 512 << 16, 512, 511, 3, 2]),
)
TESTS = st.builds(
    ArgumentTest, st.integers(0, 5), WORDS, st.sampled_from([32, 64]), st.sampled_from(range(6))
)


def is_outside(have: int, want: int) -> bool:
    low, high = want & 0xFFFF, want >> 16 & 0xFFFF
    return have < 2**31 and (have < low or have >= high)


def is_within(have: int, want: int) -> bool:
    return want & 0xFFFF <= have < want >> 16 & 0xFFFF


def holds(test: ArgumentTest, args: list[int], abi: Abi) -> bool:
    mask = 2**32 - 1 if test.width == 32 or abi.word == 4 else 2**64 - 1
    have, want = args[test.arg] & mask, test.value & mask
    return {
        _native.TEST_EQ: have == want,
        _native.TEST_NE: have != want,
        _native.TEST_BITS: have & want == want,
        _native.TEST_NO_BITS: have & want == 0,
        _native.TEST_OUTSIDE: is_outside(have & 2**32 - 1, want),
        _native.TEST_WITHIN: is_within(have & 2**32 - 1, want),
    }[test.op]


@given(
    st.sampled_from(X86),
    st.lists(st.lists(TESTS, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple),
    st.lists(WORDS, min_size=6, max_size=6),
    st.booleans(),
)
def test_a_call_stops_if_all_tests_of_an_alternative_hold(
    abi: Abi, alternatives: tuple[tuple[ArgumentTest, ...], ...], args: list[int], aimed: bool
) -> None:
    if aimed:
        for test in alternatives[0]:
            args[test.arg] = test.value
    if abi.word == 4:
        args = [word & 2**32 - 1 for word in args]
    number = NUMBERS[abi.title]["write"]
    program = compile_filter({abi: [number]}, tag=TAG, abis=X86, only_if={abi: {number: alternatives}})
    wanted = any(all(holds(test, args, abi) for test in each) for each in alternatives)
    assert run(program, abi.audit, number, tuple(args))[0] == (RET_TRACE if wanted else RET_ALLOW)


@pytest.mark.parametrize("abi", X86, ids=lambda abi: abi.title)
def test_a_number_without_tests_always_stops(abi: Abi) -> None:
    number = NUMBERS[abi.title]["read"]
    other = NUMBERS[abi.title]["write"]
    tests = {abi: {other: ((ArgumentTest(0, 1),),)}}
    program = compile_filter({abi: [number, other]}, tag=TAG, abis=X86, only_if=tests)
    assert run(program, abi.audit, number, (7,))[0] == RET_TRACE
    assert run(program, abi.audit, other, (7,))[0] == RET_ALLOW
