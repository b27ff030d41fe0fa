"""Answers that come in pieces: they are put together, and what makes no sense is told."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diorama.fuse.assembly import Assembly
from diorama.fuse.connection import Connection, ProtocolError
from diorama.fuse.flags import Init
from diorama.fuse.handles import ReadIn
from diorama.fuse.wire import OutHeader

_ROOM = 1 << 17


def asked() -> tuple[Connection, int]:
    """A connection that waits for the answer to a READ."""
    connection = Connection(wants=Init(0))
    unique, _ = connection.request("READ", 1, ReadIn(), room=_ROOM)
    return connection, unique


def answer(unique: int, data: bytes) -> bytes:
    return OutHeader(OutHeader.width() + len(data), 0, unique).encode() + data


@given(st.binary(max_size=300), st.lists(st.integers(16, 316), max_size=5))
def test_an_answer_may_be_cut_anywhere_behind_its_header(data: bytes, cuts: list[int]) -> None:
    connection, unique = asked()
    message = answer(unique, data)
    at = sorted({0, len(message), *(cut for cut in cuts if cut < len(message))})
    assembly = Assembly(connection)
    got = [assembly.add(message[one:end]) for one, end in itertools.pairwise(at)]
    assert got == [None] * (len(at) - 2) + [message]
    assert assembly.add(b"next") == b"next"


def test_another_answer_comes_between_the_pieces() -> None:
    connection, unique = asked()
    other, _ = connection.request("READ", 1, ReadIn(), room=_ROOM)
    assembly = Assembly(connection)
    message = answer(unique, bytes(9000))
    assert assembly.add(message[:4096]) is None
    assert assembly.add(answer(other, b"short")) == answer(other, b"short")
    assert assembly.add(message[4096:]) == message


def test_pieces_that_are_too_long_are_an_error() -> None:
    connection, unique = asked()
    assembly = Assembly(connection)
    assert assembly.add(answer(unique, bytes(100))[:50]) is None
    with pytest.raises(ProtocolError, match="of an answer of 116"):
        assembly.add(bytes(100))


@pytest.mark.parametrize(
    "header",
    [OutHeader(500, 0, 4242), OutHeader(500, -5, 2), OutHeader(_ROOM + 17, 0, 2), OutHeader(500, 0, 0)],
)
def test_what_nobody_waits_for_is_not_waited_for(header: OutHeader) -> None:
    connection, _ = asked()
    message = header.encode() + bytes(20)
    assert Assembly(connection).add(message) == message
