"""Records against the C compiler: the same sizes and offsets as the kernel's own headers give."""

from __future__ import annotations

import errno
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from diorama.abi import fcntl, io, process, signal, socket, stat, system, time
from diorama.abi.arch import Abi
from diorama.abi.record import Record

HEADERS = """
#include <stddef.h>
#include <stdio.h>
#include <asm/stat.h>
#include <asm/statfs.h>
#include <asm/signal.h>
#include <linux/stat.h>
#include <linux/time_types.h>
#include <linux/times.h>
#include <linux/utime.h>
#include <linux/utsname.h>
#include <linux/sysinfo.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/resource.h>
#include <linux/fcntl.h>
#include <linux/poll.h>
#include <linux/eventpoll.h>
#include <linux/uio.h>
typedef struct { struct __kernel_old_timeval it_interval, it_value; } old_itimerval;
typedef struct { struct __kernel_timespec a, m; } times64;
typedef struct { struct __kernel_old_timeval a, m; } timevals;
typedef struct { struct __kernel_timespec it_interval, it_value; } itimerspec64;
"""

# These have no header of the kernel's own, and the C library's cannot stand beside the others.
LIBRARY_HEADERS = """
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
"""

# Members that the headers of Debian 12 lack.
NEWER = {"stx_subvol"}

# Record, layout, the C type, and the members whose name in C is another.
BOTH = [
    (stat.Stat, "stat", "struct stat", {}),
    (stat.StatX, "statx", "struct statx", "STATX"),
    (stat.StatFs, "statfs", "struct statfs", "STATFS"),
    (time.Timespec, "timeval", "struct __kernel_old_timeval", {"tv_nsec": "tv_usec"}),
    (time.Timespec, "timespec64", "struct __kernel_timespec", {}),
    (time.Times, "utimbuf", "struct utimbuf", {"atime": "actime", "mtime": "modtime"}),
    (time.Times, "timeval", "timevals", "TIMEVALS"),
    (time.Times, "timespec64", "times64", "TIMES64"),
    (time.ITimer, "itimerval", "old_itimerval", "ITIMERVAL"),
    (time.ITimer, "itimerspec64", "itimerspec64", "ITIMERSPEC"),
    (time.Tms, "tms", "struct tms", {}),
    (system.UtsName, "new_utsname", "struct new_utsname", {}),
    (system.UtsName, "old_utsname", "struct old_utsname", {}),
    (system.UtsName, "oldold_utsname", "struct oldold_utsname", {}),
    (
        system.SysInfo,
        "sysinfo",
        "struct sysinfo",
        {"loads_1": "loads[0]", "loads_5": "loads[1]", "loads_15": "loads[2]"},
    ),
    (fcntl.OpenHow, "open_how", "struct open_how", {}),
    (fcntl.FLock, "flock", "struct flock", {}),
    (process.CloneArgs, "clone_args", "struct clone_args", {}),
    (process.RLimit, "rlimit", "struct rlimit", {}),
    (process.RLimit, "rlimit64", "struct rlimit64", {}),
    (process.RUsage, "rusage", "struct rusage", "RUSAGE"),
    (io.IoVec, "iovec", "struct iovec", {}),
    (io.PollFd, "pollfd", "struct pollfd", {}),
    (io.EpollEvent, "epoll_event", "struct epoll_event", {}),
    (signal.SigStack, "stack", "stack_t", {}),
]

LIBRARY = [
    (socket.MsgHdr, "msghdr", "struct msghdr", {}),
    (socket.MsgHdr, "mmsghdr", "struct mmsghdr", "MMSGHDR"),
]

RENAMED = {
    "STATX": {
        f"stx_{which}time{suffix}": f"stx_{which}time.tv_{'nsec' if suffix else 'sec'}"
        for which in "abcm"
        for suffix in ("", "_nsec")
    },
    "STATFS": {"f_fsid": "f_fsid.val[0]", "f_fsid_high": "f_fsid.val[1]"},
    "TIMEVALS": {
        "atime": "a.tv_sec",
        "atime_nsec": "a.tv_usec",
        "mtime": "m.tv_sec",
        "mtime_nsec": "m.tv_usec",
    },
    "TIMES64": {
        "atime": "a.tv_sec",
        "atime_nsec": "a.tv_nsec",
        "mtime": "m.tv_sec",
        "mtime_nsec": "m.tv_nsec",
    },
    "ITIMERVAL": {
        "interval": "it_interval.tv_sec",
        "interval_nsec": "it_interval.tv_usec",
        "value": "it_value.tv_sec",
        "value_nsec": "it_value.tv_usec",
    },
    "ITIMERSPEC": {
        "interval": "it_interval.tv_sec",
        "interval_nsec": "it_interval.tv_nsec",
        "value": "it_value.tv_sec",
        "value_nsec": "it_value.tv_nsec",
    },
    "RUSAGE": {
        "ru_utime": "ru_utime.tv_sec",
        "ru_utime_nsec": "ru_utime.tv_usec",
        "ru_stime": "ru_stime.tv_sec",
        "ru_stime_nsec": "ru_stime.tv_usec",
    },
    "MMSGHDR": {
        name: f"msg_hdr.{name}" for name in socket.MsgHdr.FIELD_NAMES if name != "msg_len"
    },
}

ONLY = {
    Abi.X86_64: [
        (signal.SigAction, "sigaction", "struct sigaction", {}),
        (time.Timespec, "timespec", "struct __kernel_timespec", {}),
    ],
    Abi.I386: [
        (stat.Stat, "stat64", "struct stat64", {}),
        (stat.Stat, "oldstat", "struct __old_kernel_stat", {}),
        (stat.StatFs, "statfs64", "struct statfs64", "STATFS"),
        (fcntl.FLock, "flock64", "struct flock64", {}),
        (signal.SigAction, "old_sigaction", "struct sigaction", {}),
    ],
}


def measure(abi: Abi, headers: str, rows: list[tuple[Any, ...]], folder: Path) -> dict[str, int]:
    """What the C compiler says of all members: "record layout member" to its offset, and "... size"."""
    lines = []
    for record, layout, ctype, names in rows:
        renamed = RENAMED[names] if isinstance(names, str) else names
        key = f"{record.__name__} {layout}"
        lines.append(f'printf("{key} size=%zu\\n", sizeof({ctype}));')
        for name in record.layout(abi, layout).offsets.keys() - NEWER:
            member = renamed.get(name, name)
            lines.append(f'printf("{key} {name}=%zu\\n", offsetof({ctype}, {member}));')
    source, program = folder / "measure.c", folder / "measure"
    body = "\n".join(lines)
    source.write_text(f"#define _GNU_SOURCE\n{headers}\nint main(void) {{\n{body}\nreturn 0; }}\n")
    # The kernel's headers serve both widths, but stand where only one of them looks.
    flags = ["-m32", "-idirafter", "/usr/include/x86_64-linux-gnu"] if abi is Abi.I386 else ["-m64"]
    subprocess.run(["gcc", *flags, "-w", "-o", program, source], check=True, timeout=50)
    text = subprocess.run([program], check=True, capture_output=True, text=True, timeout=50).stdout
    return {key: int(value) for key, _, value in (line.partition("=") for line in text.splitlines())}


def compiles(width: str) -> bool:
    if shutil.which("gcc") is None:
        return False
    command = ["gcc", width, "-x", "c", "-include", "stdio.h", "-", "-o", "/dev/null"]
    ran = subprocess.run(command, input=b"int main(void){return 0;}", capture_output=True, check=False)
    return ran.returncode == 0


@pytest.mark.parametrize("abi", [Abi.X86_64, Abi.I386])
def test_records_lie_in_memory_as_c_structures_do(abi: Abi, tmp_path: Path) -> None:
    if not compiles("-m32" if abi is Abi.I386 else "-m64"):
        pytest.skip("gcc-multilib is not installed" if abi is Abi.I386 else "gcc is not installed")
    measured = measure(abi, HEADERS, [*BOTH, *ONLY[abi]], tmp_path)
    measured |= measure(abi, LIBRARY_HEADERS, LIBRARY, tmp_path)
    for record, layout, _, _ in [*BOTH, *ONLY[abi], *LIBRARY]:
        key = f"{record.__name__} {layout} "
        expected = {
            name.removeprefix(key): value for name, value in measured.items() if name.startswith(key)
        }
        found = record.layout(abi, layout)
        offsets = {name: offset for name, offset in found.offsets.items() if name not in NEWER}
        assert {"size": found.size, **offsets} == expected, (abi, key)


def test_the_generic_stat_of_newer_architectures() -> None:
    """As include/uapi/asm-generic/stat.h has it for 64 bits."""
    offsets = stat.Stat.layout(Abi.AARCH64).offsets
    assert stat.Stat.size(Abi.AARCH64) == stat.Stat.size(Abi.RISCV64) == 128
    assert [offsets[name] for name in ("st_mode", "st_nlink", "st_size", "st_atime")] == [16, 20, 48, 72]


def all_records() -> list[type[Record]]:
    return [record for record in Record.__subclasses__() if record.LAYOUTS]


@pytest.mark.parametrize("abi", list(Abi))
@pytest.mark.parametrize("record", all_records(), ids=lambda record: record.__name__)
def test_what_is_packed_is_unpacked_again(record: type[Record], abi: Abi) -> None:
    for layout in {name.partition("@")[0] for name in record.LAYOUTS}:
        names = record.layout(abi, layout).names
        value = record(**{
            name: b"x" if isinstance(default, bytes) else 1000 * (index + 1)
            for index, (name, default) in enumerate(record.DEFAULTS.items())
            if name in names
        })
        data = value.pack(abi, layout)
        assert len(data) == record.size(abi, layout)
        assert record.unpack(abi, data, layout) == value


def test_a_value_too_wide_for_its_member_is_an_overflow() -> None:
    with pytest.raises(OSError, match="too large") as caught:
        stat.Stat(st_size=1 << 40).pack(Abi.I386)
    assert caught.value.errno == errno.EOVERFLOW


def test_a_user_id_too_wide_for_an_old_stat_is_shown_as_nobody() -> None:
    data = stat.Stat(st_uid=100_000).pack(Abi.I386, "oldstat")
    assert stat.Stat.unpack(Abi.I386, data, "oldstat").st_uid == 65534


def test_a_name_is_cut_and_ends_with_nul() -> None:
    data = system.UtsName(nodename=b"n" * 200).pack(Abi.X86_64)
    assert system.UtsName.unpack(Abi.X86_64, data).nodename == b"n" * 64
    assert data[65 + 64] == 0


def test_records_are_frozen() -> None:
    value = time.Timespec(1, 2)
    with pytest.raises(AttributeError):
        value.tv_sec = 3  # type: ignore[misc]
    assert value.replace(tv_sec=3) == time.Timespec(3, 2)
    assert hash(value) == hash(time.Timespec(1, 2))
    with pytest.raises(TypeError):
        time.Timespec(minutes=1)  # type: ignore[call-arg]


def test_a_record_of_all_its_values_is_that_with_their_names() -> None:
    values = tuple(range(len(stat.Stat.FIELD_NAMES)))
    named = stat.Stat(**dict(zip(stat.Stat.FIELD_NAMES, values, strict=True)))
    assert stat.Stat.of(values) == stat.Stat(*values) == named
    with pytest.raises(AttributeError):
        named.st_size = 1  # type: ignore[misc]
