"""System: the kernel's name, and what sysinfo(2) tells."""

from __future__ import annotations

from diorama.abi.record import Record, record

__all__ = ["SysInfo", "UtsName"]


@record({
    "new_utsname": (
        "char[65] sysname, char[65] nodename, char[65] release, char[65] version, char[65] machine,"
        " char[65] domainname"
    ),
    "old_utsname": (
        "char[65] sysname, char[65] nodename, char[65] release, char[65] version, char[65] machine"
    ),
    "oldold_utsname": "char[9] sysname, char[9] nodename, char[9] release, char[9] version, char[9] machine",
})
class UtsName(Record):
    """The names of the system, uname(2)."""

    sysname: bytes = b"Linux"
    nodename: bytes = b""
    release: bytes = b""
    version: bytes = b""
    machine: bytes = b""
    domainname: bytes = b"(none)"


@record({
    "sysinfo": (
        "long uptime, ulong loads_1, ulong loads_5, ulong loads_15, ulong totalram, ulong freeram,"
        " ulong sharedram, ulong bufferram, ulong totalswap, ulong freeswap, u16 procs, u16 _,"
        " ulong totalhigh, ulong freehigh, u32 mem_unit"
    ),
    "sysinfo@i386": (
        "long uptime, ulong loads_1, ulong loads_5, ulong loads_15, ulong totalram, ulong freeram,"
        " ulong sharedram, ulong bufferram, ulong totalswap, ulong freeswap, u16 procs, u16 _,"
        " ulong totalhigh, ulong freehigh, u32 mem_unit, u8[8] _"
    ),
})
class SysInfo(Record):
    """Memory, load and uptime, sysinfo(2)."""

    uptime: int = 0
    loads_1: int = 0
    loads_5: int = 0
    loads_15: int = 0
    totalram: int = 0
    freeram: int = 0
    sharedram: int = 0
    bufferram: int = 0
    totalswap: int = 0
    freeswap: int = 0
    procs: int = 0
    totalhigh: int = 0
    freehigh: int = 0
    mem_unit: int = 1
