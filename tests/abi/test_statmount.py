"""Statmount: what the kernel tells of its mounts is what is made of their lines in mountinfo."""

from __future__ import annotations

from pathlib import Path

import pytest

from diorama.abi.arch import Abi
from diorama.abi.mountinfo import MountLine
from diorama.abi.numbers import NUMBERS
from diorama.abi.statmount import (
    FIXED_SIZE,
    LSMT_ROOT,
    STATMOUNT_FS_TYPE,
    STATMOUNT_MNT_BASIC,
    STATMOUNT_SB_BASIC,
    MountRequest,
    StatMountTold,
    pack_statmount,
)
from diorama.engine.ourcall import OurMemory, make_call

ROOM = 1 << 16


def ask(name: str, id: int, param: int, count: int) -> tuple[bytes, int]:
    memory = OurMemory()
    buffer, request = memory.place(bytes(ROOM)), memory.place(MountRequest(id, param).pack())
    try:
        result = make_call(NUMBERS[Abi.native()[0].title][name], request, buffer, count, 0)
    except OSError as error:
        pytest.skip(f"this kernel has no {name}: {error}")
    return memory.copy(buffer, ROOM), result


def strings(data: bytes) -> set[bytes]:
    size = int.from_bytes(data[:4], "little")
    return {text for text in data[FIXED_SIZE:size].split(b"\0") if text}


@pytest.mark.parametrize("mask", [STATMOUNT_MNT_BASIC, STATMOUNT_SB_BASIC | STATMOUNT_FS_TYPE, 0x16BB, 0x3B])
def test_it_is_as_the_kernel_has_it(mask: int) -> None:
    lines = {
        line.id: line for line in map(MountLine.parse, Path("/proc/self/mountinfo").read_bytes().splitlines())
    }
    data, count = ask("listmount", LSMT_ROOT, 0, 512)
    assert count > 0
    for at in range(count):
        id = int.from_bytes(data[8 * at : 8 * at + 8], "little")
        told, _ = ask("statmount", id, 0x16FF, ROOM)
        line = lines[int.from_bytes(told[56:60], "little")]
        if told[72:80] != (1 << 18).to_bytes(8, "little") or b"relatime" not in line.options:
            continue  # it is shared with others
        parent = int.from_bytes(told[48:56], "little")
        magic, namespace = (int.from_bytes(told[start : start + 8], "little") for start in (24, 112))
        made = pack_statmount(StatMountTold(line, id, parent, magic, namespace), mask)
        native, _ = ask("statmount", id, mask, ROOM)
        assert made[8:24] == native[8:24]
        assert (made[24:36], made[40:104]) == (native[24:36], native[40:104])
        assert strings(made) == strings(native)


def test_requests_of_the_first_version_and_of_later_ones() -> None:
    request = MountRequest(5, 7)
    assert MountRequest.parse(request.pack()) == request
    assert MountRequest.parse(b"\x20" + request.pack()[1:] + bytes([3] + [0] * 7)).namespace == 3
    for wrong in (b"\x10" + request.pack()[1:], b"\x20" + request.pack()[1:]):
        with pytest.raises(ValueError, match="request"):
            MountRequest.parse(wrong)
