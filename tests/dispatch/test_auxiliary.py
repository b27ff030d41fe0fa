"""The auxiliary vector as the kernel writes it, of programs of either word size."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diorama.dispatch.auxiliary import Vector

ENTRIES = [(33, 0xF7FFC000), (6, 4096), (11, 1000), (8, 0)]


@pytest.mark.parametrize("word", "QI")
def test_words_of_either_size(word: str) -> None:
    data = b"".join(struct.pack(f"<2{word}", *entry) for entry in [*ENTRIES, (0, 0), (0, 0)])
    vector = Vector.parse(data)
    assert vector is not None
    assert (vector.entries, vector.word) == (ENTRIES, word)
    assert vector.find(11) == 1000
    assert vector.find(12) is None


def test_our_own() -> None:
    vector = Vector.parse(Path("/proc/self/auxv").read_bytes())
    assert vector is not None
    assert vector.find(6) == 4096 or (vector.find(6) or 0) > 4096
    assert vector.find(16) is not None


@given(st.binary(max_size=64))
def test_what_is_none(data: bytes) -> None:
    vector = Vector.parse(data)
    assert vector is None or all(0 < kind <= 0xFFFF for kind, _ in vector.entries)


def test_one_without_an_end() -> None:
    assert Vector.parse(struct.pack("<2Q", 6, 4096)) is None
