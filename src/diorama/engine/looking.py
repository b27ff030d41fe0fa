"""Looking: which of our threads is in the kernel, in a system call that changes nothing.

A file system that does not answer (a network's, or one that a program serves) keeps who looks into it for as
long as it likes. A thread can be left there, if all it does is look: nobody misses what it would find.
"""

from __future__ import annotations

import contextlib
from functools import cache
from os import O_CREAT, O_TRUNC
from typing import Final

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS

__all__ = ["look_of"]

_LOOKS: Final = (
    "access", "faccessat", "faccessat2", "fstat", "fstatfs", "getdents64", "lstat", "newfstatat",
    "readlink", "readlinkat", "stat", "statfs", "statx",
)  # fmt: skip
_OPENS: Final = {"open": 1, "openat": 2, "openat2": 2}
"""Which argument has the flags, or for openat2(2) is the address of a structure that begins with them."""
_CHANGES: Final = O_CREAT | O_TRUNC


def look_of(thread: int) -> str | None:
    """The call of a thread of ours with arguments and stack (proc_pid_syscall(5)), if it only looks.

    The same text at another time is the same call, or one like it that was made anew.
    """
    text = ""
    with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/syscall") as file:
        text = file.read()
    number, _, rest = text.partition(" ")
    words = rest.split()
    if len(words) < 6:
        return None  # it runs, or has ended
    name = _names().get(int(number), "")
    if name in _LOOKS:
        return text
    if name in _OPENS and not _flags(name, int(words[_OPENS[name]], 16)) & _CHANGES:
        return text
    return None


@cache
def _names() -> dict[int, str]:
    numbers = NUMBERS[Abi.native()[0].title]
    return {numbers[name]: name for name in (*_LOOKS, *_OPENS) if name in numbers}


def _flags(name: str, value: int) -> int:
    if name != "openat2":
        return value
    # By the kernel: the thread may have left the call, and what it pointed at be gone.
    try:
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            memory.seek(value)
            return int.from_bytes(memory.read(8), "little")
    except OSError:
        return _CHANGES
