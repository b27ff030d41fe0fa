"""Machines: what a program of each is known by."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from diorama.abi.machines import MACHINES, Machine, find_machine

NAMES = [one.name for one in MACHINES]


def header(machine: Machine, kind: int) -> bytes:
    """The first bytes of one of its files."""
    identity = b"\x7fELF" + bytes([machine.bits // 32, 1 + machine.big_endian, 1]) + bytes(9)
    return identity + struct.pack(">2H" if machine.big_endian else "<2H", kind, machine.number)


@pytest.mark.parametrize("machine", MACHINES, ids=NAMES)
def test_it_knows_its_own_programs_and_no_others(machine: Machine) -> None:
    format = machine.format(b"/qemu")
    assert format.accepts(b"x", header(machine, 2))  # ET_EXEC
    assert format.accepts(b"x", header(machine, 3))  # ET_DYN
    assert not format.accepts(b"x", header(machine, 1))  # ET_REL
    others = [one.name for one in MACHINES if one is not machine and format.accepts(b"x", header(one, 2))]
    assert others == []


def test_names() -> None:
    assert find_machine("arm64") is find_machine("aarch64")
    assert find_machine("aarch64") in MACHINES
    assert find_machine("armhf") is find_machine("arm")
    assert find_machine("pdp11") is None


def test_a_program_of_this_machine(tmp_path: Path) -> None:
    own = next((one for one in MACHINES if one.is_own and one.name != "i386"), None)
    program = shutil.which("true")
    if own is None or program is None:
        pytest.skip("a machine that nobody knows, or without true(1)")
    assert own.format(b"/qemu").accepts(b"true", Path(program).read_bytes()[:256])
