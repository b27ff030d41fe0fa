"""Large files of FUSE mounts that are only read: what is read is fetched, and no more."""

from __future__ import annotations

import random
from typing import Any

import pytest

from behaviour.served import Handles, Served
from diorama.fuse.flags import FOpen
from diorama.fuse.handles import ReadIn

SIZE = 3 << 20
CONTENT = random.Random(5).randbytes(SIZE)
SOME = """
        def some(fd, *places):
            return [os.pread(fd, 4, place).hex() for place in places]
"""
PLACES = 0, 2_000_000, SIZE - 4


class Large(Served):
    """One of them, whose server remembers what it was asked to read."""

    number = 0
    asked: list[tuple[int, int]]
    handles: Handles

    def fetched(self) -> int:
        return sum(size for _, size in self.asked)

    def expected(self, content: bytes = CONTENT, places: tuple[int, ...] = PLACES) -> str:
        return str([content[place : place + 4].hex() for place in places])


@pytest.fixture
def large(served: Served) -> Large:
    """A server with a file that is large already."""
    served.__class__ = Large
    assert isinstance(served, Large)
    served.number, served.asked = served.server.add(b"file", CONTENT), []
    read = served.server.read

    def remembered(header: Any, body: bytes) -> bytes:
        wanted = ReadIn.decode(body)
        served.asked.append((wanted.offset, wanted.size))
        return read(header, body)

    served.server.override["READ"] = remembered
    served.handles = Handles(served.server)
    served.filesystem.large_above = 1 << 20
    return served


def test_only_what_is_read_is_fetched(large: Large) -> None:
    script = SOME + """
        fd = os.open("mnt/file", os.O_RDONLY)
        print(fd >= 512, os.fstat(fd).st_size, os.lseek(fd, 0, os.SEEK_END), some(fd, 2_000_000))
        os.lseek(fd, 2_000_000, os.SEEK_SET)
        print(os.read(fd, 4).hex(), os.lseek(fd, 0, os.SEEK_CUR), os.read(os.dup(fd), 4).hex())
        named = os.open("mnt/file", os.O_PATH)
        print(some(os.open(f"/proc/self/fd/{named}", os.O_RDONLY), 2_000_008))
    """
    part = [CONTENT[at : at + 4].hex() for at in (2_000_000, 2_000_004, 2_000_008)]
    assert large.run(script) == [
        f"True {SIZE} {SIZE} ['{part[0]}']",
        f"{part[0]} 2000004 {part[1]}",
        f"['{part[2]}']",
    ]
    assert 0 < large.fetched() <= 1 << 20  # once more after the second open


def test_who_is_not_seen_to_read_has_all_of_it(large: Large) -> None:
    """Also who runs it, and who has no large descriptors."""
    script = SOME + f"""
        import ctypes, resource, socket
        def low(fd):
            return os.dup2(fd, 9)
        def moved(fd):
            return fcntl.fcntl(fd, fcntl.F_DUPFD, 3)
        def sent(fd):
            one, other = socket.socketpair()
            socket.send_fds(one, [b"x"], [fd])
            return socket.recv_fds(other, 9, 9)[1][0]
        def taken(fd):
            return ctypes.CDLL(None).syscall(438, os.pidfd_open(os.getpid()), fd, 0)
        def mapped(fd):
            shown, out = mmap.mmap(fd, 0, prot=mmap.PROT_READ), os.memfd_create("out")
            os.write(out, shown)
            return out
        def copied(fd):
            out = os.memfd_create("out")
            while os.sendfile(out, fd, None, 1 << 20):
                pass
            return out
        def given(fd):
            out = os.memfd_create("out")
            subprocess.run(["cat"], stdin=fd, stdout=out, check=True)
            return out
        def limited(fd):
            resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
            return os.open("mnt/limited", os.O_RDONLY)

        for way in (low, moved, sent, taken, mapped, copied, given, limited):
            fd = os.open("mnt/" + way.__name__, os.O_RDONLY)
            print(way.__name__, some(way(fd), *{PLACES}), some(fd, *{PLACES}))
    """
    ways = ["low", "moved", "sent", "taken", "mapped", "copied", "given", "limited"]
    for way in ways:
        large.server.add(way.encode(), CONTENT)
    assert large.run(script) == [f"{way} {large.expected()} {large.expected()}" for way in ways]


def test_another_opening_shows_what_it_has_become(large: Large) -> None:
    """Also to who has it open, and mapped, as pages of the kernel that do not hold any more."""
    script = SOME + f"""
        fd = os.open("mnt/file", os.O_RDONLY)
        shown = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
        print(some(fd, *{PLACES}), flush=True)
        sys.stdin.read(1)
        again = os.open("mnt/file", os.O_RDONLY)
        print(some(again, *{PLACES}), some(fd, *{PLACES}), shown[:4].hex(), os.fstat(fd).st_size, flush=True)
        sys.stdin.read(1)
        again = os.open("mnt/file", os.O_RDONLY)
        print(os.fstat(again).st_size, some(again, {SIZE}), os.pread(again, 99, {SIZE + 2}))
    """
    other, longer = CONTENT[::-1], CONTENT + b"more"
    with large.start(script) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline().decode().strip() == large.expected()
        large.server.nodes[large.number].content = other
        process.stdin.write(b"x")
        process.stdin.flush()
        same = large.expected(other)
        assert process.stdout.readline().decode().strip() == f"{same} {same} {other[:4].hex()} {SIZE}"
        large.server.nodes[large.number].content = longer
        rest, errors = process.communicate(b"x", timeout=50)
    assert (rest.decode().strip(), errors) == (f"{SIZE + 4} ['{b'more'.hex()}'] b're'", b"")


def test_one_that_has_become_shorter_ends_there(large: Large) -> None:
    script = """
        fd = os.open("mnt/file", os.O_RDONLY)
        print(len(os.pread(fd, 10, 0)), flush=True)
        sys.stdin.read(1)
        print(len(os.pread(fd, 100, 1_999_990)), os.pread(fd, 100, 2_500_000))
    """
    with large.start(script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"10\n"
        large.server.nodes[large.number].content = CONTENT[:2_000_000]
        rest, errors = process.communicate(b"x", timeout=50)
    assert (rest, errors) == (b"10 b''\n", b"")


def test_who_writes_has_all_of_it_and_who_reads_sees_that(large: Large) -> None:
    script = SOME + f"""
        fd = os.open("mnt/file", os.O_RDONLY)
        print(some(fd, 0))
        writer = os.open("mnt/file", os.O_RDWR)
        os.pwrite(writer, b"here", 2_000_000)
        print(some(fd, *{PLACES}))
        os.close(writer)
        os.truncate("mnt/file", 2_000_002)
        print(os.pread(fd, 9, 2_000_000), os.fstat(fd).st_size)
    """
    written = CONTENT[:2_000_000] + b"here" + CONTENT[2_000_004:]
    assert large.run(script) == [
        large.expected(places=(0,)), large.expected(written), "b'he' 2000002"
    ]  # fmt: skip
    assert large.content(b"file") == written[:2_000_002]
    handles = large.handles
    large.wait(lambda: sorted(handles.released) == list(range(1, len(handles.flags) + 1)))


def test_what_is_truncated_or_removed_by_its_name_is_not_fetched(large: Large) -> None:
    script = """
        fd = os.open("mnt/file", os.O_RDONLY)
        os.truncate("mnt/file", 2_000_002)
        print(os.pread(fd, 9, 2_000_000).hex(), os.fstat(fd).st_size)
        os.unlink("mnt/file")
        print(os.pread(fd, 4, 0).hex())
    """
    assert large.run(script) == [CONTENT[2_000_000:2_000_002].hex() + " 2000002", CONTENT[:4].hex()]
    assert large.fetched() <= 1 << 20


def test_what_the_server_keeps_is_not_fetched_again(large: Large) -> None:
    large.handles.how = FOpen.KEEP_CACHE
    script = SOME + """
        for _ in range(3):
            print(some(os.open("mnt/file", os.O_RDONLY), 0))
    """
    assert large.run(script) == [large.expected(places=(0,))] * 3
    assert large.fetched() <= 512 << 10
    assert large.requests("OPEN") == ["OPEN"] * 3
