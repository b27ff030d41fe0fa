"""Directory entries: packed as the kernel packs them."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diorama.abi.arch import Abi
from diorama.abi.dirent import DIRENT, DIRENT64, OLD_DIRENT, DirEntry, pack_entries, unpack_entries
from diorama.abi.numbers import NUMBERS

names = st.binary(min_size=1, max_size=255).filter(lambda name: b"\0" not in name and b"/" not in name)
types = st.sampled_from([0, 4, 8, 10])
entries = st.lists(st.builds(DirEntry, st.integers(0, 2**32 - 1), st.integers(0, 2**31 - 1), types, names))


@given(entries, st.sampled_from([Abi.X86_64, Abi.I386]), st.sampled_from([DIRENT, DIRENT64]))
def test_what_is_packed_is_unpacked_again(listing: list[DirEntry], abi: Abi, layout: str) -> None:
    data, count = pack_entries(listing, abi, layout, 1 << 20)
    assert count == len(listing)
    assert list(unpack_entries(data, abi, layout)) == listing


@given(entries, st.integers(0, 4000))
def test_only_whole_entries_are_packed(listing: list[DirEntry], room: int) -> None:
    data, count = pack_entries(listing, Abi.X86_64, DIRENT64, room)
    assert len(data) <= room
    assert list(unpack_entries(data, Abi.X86_64, DIRENT64)) == listing[:count]


def test_the_oldest_layout_holds_one_entry() -> None:
    two = [DirEntry(1, 2, 4, b"ab"), DirEntry(3, 4, 8, b"c")]
    data, count = pack_entries(two, Abi.I386, OLD_DIRENT, 100)
    assert (data, count) == (b"\1\0\0\0\2\0\0\0\2\0ab\0", 1)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")
@pytest.mark.parametrize(("call", "layout"), [("getdents64", DIRENT64), ("getdents", DIRENT)])
def test_the_kernels_own_entries(tmp_path: Path, call: str, layout: str) -> None:
    for name in ("a", "file with a long name", "z" * 255):
        (tmp_path / name).touch()
    buffer = ctypes.create_string_buffer(4096)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        size = ctypes.CDLL(None).syscall(NUMBERS["x86-64"][call], fd, buffer, len(buffer))
    finally:
        os.close(fd)
    listing = list(unpack_entries(buffer.raw[:size], Abi.X86_64, layout))
    assert {os.fsdecode(entry.name) for entry in listing} == {".", "..", *os.listdir(tmp_path)}
    assert {entry.type for entry in listing} == {4, 8}
    assert pack_entries(listing, Abi.X86_64, layout, 4096) == (buffer.raw[:size], len(listing))
