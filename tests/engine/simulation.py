"""Simulation: an interpreter of classic BPF, and the call numbers at which a filter may go wrong."""

from __future__ import annotations

import struct

from diorama.abi.arch import Abi
from diorama.engine import filter as module

X86 = (Abi.X86_64, Abi.I386)
BPF_MAXINSNS = 4096


def run(program: bytes, arch: int, number: int, args: tuple[int, ...] = ()) -> tuple[int, int]:
    """The program's answer, and how many instructions it took."""
    code = list(struct.iter_unpack("=HBBI", program))
    words = list(args) + [0] * (6 - len(args))
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, 0, *[word % 2**64 for word in words])
    at = accumulator = steps = 0
    while True:
        steps += 1
        operation, if_true, if_false, operand = code[at]
        at += 1
        if operation == module.LOAD:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif operation == module.JUMP:
            at += operand
        elif operation == module.AND:
            accumulator &= operand
        elif operation == module.RETURN:
            return operand, steps
        else:
            holds = {
                module.JUMP_EQUAL: accumulator == operand,
                module.JUMP_GREATER_EQUAL: accumulator >= operand,
                module.JUMP_SET: bool(accumulator & operand),
            }[operation]
            at += if_true if holds else if_false


def interesting(abi: Abi) -> list[int]:
    """Numbers to try: all that an ABI may have, and those around what a filter treats apart."""
    edges = [0x3FFFFFFF, 0x40000000, 0x40000001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]
    return [*range(1024), *edges, *(0x40000000 | number for number in range(0, 600, 7))]
