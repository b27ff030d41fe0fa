"""System: what a view tells of the machine it is on: names, CPUs and memory.

What is not told is the kernel's own.  CPUs and memory are told, not enforced: programs choose by them how
many threads they start and how much they keep in memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from diorama.errors import UsageError
from diorama.view.uts import NAME_MAX

__all__ = ["UNAME", "Cpus", "System", "parse_size"]

UNAME: Final = ("sysname", "nodename", "release", "version", "machine", "domainname")
"""The fields of uname(2)."""

CPUS_MAX: Final = 4096
_MEMORY_MIN: Final = 1 << 20
_MEMORY_MAX: Final = 1 << 60
_SIZE: Final = re.compile(r"(\d{1,30}(?:\.\d{1,30})?)([KMGT]?)(?:iB|B)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True, slots=True, eq=False)
class Cpus:
    """How many there are, and the mask of those that a thread may use."""

    count: int
    mask: int

    @property
    def as_words(self) -> bytes:
        """As the kernel prints it: groups of 32 bits in hexadecimal, the first no longer than it must be."""
        groups = (self.count + 31) // 32
        first = (self.count - 32 * (groups - 1) + 3) // 4
        texts = [b"%08x" % (self.mask >> 32 * at & 0xFFFFFFFF) for at in reversed(range(groups))]
        return b",".join([texts[0][8 - first :], *texts[1:]])

    @property
    def as_list(self) -> bytes:
        """As in `0-2,4`."""
        runs: list[list[int]] = []
        for cpu in range(self.mask.bit_length()):
            if self.mask >> cpu & 1:
                if runs and runs[-1][1] == cpu - 1:
                    runs[-1][1] = cpu
                else:
                    runs.append([cpu, cpu])
        return b",".join([b"%d" % low if low == high else b"%d-%d" % (low, high) for low, high in runs])


@dataclass(frozen=True, slots=True)
class System:
    """What is told; None for what is not. `memory` is in bytes."""

    sysname: str | None = None
    nodename: str | None = None
    release: str | None = None
    version: str | None = None
    machine: str | None = None
    domainname: str | None = None
    cpus: int | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        for name in UNAME:
            _check_name(name, getattr(self, name))
        if self.cpus is not None and not 1 <= self.cpus <= CPUS_MAX:
            raise UsageError(f"cannot tell of {self.cpus} CPUs: it must be 1 to {CPUS_MAX}")
        if self.memory is not None and not _MEMORY_MIN <= self.memory <= _MEMORY_MAX:
            raise UsageError(f"cannot tell of {self.memory} bytes of memory: it must be 1M to 1048576T")

    @property
    def has_names(self) -> bool:
        """Whether any name is told."""
        return any(getattr(self, name) is not None for name in UNAME)

    @classmethod
    def parse(cls, names: str, hostname: str | None, cpus: int | None, memory: str | None) -> Self:
        """From the command line: `FIELD=VALUE,...` of uname(2), and the other options; `UsageError`.

        A comma that is not followed by a field and `=` belongs to the value before it.
        """
        told: dict[str, str] = {}
        fields = "|".join(UNAME)
        for item in re.split(rf",(?=(?:{fields})=)", names) if names else ():
            name, found, value = item.partition("=")
            if name not in UNAME or not found:
                raise UsageError(f"cannot tell {item!r} in uname: write FIELD=VALUE, of {', '.join(UNAME)}")
            told[name] = value
        if hostname is not None:
            told["nodename"] = hostname
        return cls(**told, cpus=cpus, memory=None if memory is None else parse_size(memory))


def _check_name(name: str, value: str | None) -> None:
    if value is None:
        return
    if not value or any(character in value for character in "\0\n"):
        raise UsageError(f"cannot use {value!r} as {name}: it must be one line of text")
    if len(value.encode("utf-8", "surrogateescape")) > NAME_MAX:
        raise UsageError(f"cannot use a {name} of more than {NAME_MAX} bytes: {value[:20]}...")


def parse_size(text: str) -> int:
    """Bytes: a number, with K, M, G or T for multiples of 1024; `UsageError`."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"cannot read {text!r} as a size: write a number, and K, M, G or T for more")
    return int(float(match[1]) * _UNITS[match[2].lower()])
