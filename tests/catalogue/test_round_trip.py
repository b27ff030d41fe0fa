"""Decoding and encoding again: any arguments, given to every spelling."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogue.fakes import FakeMemory, FakeTracee, all_spellings
from diorama import catalogue
from diorama.abi.arch import Abi
from diorama.catalogue import formatter
from diorama.catalogue.forms import Args, Spelling
from diorama.catalogue.model import Request

MARK = 0x20_0000

pointer = st.integers(MARK, MARK + 0x1000)
word = st.integers(0, 40) | pointer | st.integers(0, 2**32 - 1) | st.integers(0, 2**64 - 1)
arguments = st.tuples(word, word, word, word, word, word)
noises = st.binary(max_size=32)
every_abi = pytest.mark.parametrize("abi", [Abi.X86_64, Abi.I386, Abi.AARCH64])
common = settings(max_examples=25, deadline=None)


def requests(abi: Abi, args: Args, noise: bytes) -> Iterator[tuple[Spelling, Args, Request, FakeMemory]]:
    """What these arguments mean to every spelling that can decode them."""
    for spelling in all_spellings(abi):
        tracee = FakeTracee(abi, {MARK: noise * 8})
        given_args = tuple(value % 256**abi.word for value in args)
        if spelling.selector is not None:
            given_args = (spelling.selector, *given_args[1:])
        try:
            request = catalogue.spellings(abi)[spelling.number].decode(given_args, tracee)
        except OSError as error:
            if error.errno not in (errno.EFAULT, errno.ENAMETOOLONG):
                raise
            continue
        assert spelling.is_multiplexed or type(request) is spelling.request
        assert request.spelling is not None
        yield request.spelling, given_args, request, tracee.memory


def content(value: Any) -> Any:
    """What a field holds, whichever address it is at."""
    if not hasattr(value, "record"):
        return value
    try:
        return value.read() if value else None
    except OSError:
        return value


@every_abi
@common
@given(arguments, noises)
def test_an_unchanged_request_is_the_same_call(abi: Abi, args: Args, noise: bytes) -> None:
    for spelling, given_args, request, memory in requests(abi, args, noise):
        assert request.encode(abi, memory) == (spelling.number, given_args), spelling
        assert request.replace() == request


@every_abi
@common
@given(arguments, noises)
def test_a_request_made_anew_means_the_same(abi: Abi, args: Args, noise: bytes) -> None:
    for spelling, _, request, memory in requests(abi, args, noise):
        anew = request.replace(**{name: getattr(request, name) for name in request.FIELDS})
        try:
            number, new_args = anew.encode(abi, memory)
        except OSError as error:
            # There is no other spelling, or one with a structure to be converted that cannot be read.
            if spelling.is_direct or error.errno not in (errno.ENOSYS, errno.EFAULT):
                raise
            continue
        assert number == spelling.number or not spelling.is_direct
        tracee = FakeTracee(abi)
        tracee.memory = memory
        again = catalogue.spellings(abi)[number].decode(new_args, tracee)
        for name in request.FIELDS:
            assert content(getattr(again, name)) == content(getattr(request, name)), (spelling, name)


@every_abi
@common
@given(arguments, noises, st.none() | st.integers(-4095, 4096))
def test_anything_can_be_shown(abi: Abi, args: Args, noise: bytes, result: int | None) -> None:
    for spelling, _, request, _ in requests(abi, args, noise):
        text = formatter.call_text(request, result)
        assert text.endswith(")"), spelling
        assert "\n" not in text
        json.dumps(formatter.fields(request, result))
