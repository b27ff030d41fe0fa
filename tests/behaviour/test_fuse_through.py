"""Views that write through (`--write-through`): a FUSE server has each write(2) before it returns."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest

from behaviour.harness import Bench
from behaviour.served import Served, refuse, serve
from diorama.fuse.handles import WriteIn, WriteOut


@pytest.fixture(autouse=True)
def unwarned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is told what it is warned of."""
    monkeypatch.setattr("diorama.errors._warned", set[tuple[str, str]]())


@pytest.fixture
def served(engine: str, bench: Bench) -> Iterator[Served]:
    yield from serve(engine, bench, write_through=True)


@pytest.fixture
def written(served: Served) -> list[tuple[int, int]]:
    """Offset and size of each WRITE."""
    found: list[tuple[int, int]] = []

    def write(header: Any, body: bytes) -> bytes:
        request = WriteIn.decode(body)
        found.append((request.offset, request.size))
        return served.server.write(header, body)

    served.server.override["WRITE"] = write
    return found


def test_each_write_is_one_and_nothing_is_left_for_later(
    served: Served, written: list[tuple[int, int]]
) -> None:
    served.server.add(b"file", b"0123456789")
    script = """
        fd = os.open("mnt/file", os.O_WRONLY)
        print(fd >= 512, os.write(fd, b"ab"), os.pwrite(fd, b"XYZ", 5), end=" ")
        print(os.writev(fd, [b"c", b"de"]), flush=True)
        os.write(fd, bytes(200000))
        os.kill(os.getpid(), 9)
    """
    process = served.start(script)
    said, _ = process.communicate(timeout=50)
    assert (process.returncode, said) == (-9, b"True 2 3 3\n")
    assert written == [(0, 2), (5, 3), (2, 1), (3, 2), (5, 131072), (131077, 68928)]
    served.wait(lambda: "RELEASE" in served.server.log)
    assert len(written) == 6
    assert served.content(b"file") == b"abcde" + bytes(200000)


WRITING = """
    fd = os.open("mnt/file", os.O_RDWR | os.O_CREAT, 0o644)
    other = os.open("mnt/file", os.O_WRONLY | os.O_APPEND)
    print(os.write(fd, b"one"), os.write(other, b"two"), os.pwrite(other, b"!", 0), os.read(fd, 9))
    print(os.lseek(fd, 0, os.SEEK_CUR), os.lseek(other, 0, os.SEEK_CUR), os.pread(fd, 99, 0))
    copy = os.dup(fd)
    print(os.write(copy, b"dup"), os.lseek(fd, 0, os.SEEK_CUR), os.fstat(fd).st_size)
    if not os.fork():
        os.write(fd, b"child")
        os._exit(0)
    os.wait()
    print(os.pread(fd, 99, 0), told(os.write, os.open("mnt/file", os.O_RDONLY), b"x"), os.writev(fd, []))
    os.ftruncate(other, 4)
    print(os.fstat(fd).st_size, os.write(fd, b"far"), os.pread(fd, 99, 0))
    with open("mnt/file", "w") as file:
        print(os.fstat(fd).st_size, file.write("new"), file.flush(), os.pread(fd, 99, 0))
    print(open("mnt/file").read())
"""


def test_all_else_is_as_ever(served: Served) -> None:
    native = served.bench.work / "native"
    (native / "mnt").mkdir(parents=True)
    assert served.run(WRITING) == served.natively(WRITING, native)
    assert served.content(b"file") == b"new"


def test_who_writes_is_told_what_goes_wrong_and_what_was_taken(served: Served) -> None:
    served.server.add(b"file", b"0123456789")
    served.server.override["WRITE"] = refuse(errno.ENOSPC)
    script = """
        fd = os.open("mnt/file", os.O_RDWR)
        print(told(os.write, fd, b"lost"), os.lseek(fd, 0, os.SEEK_CUR), os.pread(fd, 99, 0), flush=True)
        sys.stdin.readline()
        print(os.write(fd, b"abcdef"), os.lseek(fd, 0, os.SEEK_CUR), os.pread(fd, 99, 0))
    """
    process = served.start(script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ENOSPC 0 b'0123456789'\n"

    def take_less(header: Any, body: bytes) -> bytes:
        request = WriteIn.decode(body)
        return WriteOut(min(request.size, 4)).encode()

    served.server.override["WRITE"] = take_less
    said, _ = process.communicate(b"\n", timeout=50)
    assert said == b"4 4 b'abcd456789'\n"
    served.server.override.clear()


def test_what_is_not_seen_to_be_written_is_written_when_it_is_closed(
    served: Served,
    written: list[tuple[int, int]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    served.server.add(b"file", b"0123456789")
    script = """
        fd = os.open("mnt/file", os.O_RDWR)
        with mmap.mmap(fd, 0) as mapped:
            mapped[0:2] = b"mm"
        os.write(fd, b"")
        os.dup2(fd, 9)
        os.pwrite(9, b"low", 4)
        os.pwrite(fd, b"!", 9)
        os.close(9)
        os.close(fd)
    """
    served.run(script)
    assert (9, 1) in written
    assert served.content(b"file") == b"mm23low78!"
    told = capfd.readouterr().err
    assert "dup2: what it writes by this descriptor is written when the file is closed" in told


def test_who_can_have_no_large_descriptor_writes_late(served: Served) -> None:
    script = """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
        with open("mnt/file", "w") as file:
            file.write("late")
            print(file.fileno() < 200)
    """
    assert served.run(script) == ["True"]
    assert served.content(b"file") == b"late"


AT_THE_EDGE = """
    import ctypes, resource, signal
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open("mnt/file", os.O_RDWR | os.O_CREAT, 0o644)
    os.write(fd, b"hello")
    print(told(os.pwritev, fd, [b"X"], 0, os.RWF_APPEND), os.lseek(fd, 0, os.SEEK_CUR), os.pread(fd, 99, 0))
    print(told(os.pwritev, fd, [b"D"], 0, os.RWF_DSYNC), told(os.pwritev, fd, [b"S"], 1, os.RWF_SYNC))
    print(told(os.pwritev, fd, [b"E"], -1, os.RWF_APPEND), os.lseek(fd, 0, os.SEEK_CUR), os.pread(fd, 99, 0))
    print(told(os.pwritev, fd, [b"?"], 0, 1 << 30))
    for offset in (2**63 - 1, 2**63 - 5):
        print(told(os.pwrite, fd, b"0123456789", offset), os.fstat(fd).st_size)

    PAGE = mmap.PAGESIZE
    pages = mmap.mmap(-1, 2 * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    libc.munmap(ctypes.c_void_p(start + PAGE), ctypes.c_size_t(PAGE))
    for address in (start + 1, start + PAGE):
        done = libc.write(fd, ctypes.c_void_p(address), ctypes.c_size_t(PAGE))
        print(done, done < 0 and errno.errorcode[ctypes.get_errno()], os.lseek(fd, 0, os.SEEK_CUR))

    signal.signal(signal.SIGXFSZ, lambda *_: print("SIGXFSZ"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, -1))
    os.ftruncate(fd, 5)
    os.lseek(fd, 5, os.SEEK_SET)
    print(os.writev(fd, [b"a" * 60, b"b" * 60]), os.fstat(fd).st_size, os.pread(fd, 999, 60))
    print(told(os.write, fd, b"more"), os.fstat(fd).st_size, told(os.write, fd, b""))
    print(told(os.ftruncate, fd, 101), told(os.ftruncate, fd, 100), os.fstat(fd).st_size, flush=True)
    os._exit(0)
"""


def test_what_is_written_ends_where_it_does_natively(served: Served, written: list[tuple[int, int]]) -> None:
    native = served.bench.work / "native"
    (native / "mnt").mkdir(parents=True)
    expected = served.natively(AT_THE_EDGE, native)
    assert served.run(AT_THE_EDGE) == expected
    assert expected.count("SIGXFSZ") == 2
    assert (5, 1) in written
    assert (5, 60) in written
    assert (65, 35) in written
    assert served.server.log.count("FSYNC") == 2
    assert served.content(b"file") == (native / "mnt/file").read_bytes()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of the calls are those of x86-64")
def test_what_is_written_asynchronously_is_written_when_it_is_closed(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    served.server.add(b"file", b"0123456789")
    script = """
        import ctypes, struct
        libc, context = ctypes.CDLL(None, use_errno=True), ctypes.c_ulong()
        assert libc.syscall(206, 8, ctypes.byref(context)) == 0  # io_setup
        fd = os.open("mnt/file", os.O_WRONLY)
        data = ctypes.create_string_buffer(b"later")
        block = struct.pack("<QIIHhIQQqQII", 1, 0, 0, 1, 0, fd, ctypes.addressof(data), 5, 2, 0, 0, 0)
        held = ctypes.create_string_buffer(block)
        assert libc.syscall(209, context, 1, ctypes.byref(ctypes.c_void_p(ctypes.addressof(held)))) == 1
        events = ctypes.create_string_buffer(32)
        assert libc.syscall(208, context, 1, 1, events, None) == 1  # io_getevents
        os.write(fd, b"ab")
        os.close(fd)
    """
    served.run(script)
    assert served.content(b"file") == b"ablater789"
    assert "io_submit: what it writes by this descriptor" in capfd.readouterr().err
