"""Handles: memory that is read and written when somebody asks."""

from __future__ import annotations

import pytest

from catalogue.fakes import FakeMemory, decoded, words
from diorama.abi.arch import Abi
from diorama.abi.io import EpollEvent, IoVec
from diorama.catalogue.handles import Array, Buffer, IoVecs, Strings

P, Q = 0x3000, 0x4000


def test_a_buffer_takes_what_fits() -> None:
    memory = FakeMemory()
    buffer = Buffer(P, 4, memory)
    assert buffer.write(b"abcdef") == 4
    assert buffer.read() == b"abcd"
    assert buffer.read(2) == b"ab"
    assert Buffer(0, 0, memory).read() == b""
    with pytest.raises(OSError, match="Bad address"):
        Buffer(0, 4, memory).read()
    with pytest.raises(OSError, match="Bad address"):
        Buffer(P, 4).write(b"x")


def test_a_short_read_is_a_bad_address() -> None:
    class Short(FakeMemory):
        def read(self, address: int, size: int) -> bytes:
            return b"ab"[:size]

    with pytest.raises(OSError, match="Bad address"):
        Buffer(P, 4, Short()).read()


def test_arrays_are_written_in_the_layout_of_the_abi() -> None:
    for abi, size in ((Abi.X86_64, 12), (Abi.I386, 12), (Abi.AARCH64, 16)):
        memory = FakeMemory()
        array = Array(P, 2, EpollEvent, abi, "", memory)
        events = [EpollEvent(1, 2**40), EpollEvent(4, 7), EpollEvent(8, 9)]
        array.write_all(events)
        assert array.read_all() == events[:2]
        assert len(memory.cells) == 2 * size


def test_pieces_of_memory_are_one_buffer() -> None:
    memory = FakeMemory({P: words(Q, 2, Q + 16, 0, Q + 32, 3, word=8)})
    pieces = IoVecs(P, 3, IoVec, Abi.X86_64, "", memory)
    assert pieces.scatter(b"abcdefgh") == 5
    assert pieces.gather() == b"abcde"
    assert pieces.gather(3) == b"abc"


def test_strings_end_at_null() -> None:
    memory = FakeMemory({P: words(Q, Q + 2, 0, Q), Q: b"a\0bc\0"})
    assert Strings(P, Abi.I386, memory).read() == [b"a", b"bc"]
    assert Strings(P, Abi.I386, memory).read(1) == [b"a"]
    assert Strings(0, Abi.I386, memory).read() == []
    many = FakeMemory({P: words(*[Q] * 1000, 0, word=8), Q: b"x\0"})
    assert len(Strings(P, Abi.X86_64, many).pointers()) == 1000


def test_an_address_is_cut_to_the_room_and_tells_its_true_size() -> None:
    call = decoded("getsockname", 3, P, Q, contents={Q: words(4)})
    call.address.write(b"\1\0/run/x\0")
    assert call.memory.read(P, 6) == b"\1\0/r\0\0"
    assert call.address.read_size() == 9
    nobody = decoded("accept4", 3, 0, 0, 0)
    nobody.address.write(b"\1\0")


def test_an_option_is_cut_to_the_room() -> None:
    call = decoded("getsockopt", 3, 1, 4, P, Q, contents={Q: words(2)})
    call.value.write(words(5))
    assert (call.value.read(), call.value.read_size()) == (b"\5\0", 2)


def test_handles_compare_by_where_they_point() -> None:
    assert Buffer(P, 4) == Buffer(P, 4, FakeMemory())
    assert Buffer(P, 4) != Buffer(P, 5)
    assert len({Buffer(P, 4), Buffer(P, 4)}) == 1
    assert repr(Buffer(P, 4)) == "Buffer(12288, 4)"
    assert not Buffer(0, 4)
