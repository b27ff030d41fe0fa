"""Files of FUSE mounts with direct input and output: each read and write is one for the server."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from behaviour.served import Handles, Served, refuse
from diorama.fuse.flags import FOpen
from diorama.fuse.handles import (
    CopyFileRangeIn,
    FAllocateIn,
    IoctlIn,
    IoctlOut,
    LSeekIn,
    LSeekOut,
    OpenIn,
    ReadIn,
    WriteIn,
    WriteOut,
)
from diorama.fuse.wire import Attr


@pytest.fixture
def direct(served: Served) -> Served:
    """A server that wants it, with a file."""
    served.server.add(b"file", b"0123456789")
    served.handles = Handles(served.server, FOpen.DIRECT_IO)  # type: ignore[attr-defined]
    return served


def test_every_way_to_read_and_write(direct: Served) -> None:
    script = """
        fd = os.open("mnt/file", os.O_RDWR)
        print(os.read(fd, 3), os.read(fd, 100), os.read(fd, 100), os.pread(fd, 2, 4))
        print(os.lseek(fd, 2, os.SEEK_SET), os.lseek(fd, -1, os.SEEK_END), os.lseek(fd, -8, os.SEEK_CUR))
        print(os.readv(fd, [one := bytearray(2), two := bytearray(3)]), one, two)
        print(os.preadv(fd, [one, two], 7), one, two)
        print(os.write(fd, b"ab"), os.pwrite(fd, b"XY", 0), os.writev(fd, [b"c", b"de"]))
        print(os.pwritev(fd, [b"-", b"+"], 11), os.fstat(fd).st_size, os.stat("mnt/file").st_size)
        print(told(os.lseek, fd, -1, os.SEEK_SET), told(os.pread, fd, 1, -1))
        os.ftruncate(fd, 5)
        os.fsync(fd)
        print(os.pread(fd, 100, 0), os.lseek(fd, 0, os.SEEK_CUR))
        with open("mnt/file") as file:
            print(file.read())
    """
    native = direct.bench.work / "native"
    native.mkdir()
    (native / "mnt").mkdir()
    (native / "mnt/file").write_bytes(b"0123456789")
    assert direct.run(script) == direct.natively(script, native)
    assert direct.content(b"file") == (native / "mnt/file").read_bytes()


def test_what_the_server_takes_and_gives_is_what_the_program_is_told(direct: Served) -> None:
    asked: list[tuple[int, int, int]] = []

    def read(header: Any, body: bytes) -> bytes:
        wanted = ReadIn.decode(body)
        asked.append((wanted.fh, wanted.offset, wanted.size))
        return b"abc"[: wanted.size]

    def write(header: Any, body: bytes) -> bytes:
        wanted = WriteIn.decode(body)
        asked.append((wanted.fh, wanted.offset, wanted.size))
        return WriteOut(size=min(wanted.size, 4)).encode()

    direct.server.override |= {"READ": read, "WRITE": write}
    script = """
        fd = os.open("mnt/file", os.O_RDWR)
        print(os.read(fd, 10), os.read(fd, 2), os.write(fd, b"0123456789"), os.lseek(fd, 0, os.SEEK_CUR))
    """
    assert direct.run(script) == ["b'abc' b'ab' 4 9"]
    assert asked == [(1, 0, 10), (1, 3, 2), (1, 5, 10)]


def test_what_is_removed_while_it_is_open_goes_on(direct: Served) -> None:
    script = """
        fd = os.open("mnt/file", os.O_RDWR)
        os.unlink("mnt/file")
        status = os.fstat(fd)
        print(status.st_nlink, status.st_size, os.read(fd, 3), os.write(fd, b"x"), os.listdir("mnt"))
        print(os.readlink(f"/proc/self/fd/{fd}").rpartition("/")[2])
    """
    assert direct.run(script) == ["0 10 b'012' 1 []", "file (deleted)"]


def test_who_only_writes_need_not_be_able_to_read(served: Served) -> None:
    """Nor may the server be: what it does not give cannot be kept here."""
    handles = Handles(served.server)
    served.server.add(b"file", b"0123456789", 0o100200)

    def opened(header: Any, body: bytes) -> bytes:
        if OpenIn.decode(body).flags & os.O_ACCMODE != os.O_WRONLY:
            raise OSError(errno.EACCES, "")
        return handles.open(header, body)

    served.server.override |= {"OPEN": opened, "READ": refuse(errno.EBADF)}
    script = """
        print(told(os.open, "mnt/file", os.O_RDONLY), told(os.open, "mnt/file", os.O_RDWR))
        fd = os.open("mnt/file", os.O_WRONLY)
        print(os.pwrite(fd, b"ab", 3), os.fstat(fd).st_size, os.close(fd))
        subprocess.run(["bash", "-c", "echo more >> mnt/file"], check=True)
    """
    assert served.run(script) == ["EACCES EACCES", "2 10 None"]
    assert served.content(b"file") == b"012ab56789more\n"


def test_errors_come_at_once(direct: Served) -> None:
    direct.server.override |= {"READ": refuse(errno.EAGAIN), "WRITE": refuse(errno.ENOSPC)}
    direct.server.override["FLUSH"] = refuse(errno.EDQUOT)
    script = """
        fd = os.open("mnt/file", os.O_RDWR)
        print(told(os.read, fd, 10), told(os.write, fd, b"x"), told(os.close, fd), told(os.fstat, fd))
        fd = os.open("mnt/file", os.O_RDONLY)
        print(told(os.write, fd, b"x"), fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE)
        fd = os.open("mnt/file", os.O_WRONLY | os.O_APPEND)
        print(told(os.read, fd, 1), fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND))
    """
    last = f"EBADF {os.O_WRONLY | os.O_APPEND}"
    assert direct.run(script) == ["EAGAIN ENOSPC EDQUOT EBADF", "EBADF 0", last]


def test_what_is_long_is_asked_in_pieces(direct: Served) -> None:
    script = """
        fd = os.open("mnt/file", os.O_RDWR)
        data = os.urandom(3_000_000)
        print(os.write(fd, data), os.pread(fd, 4_000_000, 0) == data)
    """
    assert direct.run(script) == ["3000000 True"]
    assert len(direct.requests("WRITE")) == -(-3_000_000 // (1 << 17))


def test_appending_is_at_the_end(direct: Served) -> None:
    script = """
        fd = os.open("mnt/file", os.O_RDWR | os.O_APPEND)
        print(os.write(fd, b"end"), os.lseek(fd, 0, os.SEEK_CUR))
        print(os.lseek(fd, 0, os.SEEK_SET), os.write(fd, b"!"))
        fcntl.fcntl(fd, fcntl.F_SETFL, 0)
        print(os.lseek(fd, 1, os.SEEK_SET), os.write(fd, b"_"))
    """
    assert direct.run(script) == ["3 13", "0 1", "1 1"]
    assert direct.content(b"file") == b"0_23456789end!"


def test_duplicates_and_children_have_one_offset_and_one_handle(direct: Served) -> None:
    script = """
        fd = os.open("mnt/file", os.O_RDONLY)
        other, third = os.dup(fd), fcntl.fcntl(fd, fcntl.F_DUPFD, 5)
        print(os.read(fd, 2), os.read(other, 2))
        os.close(fd)
        out = subprocess.run(["head", "-c", "3"], stdin=other, capture_output=True).stdout
        print(out, os.read(third, 100))
        os.mkdir("mnt/before")
    """
    assert direct.run(script) == ["b'01' b'23'", "b'456' b'789'"]
    direct.wait(lambda: direct.handles.released)  # type: ignore[attr-defined]
    assert direct.handles.released == [1]  # type: ignore[attr-defined]
    assert direct.requests("MKDIR", "RELEASE") == ["MKDIR", "RELEASE"]


def test_shells_redirect_to_it(direct: Served) -> None:
    script = """
        writing = "echo one > mnt/file; echo two >> mnt/file; "
        subprocess.run(["bash", "-c", writing + "cat < mnt/file; cat mnt/file"])
    """
    assert direct.run(script) == ["one", "two", "one", "two"]
    assert direct.requests("WRITE") == ["WRITE", "WRITE"]


def test_it_has_no_small_number(direct: Served) -> None:
    script = """
        fd = os.open("mnt/file", os.O_RDONLY)
        print(fd >= 512, told(os.dup2, fd, 9), os.dup2(fd, 600), os.read(600, 3))
    """
    assert direct.run(script) == ["True EMFILE 600 b'012'"]


def test_it_has_the_number_of_standard_input_if_that_is_free(direct: Served) -> None:
    """As `tar` closes that and duplicates its archive, and aborts if it gets another."""
    script = """
        libc = __import__("ctypes").CDLL(None)
        fd = os.open("mnt/file", os.O_RDONLY)
        os.close(0)
        print(libc.dup(fd), os.read(0, 3), libc.dup(fd) >= 512)
        os.close(0)
        print(fcntl.fcntl(fd, fcntl.F_DUPFD, 0), os.read(0, 3), fcntl.fcntl(fd, fcntl.F_DUPFD, 1) >= 512)
        os.close(0)
        print(os.open("mnt/file", os.O_RDONLY), os.read(0, 3))
    """
    assert direct.run(script) == ["0 b'012' True", "0 b'345' True", "0 b'012'"]


def test_it_is_not_passed_to_where_it_would_not_be_seen(direct: Served) -> None:
    script = """
        import socket
        one, other = socket.socketpair()
        fd, plain = os.open("mnt/file", os.O_RDONLY), os.open("mnt", os.O_RDONLY)
        print(told(socket.send_fds, one, [b"x"], [fd]), told(socket.send_fds, one, [b"y"], [plain]))
        print(len(socket.recv_fds(other, 9, 9)[1]))
    """
    assert direct.run(script) == ["EINVAL 1", "1"]


def test_it_is_not_mapped_and_moved_by_its_reader(direct: Served) -> None:
    script = """
        fd = os.open("mnt/file", os.O_RDWR)
        print(told(mmap.mmap, fd, 10))
        out = os.open("mnt/out", os.O_RDWR | os.O_CREAT)
        print(told(os.sendfile, out, fd, 0, 10))
    """
    assert direct.run(script) == ["ENODEV", "EINVAL"]


COPYING = """
    source, target = os.open("mnt/file", os.O_RDWR), os.open("mnt/copy", os.O_RDWR | os.O_CREAT)
    os.write(target, b"abcdefghij")
    os.lseek(target, 0, os.SEEK_SET)
    copy = os.copy_file_range
    print(copy(source, target, 4), os.lseek(source, 0, os.SEEK_CUR), os.lseek(target, 0, os.SEEK_CUR))
    print(copy(source, target, 99, 5, 6), copy(source, target, 5, 10), copy(source, target, 0, 0, 0))
    print(os.pread(target, 99, 0), os.lseek(source, 0, os.SEEK_CUR))
    print(told(copy, source, source, 5, 0, 2), copy(source, source, 2, 0, 8), os.pread(source, 99, 0))
    appending = os.open("mnt/copy", os.O_WRONLY | os.O_APPEND)
    print(told(copy, source, appending, 1), told(copy, appending, target, 1))
    print(told(copy, source, os.open("mnt/file", os.O_RDONLY), 1))
"""


@pytest.mark.parametrize("knows", [True, False], ids=["by the server", "here"])
def test_ranges_are_copied(direct: Served, knows: bool) -> None:
    def copy(header: Any, body: bytes) -> bytes:
        wanted = CopyFileRangeIn.decode(body)
        target = direct.server.nodes[wanted.nodeid_out]
        data = direct.server.nodes[header.nodeid].content[wanted.off_in :][: wanted.len]
        target.content = (
            target.content[: wanted.off_out].ljust(wanted.off_out, b"\0")
            + data
            + target.content[wanted.off_out + len(data) :]
        )
        return WriteOut(len(data)).encode()

    if knows:
        direct.server.override["COPY_FILE_RANGE"] = copy
    native = direct.bench.work / "native"
    (native / "mnt").mkdir(parents=True)
    (native / "mnt/file").write_bytes(b"0123456789")
    assert direct.run(COPYING) == direct.natively(COPYING, native)
    assert len(direct.requests("COPY_FILE_RANGE")) == (3 if knows else 1)


def test_ranges_are_copied_to_what_is_cached_and_not_elsewhere(served: Served) -> None:
    handles = Handles(served.server, FOpen.DIRECT_IO)
    served.server.add(b"file", b"0123456789")

    def change(header: Any, body: bytes) -> bytes:
        handles.how = 0
        return served.server.mkdir(header, body)

    served.server.override["MKDIR"] = change
    script = """
        source = os.open("mnt/file", os.O_RDWR)
        os.mkdir("mnt/change")
        cached, host = os.open("mnt/cached", os.O_RDWR | os.O_CREAT), os.open("host", os.O_RDWR | os.O_CREAT)
        print(os.copy_file_range(source, cached, 4), os.lseek(cached, 0, os.SEEK_CUR), os.pread(cached, 9, 0))
        print(os.copy_file_range(cached, source, 2, 1, 8), os.pread(source, 99, 0))
        print(told(os.copy_file_range, source, host, 4), told(os.copy_file_range, host, source, 4))
    """
    assert served.run(script) == ["4 4 b'0123'", "2 b'0123456712'", "EXDEV EXDEV"]
    served.wait(lambda: served.content(b"cached") == b"0123")


@pytest.mark.parametrize(
    ("how", "second"), [(FOpen.NONSEEKABLE, 3), (FOpen.STREAM, 0)], ids=["nonseekable", "stream"]
)
def test_what_has_no_offset(served: Served, how: FOpen, second: int) -> None:
    Handles(served.server, how | FOpen.DIRECT_IO)
    served.server.add(b"file", b"0123456789")
    offsets: list[int] = []

    def read(header: Any, body: bytes) -> bytes:
        offsets.append(ReadIn.decode(body).offset)
        return b"abc"

    served.server.override["READ"] = read
    script = """
        fd = os.open("mnt/file", os.O_RDWR)
        print(os.read(fd, 3), os.read(fd, 3), told(os.lseek, fd, 0, os.SEEK_SET), told(os.pread, fd, 1, 0))
    """
    assert served.run(script) == ["b'abc' b'abc' ESPIPE ESPIPE"]
    assert offsets == [0, second]


def test_holes_and_room(direct: Served) -> None:
    script = """
        fd = os.open("mnt/file", os.O_RDWR)
        print(os.lseek(fd, 3, os.SEEK_DATA), os.lseek(fd, 3, os.SEEK_HOLE))
        print(told(os.lseek, fd, 10, os.SEEK_DATA))
        print(told(os.posix_fallocate, fd, 0, 20))
    """
    # The C library writes what it cannot have allocated.
    assert direct.run(script) == ["3 10", "ENXIO", "None"]
    assert len(direct.content(b"file")) == 20
    assert direct.requests("LSEEK", "FALLOCATE") == ["LSEEK", "FALLOCATE"], "who knows it not is asked once"


def test_holes_and_room_of_a_server_that_knows_them(direct: Served) -> None:
    asked: list[object] = []

    def seek(header: Any, body: bytes) -> bytes:
        asked.append(LSeekIn.decode(body).whence)
        return LSeekOut(offset=7).encode()

    def allocate(header: Any, body: bytes) -> bytes:
        wanted = FAllocateIn.decode(body)
        asked.append((wanted.mode, wanted.offset, wanted.length))
        return b""

    direct.server.override |= {"LSEEK": seek, "FALLOCATE": allocate}
    script = """
        fd = os.open("mnt/file", os.O_RDWR)
        print(os.lseek(fd, 3, os.SEEK_HOLE), os.lseek(fd, 0, os.SEEK_CUR))
        print(told(os.posix_fallocate, fd, 2, 20))
    """
    assert direct.run(script) == ["7 7", "None"]
    assert asked == [os.SEEK_HOLE, (0, 2, 20)]


def test_who_waits_for_a_read_can_be_interrupted(direct: Served) -> None:
    waiting: list[int] = []

    def wait(header: Any, body: bytes) -> None:
        waiting.append(header.unique)

    def interrupt(header: Any, body: bytes) -> None:
        direct.server.answer(waiting.pop(), b"", errno.EINTR)

    direct.server.override |= {"READ": wait, "INTERRUPT": interrupt}
    script = """
        import signal
        def told_so(*_):
            raise TimeoutError
        signal.signal(signal.SIGALRM, told_so)
        fd = os.open("mnt/file", os.O_RDONLY)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            os.read(fd, 10)
        except TimeoutError:
            print("interrupted")
    """
    assert direct.run(script) == ["interrupted"]


def test_who_has_it_cached_sees_what_is_written(served: Served) -> None:
    handles = Handles(served.server)
    served.server.add(b"file", b"old")

    def change(header: Any, body: bytes) -> bytes:
        handles.how = FOpen.DIRECT_IO
        return served.server.mkdir(header, body)

    served.server.override["MKDIR"] = change
    script = """
        cached = os.open("mnt/file", os.O_RDONLY)
        print(cached < 512, os.read(cached, 10))
        os.mkdir("mnt/change")
        fd = os.open("mnt/file", os.O_RDWR)
        os.write(fd, b"newer")
        print(fd >= 512, os.pread(cached, 10, 0))
    """
    assert served.run(script) == ["True b'old'", "True b'newer'"]


@pytest.mark.parametrize("how", [0, FOpen.DIRECT_IO], ids=["cached", "direct"])
def test_the_server_is_asked_for_device_control(served: Served, how: int) -> None:
    Handles(served.server, how)
    served.server.add(b"file", b"0123456789")
    asked: list[tuple[int, bytes, int]] = []

    def control(header: Any, body: bytes) -> bytes:
        wanted, data = IoctlIn.decode(body), body[IoctlIn.width() :]
        if wanted.cmd == 0x5401:
            raise OSError(errno.ENOSYS, "isatty(3)")
        asked.append((wanted.cmd, data, wanted.out_size))
        result = -errno.EDOM if data == b"bad!" else 5
        return IoctlOut(result=result).encode() + data[::-1][: wanted.out_size]

    served.server.override["IOCTL"] = control
    script = """
        fd = os.open("mnt/file", os.O_RDWR)
        both, into, none = 0xC0044501, 0x40044502, 0x4503
        data = bytearray(b"abcd")
        print(fcntl.ioctl(fd, both, data), data, fcntl.ioctl(fd, none, 7), os.isatty(fd))
        print(fcntl.ioctl(fd, into, b"efgh"), told(fcntl.ioctl, fd, into, b"bad!"))
    """
    assert served.run(script) == ["5 bytearray(b'dcba') 5 False", "b'efgh' EDOM"]
    assert asked == [
        (0xC0044501, b"abcd", 4), (0x4503, b"", 0), (0x40044502, b"efgh", 0), (0x40044502, b"bad!", 0),
    ]  # fmt: skip


def test_a_huge_file_is_not_read_as_a_whole(served: Served) -> None:
    Handles(served.server)
    number = served.server.add(b"file", b"small")
    size = 5 << 30
    told = served.server.attr

    def attr(one: int) -> Attr:
        found = told(one)
        return Attr(ino=one, size=size, mode=found.mode, nlink=1) if one == number else found

    served.server.attr = attr  # type: ignore[method-assign]

    def read(header: Any, body: bytes) -> bytes:
        wanted = ReadIn.decode(body)
        return (wanted.offset >> 30).to_bytes(1, "big") * wanted.size

    served.server.override["READ"] = read
    script = """
        fd = os.open("mnt/file", os.O_RDONLY)
        print(os.fstat(fd).st_size >> 30, os.pread(fd, 3, 4 << 30), os.lseek(fd, -1, os.SEEK_END) >> 30)
    """
    assert served.run(script) == [r"5 b'\x04\x04\x04' 4"]
    assert 0 < len(served.requests("READ")) < 10
    assert served.run(script.replace("O_RDONLY", "O_RDWR")) == [r"5 b'\x04\x04\x04' 4"]
