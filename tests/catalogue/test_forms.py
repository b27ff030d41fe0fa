"""How particular calls are decoded and encoded, above all those of 32-bit programs."""

from __future__ import annotations

import errno

import pytest

from catalogue.fakes import FakeExecution, FakeMemory, FakeTracee, decoded, words
from diorama import calls, catalogue
from diorama.abi.arch import Abi
from diorama.abi.fcntl import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_SYMLINK_NOFOLLOW,
    O_CREAT,
    O_TRUNC,
    O_WRONLY,
)
from diorama.abi.numbers import NUMBERS
from diorama.abi.socket import InetAddress, UnixAddress
from diorama.abi.stat import Stat
from diorama.abi.time import Times, Timespec

AT = 0x2000
PATH = {AT: b"/etc/passwd\0"}
X86_64 = NUMBERS["x86-64"]
I386 = NUMBERS["i386"]


def test_three_spellings_are_one_request() -> None:
    assert decoded("openat", AT_FDCWD, AT, O_WRONLY, 0, contents=PATH) == calls.OpenAt(
        AT_FDCWD, b"/etc/passwd", O_WRONLY, 0
    )
    assert decoded("open", AT, O_WRONLY, 0, contents=PATH) == calls.OpenAt(
        AT_FDCWD, b"/etc/passwd", O_WRONLY, 0
    )
    creat = decoded("creat", AT, 0o644, abi=Abi.I386, contents=PATH)
    assert creat == calls.OpenAt(AT_FDCWD, b"/etc/passwd", O_CREAT | O_WRONLY | O_TRUNC, 0o644)


def test_a_changed_field_leaves_the_others_to_the_bit() -> None:
    call = decoded("open", AT, 0xFFFF_0000_0000_8000, 7, 8, 9, 10, contents=PATH)
    memory = FakeMemory()
    number, args = call.replace(mode=0).encode(Abi.X86_64, memory)
    assert (number, args) == (X86_64["open"], (AT, 0xFFFF_0000_0000_8000, 0, 8, 9, 10))
    number, args = call.replace(path=b"/etc/group").encode(Abi.X86_64, memory)
    assert memory.read_string(args[0]) == b"/etc/group"
    assert args[1:] == (0xFFFF_0000_0000_8000, 7, 8, 9, 10)


def test_what_a_spelling_cannot_express_is_spelled_another_way() -> None:
    call = decoded("open", AT, 0, 0, contents=PATH)
    assert call.replace(dirfd=5).encode(Abi.X86_64, FakeMemory())[0] == X86_64["openat"]
    rmdir = decoded("rmdir", AT, contents=PATH)
    assert rmdir.flags == AT_REMOVEDIR
    assert rmdir.replace(flags=0).encode(Abi.X86_64, FakeMemory())[0] == X86_64["unlinkat"]


def test_a_request_made_by_hand() -> None:
    memory = FakeMemory()
    number, args = calls.OpenAt(dirfd=AT_FDCWD, path=b"/x", flags=0, mode=0).encode(Abi.AARCH64, memory)
    assert number == NUMBERS["aarch64"]["openat"]
    assert args[0] == 2**64 - 100
    assert memory.read_string(args[1]) == b"/x"


def test_a_request_that_an_abi_lacks() -> None:
    with pytest.raises(OSError, match="_llseek") as caught:
        calls.LLSeek(0, 0, 0, None, 0).encode(Abi.X86_64, FakeMemory())
    assert caught.value.errno == errno.ENOSYS


def test_misuse_is_told() -> None:
    with pytest.raises(TypeError, match="missing or unknown: flags, mode"):
        calls.OpenAt(AT_FDCWD, b"/x")  # type: ignore[call-arg]
    call = decoded("getpid")
    with pytest.raises(TypeError, match="no field path"):
        call.replace(path=b"/")
    with pytest.raises(RuntimeError, match="while its call is being handled"):
        call.run()
    with pytest.raises(AttributeError, match="frozen"):
        call.anything = 1


def test_a_call_runs_through_its_execution() -> None:
    tracee = FakeTracee(contents=PATH)
    execution = FakeExecution(tracee, result=3)
    call = decoded("open", AT, 0, 0, contents=PATH).bound(execution)
    assert call.tracee is tracee
    assert call.run() == 3
    assert call.run(path=b"/other") == 3
    assert [one.path for one in execution.ran] == [b"/etc/passwd", b"/other"]


def test_halves_of_a_64_bit_offset() -> None:
    narrow = decoded("pread64", 3, AT, 10, 0x89ABCDEF, 0x1, abi=Abi.I386)
    assert narrow.offset == 0x1_89AB_CDEF
    assert decoded("pread64", 3, AT, 10, 2**40).offset == 2**40
    assert narrow.replace(offset=-1).encode(Abi.I386, FakeMemory())[1][3:5] == (2**32 - 1, 2**32 - 1)
    assert narrow.replace(offset=2**33).encode(Abi.I386, FakeMemory())[1][:5] == (3, AT, 10, 0, 2)
    truncate = decoded("truncate64", AT, 5, 6, abi=Abi.I386, contents=PATH)
    assert truncate.length == 5 | 6 << 32
    fadvise = decoded("fadvise64_64", 3, 1, 2, 3, 4, 5, abi=Abi.I386)
    assert (fadvise.offset, fadvise.length, fadvise.advice) == (1 | 2 << 32, 3 | 4 << 32, 5)
    assert decoded("lseek", 3, -5, 1, abi=Abi.I386).offset == -5


def test_preadv_has_two_halves_everywhere() -> None:
    wide = decoded("preadv2", 3, AT, 1, 2**40, 99, 7)
    assert (wide.offset, wide.flags) == (2**40, 7)
    narrow = decoded("preadv2", 3, AT, 1, 5, 1, 7, abi=Abi.I386)
    assert (narrow.offset, narrow.flags) == (5 | 1 << 32, 7)
    assert wide.replace(offset=-1).encode(Abi.X86_64, FakeMemory())[1] == (3, AT, 1, 2**64 - 1, 99, 7)


def test_a_mask_of_64_bits_before_other_arguments() -> None:
    call = decoded("fanotify_mark", 3, 1, 2, 4, AT_FDCWD, AT, abi=Abi.I386, contents=PATH)
    assert (call.mask, call.dirfd, call.path) == (2 | 4 << 32, AT_FDCWD, b"/etc/passwd")


def test_a_length_too_long_for_the_old_call_takes_the_new_one() -> None:
    call = decoded("ftruncate", 3, 100, abi=Abi.I386)
    new = call.replace(length=2**33).encode(Abi.I386, FakeMemory())
    assert new == (I386["ftruncate64"], (3, 0, 2, 0, 0, 0))


def test_ids_of_16_bits() -> None:
    call = decoded("chown", AT, 0xFFFF, 12, abi=Abi.I386, contents=PATH)
    assert (call.owner, call.group) == (-1, 12)
    number, args = call.replace(owner=100_000).encode(Abi.I386, FakeMemory())
    assert (number, args[2:]) == (I386["fchownat"], (100_000, 12, 0, 0)), "it has room for the owner"
    assert decoded("chown32", AT, 2**32 - 1, 100_000, abi=Abi.I386, contents=PATH).group == 100_000


def test_arguments_that_stand_in_memory() -> None:
    vector = {AT: words(0, 8192, 1, 2, -1, 4096)}
    old = decoded("mmap", AT, abi=Abi.I386, contents=vector)
    assert (old.length, old.fd, old.offset) == (8192, -1, 4096)
    assert decoded("mmap2", 0, 8192, 1, 2, -1, 1, abi=Abi.I386) == old
    tracee = FakeTracee(Abi.I386, vector)
    assert old.encode(Abi.I386, tracee.memory) == (I386["mmap"], (AT, 0, 0, 0, 0, 0))
    changed = old.replace(flags=0x22).encode(Abi.I386, tracee.memory)
    assert changed == (I386["mmap2"], (0, 8192, 1, 0x22, 2**32 - 1, 1))
    with pytest.raises(OSError, match="Bad address"):
        decoded("mmap", 0, abi=Abi.I386)


def test_calls_behind_socketcall() -> None:
    contents = {AT: words(3, AT + 100, 16), AT + 100: InetAddress("127.0.0.1", 80).pack()}
    call = decoded("socketcall", 3, AT, abi=Abi.I386, contents=contents)
    assert type(call) is calls.Connect
    assert call.address.parse() == InetAddress("127.0.0.1", 80)
    memory = FakeMemory()
    assert call.encode(Abi.I386, memory) == (I386["socketcall"], (3, AT, 0, 0, 0, 0))
    address = UnixAddress(b"/run/x").pack()
    number, args = call.replace(address=address, address_size=len(address)).encode(Abi.I386, memory)
    assert (number, args[0], args[2]) == (I386["connect"], 3, len(address))
    assert memory.read(args[1], len(address)) == address
    send = decoded("socketcall", 9, AT, abi=Abi.I386, contents={AT: words(3, AT, 5, 0)})
    assert (type(send), bool(send.address), send.size) == (calls.SendTo, False, 5)
    assert send.replace(flags=1).encode(Abi.I386, memory) == (I386["sendto"], (3, AT, 5, 1, 0, 0))
    accept = decoded("socketcall", 5, AT, abi=Abi.I386, contents={AT: words(3, 0, 0)})
    assert accept.replace(fd=4).encode(Abi.I386, memory)[0] == I386["accept4"]
    assert type(decoded("socketcall", 77, AT, abi=Abi.I386)) is calls.SocketCall


def test_calls_behind_ipc() -> None:
    get = decoded("ipc", 2, 1234, 3, 0o1600, abi=Abi.I386)
    assert get == calls.SemGet(1234, 3, 0o1600)
    assert get.replace(count=4).encode(Abi.I386, FakeMemory())[0] == I386["semget"]
    control = decoded("ipc", 3, 1, 2, 16, AT, abi=Abi.I386, contents={AT: words(77)})
    assert control == calls.SemCtl(1, 2, 16, 77)
    operate = decoded("ipc", 1, 7, 2, 0, AT, abi=Abi.I386)
    assert (type(operate), operate.id, operate.count, operate.operations) == (calls.SemTimedOp, 7, 2, AT)
    assert operate.replace(id=8).encode(Abi.I386, FakeMemory())[0] == I386["semtimedop_time64"]
    assert type(decoded("ipc", 12, 1, 2, 3, AT, abi=Abi.I386)) is calls.Ipc
    assert type(decoded("ipc", 0x1000C, 1, 2, 3, AT, 5, abi=Abi.I386)) is calls.MsgRcv


def test_an_answer_is_written_in_the_layout_of_the_spelling() -> None:
    for name, size, abi in (("stat", 144, Abi.X86_64), ("stat64", 96, Abi.I386), ("oldstat", 32, Abi.I386)):
        call = decoded(name, AT, AT + 100, abi=abi, contents=PATH)
        call.status.write(Stat(st_mode=0o100644, st_size=77, st_ino=5))
        assert len(call.memory.cells) == len(PATH[AT]) + size
        assert (call.status.read().st_size, call.status.read().st_ino) == (77, 5)


def test_times_are_nanoseconds_whatever_the_spelling_counts() -> None:
    contents = {AT: b"/x\0", AT + 16: words(1, 2, 3, 4)}
    for name, expected in {
        "utimes": Times(1, 2000, 3, 4000),
        "utimensat": Times(1, 2, 3, 4),
        "utime": Times(1, 0, 2, 0),
    }.items():
        first = (AT_FDCWD,) if name == "utimensat" else ()
        call = decoded(name, *first, AT, AT + 16, abi=Abi.I386, contents=contents)
        assert call.times.read() == expected
    time64 = decoded("clock_gettime64", 0, AT, abi=Abi.I386)
    time64.time.write(Timespec(2**40, 5))
    assert time64.memory.read(AT, 16) == words(2**40, word=8) + words(5, 0)


def test_the_order_of_clones_arguments() -> None:
    assert decoded("clone", 1, 2, 3, 4, 5).tls == 5
    assert decoded("clone", 1, 2, 3, 4, 5, abi=Abi.I386).tls == 4
    assert decoded("clone", 1, 2, 3, 4, 5, abi=Abi.AARCH64).child_tid == 5


def test_where_the_value_of_a_field_stands() -> None:
    def position(abi: Abi, name: str, field: str) -> int | None:
        spelling = catalogue.spelling(abi, NUMBERS[abi.title][name])
        assert spelling is not None
        return spelling.position(field)

    assert position(Abi.X86_64, "openat", "path") == 1
    assert position(Abi.X86_64, "open", "path") == 0
    assert position(Abi.X86_64, "open", "dirfd") is None, "it is fixed"
    assert position(Abi.I386, "pread64", "offset") is None, "it is in two arguments"
    assert position(Abi.X86_64, "pread64", "offset") == 3
    assert position(Abi.I386, "mmap2", "offset") is None, "it counts pages"
    assert position(Abi.I386, "mmap", "fd") is None, "it is in memory"
    assert position(Abi.I386, "chown", "owner") is None, "it has 16 bits"


def test_what_a_number_carries() -> None:
    multiplexer = catalogue.spelling(Abi.I386, I386["socketcall"])
    assert multiplexer is not None
    assert multiplexer.is_multiplexed
    assert multiplexer.carries(frozenset({calls.Connect}))
    assert not multiplexer.carries(frozenset({calls.OpenAt}))
    plain = catalogue.spelling(Abi.X86_64, X86_64["lstat"])
    assert plain is not None
    assert plain.fixed == {"dirfd": AT_FDCWD, "flags": AT_SYMLINK_NOFOLLOW}
    assert plain.carries(frozenset({calls.FStatAt}))


def test_null_is_not_read() -> None:
    assert decoded("utimensat", 3, 0, 0, 0).path is None
    assert decoded("acct", 0).path is None
    assert decoded("mount", 0, AT, 0, 0, 0, contents=PATH).type is None
    assert decoded("newfstatat", 3, 0, AT, AT_EMPTY_PATH).path == b"", "as Linux 6.11 has it"
    with pytest.raises(OSError, match="Bad address"):
        decoded("newfstatat", 3, 0, AT, 0)
    assert not decoded("fstat", 3, 0).status
    with pytest.raises(OSError, match="Bad address"):
        decoded("fstat", 3, 0).status.read()
    with pytest.raises(OSError, match="Bad address"):
        decoded("open", 5, 0, 0)
