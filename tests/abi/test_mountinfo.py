"""Mountinfo: read and written as the kernel writes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diorama.abi.mountinfo import MountLine, escape, unescape


def lines() -> list[MountLine]:
    return [MountLine.parse(line) for line in Path("/proc/self/mountinfo").read_bytes().splitlines()]


def test_the_kernels_tables_are_made_of_mountinfo() -> None:
    assert b"".join(line.info() for line in lines()) == Path("/proc/self/mountinfo").read_bytes()
    assert b"".join(line.mount() for line in lines()) == Path("/proc/self/mounts").read_bytes()


def test_the_kernels_statistics_begin_with_the_same() -> None:
    told = Path("/proc/self/mountstats").read_bytes()
    for line in lines():
        assert line.stats()[:-1] in told


@given(st.binary(max_size=40))
def test_names_are_escaped_and_found_again(name: bytes) -> None:
    assert unescape(escape(name)) == name
    assert not set(escape(name)) & set(b" \t\n")


def test_flags_of_a_file_system_come_first_in_mounts() -> None:
    line = MountLine.parse(
        rb"36 35 98:0 /a\040b /m\134n rw,noatime shared:2 - ext3 /dev/root ro,sync,errors=continue"
    )
    assert (line.root, line.point, line.optional) == (b"/a b", b"/m\\n", (b"shared:2",))
    assert line.mount() == rb"/dev/root /m\134n ext3 ro,sync,noatime,errors=continue 0 0" + b"\n"


@pytest.mark.parametrize("text", [b"", b"1 2 3:4 / / rw", b"1 2 3:4 - x y z"])
def test_what_is_no_line_is_an_error(text: bytes) -> None:
    with pytest.raises(ValueError, match="mountinfo"):
        MountLine.parse(text)
