"""Directories of FUSE mounts, as they are listed: without the interpreter, and a piece at a time."""

from __future__ import annotations

import errno
import stat
import textwrap
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from behaviour.harness import Bench
from behaviour.served import Served, refuse, serve
from diorama.fuse.handles import OpenOut, ReleaseIn
from modules.fuse_server import Server

MANY = 2000
REPEATED = 50
LISTING = """
import ctypes
def listed(fd, room=1 << 15):
    "The names, and the offset behind each, that one getdents64(2) tells."
    data = ctypes.create_string_buffer(room)
    size = ctypes.CDLL(None, use_errno=True).getdents64(fd, data, room)
    if size < 0:
        raise OSError(ctypes.get_errno(), "getdents64")
    found, at = [], 0
    while at < size:
        length = int.from_bytes(data[at + 16 : at + 18], sys.byteorder)
        name = data[at + 19 : at + length].partition(b"\\0")[0].decode()
        found.append((name, int.from_bytes(data[at + 8 : at + 16], sys.byteorder)))
        at += length
    return found
fd = os.open("mnt", os.O_RDONLY | os.O_DIRECTORY)
"""


def listing(script: str) -> str:
    return LISTING + textwrap.dedent(script)


@pytest.fixture(params=["guardians", "notify"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def served(engine: str, bench: Bench) -> Iterator[Served]:
    yield from serve(engine, bench)


def all_released(served: Served, count: int) -> bool:
    return len(served.requests("RELEASEDIR")) == count


@pytest.fixture(params=[True, False], ids=["plus", "plain"])
def large(request: pytest.FixtureRequest, bench: Bench, engine: str) -> Iterator[Served]:
    """A large directory, of a server that can do READDIRPLUS or not."""

    def prepare(server: Server) -> None:
        server.lists_plus, server.valid = request.param, 3600
        for number in range(MANY):
            server.add(b"%050d" % number)

    for served in serve(engine, bench, prepare):
        yield served
        asked = served.requests("OPENDIR")
        served.wait(partial(all_released, served, len(asked)))
        assert ("READDIR" in served.server.log) is not request.param


def is_released(served: Served, since: int) -> bool:
    return "RELEASEDIR" in served.server.log[since:]


def pieces(served: Served, since: int) -> int:
    """How often names were asked for."""
    return sum(name.startswith("READDIR") for name in served.server.log[since:])


def test_each_name_is_told_once(large: Served) -> None:
    script = """
        for room in (1 << 15, 100, 1 << 20):
            os.lseek(fd, 0, os.SEEK_SET)
            names = []
            while some := listed(fd, room):
                names += [name for name, _ in some]
            print(len(names), len(set(names)), names[:2], set(map(int, names[2:])) == set(range(%d)))
        print(told(listed, fd, 20), told(listed, fd, 0))
        os.lseek(fd, 0, os.SEEK_SET)
        print(told(listed, fd, 20), listed(fd, 24), listed(fd, 24), told(listed, fd, 20))
    """
    line = f"{MANY + 2} {MANY + 2} ['.', '..'] True"
    last = "EINVAL [('.', 1)] [('..', 2)] EINVAL"
    assert large.run(listing(script % MANY)) == [line, line, line, "[] []", last]


def test_who_reads_the_start_only_asks_for_no_more(large: Served) -> None:
    """And the handle is released when the directory is closed, or the program is gone."""
    script = """
        some = listed(fd)
        if sys.stdin.readline() == "close\\n":
            os.close(fd)
        print(len(some) > 100, flush=True)
        sys.stdin.readline()
        os._exit(0)
    """
    asked = list[int]()
    really = large.filesystem.entries

    def entries(inode: int) -> Any:
        asked.append(inode)
        return really(inode)

    large.filesystem.entries = entries  # type: ignore[method-assign]
    for closes in (True, False):
        for _ in range(REPEATED):
            asked.clear()
            begun = len(large.server.log)
            program = large.start(listing(script))
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write(b"close\n" if closes else b"go on\n")
            program.stdin.flush()
            assert program.stdout.readline() == b"True\n"
            if closes:
                large.wait(partial(is_released, large, begun))
            program.communicate(timeout=40)
            large.wait(partial(is_released, large, begun))
            if not asked:  # the server is never slow
                break
        else:
            raise AssertionError("Python is always asked")
        few, begun = pieces(large, begun), len(large.server.log)
        large.run(f"assert len(os.listdir('mnt')) == {MANY}")
        assert 0 < few < pieces(large, begun) / 2


def test_who_goes_back_finds_the_same(large: Served) -> None:
    script = """
        first, second = listed(fd, 8000), listed(fd, 8000)
        where = first[30][1]
        os.lseek(fd, where, os.SEEK_SET)
        listed(fd)
        os.lseek(fd, where, os.SEEK_SET)
        again = listed(fd, 1000)
        print(again == (first + second)[31:31 + len(again)])
        other = os.open("mnt", os.O_RDONLY | os.O_DIRECTORY)
        same = listed(other, 8000) == first, listed(os.dup(other), 8000) == second
        print(*same, listed(other, 100)[0][0] not in str(first))
        while listed(fd):
            pass
        while listed(other):
            pass
    """
    assert large.run(listing(script)) == ["True", "True True True"]


def test_who_reads_on_at_once_with_others_is_told_what_they_are_not(large: Served) -> None:
    script = """
        import threading
        names = []
        def read():
            while some := listed(fd, 600):
                names.extend(name for name, _ in some)
        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        print(len(names), len(set(names)))
    """
    assert large.run(listing(script)) == [f"{MANY + 2} {MANY + 2}"]


def test_what_stays_is_told_once_whatever_comes_and_goes(large: Served) -> None:
    """Who removes what it is told removes everything."""
    script = """
        names = []
        while some := listed(fd, 4000):
            names += [name for name, _ in some]
            if len(names) < 500:
                os.unlink("mnt/" + some[-1][0])
                os.unlink("mnt/%050d" % (1999 - len(names)))
                open("mnt/new%d" % len(names), "w").close()
                os.listdir("mnt")
        for name in names[2:]:
            told(os.unlink, "mnt/" + name)
        print(len(names) == len(set(names)), {name[:3] for name in os.listdir("mnt")} <= {"new"})
    """
    assert large.run(listing(script)) == ["True True"]


def test_a_directory_tells_of_itself_and_of_the_one_above(served: Served) -> None:
    above = served.server.add(b"above", mode=0o040755)
    served.server.add(b"below", mode=0o040755, parent=above)
    script = """
        for path in "mnt", "mnt/above", "mnt/above/below":
            with os.scandir(path) as names:
                print([(one.name, one.inode(), one.is_dir()) for one in names])
            data, fd = ctypes.create_string_buffer(48), os.open(path, os.O_RDONLY)
            assert ctypes.CDLL(None).getdents64(fd, data, 48) == 48
            numbers = [int.from_bytes(data[at : at + 8], sys.byteorder) for at in (0, 24)]
            print(numbers == [os.stat(path).st_ino, os.stat(path + "/..").st_ino if path != "mnt" else 1])
    """
    assert served.run(listing(script)) == [
        f"[('above', {above}, True)]", "True", f"[('below', {above + 1}, True)]", "True", "[]", "True"
    ]  # fmt: skip


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
@pytest.mark.parametrize("name", ["OPENDIR", "READDIRPLUS"])
def test_what_the_server_says_is_what_the_program_gets(served: Served, name: str, code: int) -> None:
    served.server.override[name] = refuse(code)
    assert served.run("print(told(os.listdir, 'mnt'))") == [errno.errorcode[code]]
    served.wait(lambda: len(set(served.requests("OPENDIR", "RELEASEDIR"))) == (name != "OPENDIR") + 1)


@pytest.mark.parametrize("slow", ["OPENDIR", "READDIRPLUS"])
def test_a_slow_server_is_waited_for(served: Served, slow: str) -> None:
    """By Python, and each handle is released when nobody asks by it."""
    server, handles, released, asked = served.server, list[int](), list[int](), list[int]()
    server.add(b"name")

    def opened(_header: Any, _body: bytes) -> bytes:
        handles.append(len(handles) + 1)
        return OpenOut(fh=len(handles)).encode()

    def release(_header: Any, body: bytes) -> bytes:
        released.append(ReleaseIn.decode(body).fh)
        return b""

    def late(header: Any, body: bytes) -> bytes:
        asked.append(1)
        if len(asked) == 1:
            time.sleep(0.3)
        return opened(header, body) if slow == "OPENDIR" else server.readdirplus(header, body)

    server.override |= {"OPENDIR": opened, "RELEASEDIR": release, slow: late}
    assert served.run("print(os.listdir('mnt'), os.listdir('mnt'))") == ["['name'] ['name']"]
    served.wait(lambda: sorted(released) == handles)
    assert handles


@pytest.mark.parametrize("bad", [b"", b"a/b", b"a\0b", b"x" * 1025], ids=["empty", "slash", "zero", "long"])
@pytest.mark.parametrize("is_slow", [False, True], ids=["fast", "slow"])
def test_what_stands_behind_what_is_no_name_is_given_back(
    served: Served, bad: bytes, *, is_slow: bool
) -> None:
    server = served.server
    server.valid = 3600
    numbers = [server.add(name) for name in (b"before", bad, b"behind", b"last")]

    def late(header: Any, body: bytes) -> bytes:
        time.sleep(0.3 * is_slow)
        return server.readdirplus(header, body)

    server.override["READDIRPLUS"] = late
    assert served.run("print(told(os.listdir, 'mnt'))") == ["EIO"]
    def count(number: int) -> int:
        return [forgotten for forgotten, _ in server.forgotten].count(number)

    served.wait(lambda: {count(number) for number in numbers[1:]} == {len(served.requests("READDIRPLUS"))})
    assert count(numbers[0]) in (0, count(numbers[1]))


AGAIN = """
    def opened(path):
        "What is seen of a directory that is opened, also in another way."
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
        how = fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_NONBLOCK), fcntl.fcntl(fd, fcntl.F_GETFD)
        name, number = os.readlink(f"/proc/self/fd/{fd}").removeprefix(os.getcwd()), os.fstat(fd).st_ino
        os.fchdir(fd)
        names, here = os.listdir(), os.getcwd()
        os.fchdir(home)
        found = how, name, number, names, here.removeprefix(os.getcwd()), sorted(os.listdir(fd))
        os.close(fd)
        return found
    home = os.open(".", os.O_RDONLY)
"""


@pytest.fixture
def nested(served: Served) -> Served:
    served.server.valid = 3600
    above = served.server.add(b"above", mode=stat.S_IFDIR | 0o755)
    below = served.server.add(b"below", mode=stat.S_IFDIR | 0o755, parent=above)
    served.server.add(b"name", parent=below)
    return served


def test_a_directory_that_is_opened_again_is_the_same(nested: Served, asked: list[bytes]) -> None:
    """By its path, and from one above it; Python is not asked in the end."""
    script = """
        first = opened("mnt/above/below")
        above = os.open("mnt/above", os.O_RDONLY | os.O_DIRECTORY)
        print(*first[1:])
        for _ in range(100):
            assert opened("mnt/above/below") == first
            fd = os.open("below/.", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
            assert os.listdir(fd) == ["name"]
            os.close(fd)
    """
    name = "/mnt/above/below"
    assert nested.run(textwrap.dedent(AGAIN) + textwrap.dedent(script)) == [
        f"{name} 3 ['name'] {name} ['name']"
    ]
    assert asked.count(b"/above/below") < 100


def test_a_directory_that_was_renamed_is_opened_by_its_new_name(nested: Served) -> None:
    """Also what is below it, and what has its old name now."""
    script = """
        above = os.open("mnt/above", os.O_RDONLY | os.O_DIRECTORY)
        for _ in range(20):
            before = opened("mnt/above/below")
        os.rename("mnt/above", "mnt/moved")
        os.makedirs("mnt/above/below")
        for _ in range(20):
            after, other = opened("mnt/moved/below"), opened("mnt/above/below")
            fd = os.open("below", os.O_RDONLY | os.O_DIRECTORY, dir_fd=above)
            assert os.readlink(f"/proc/self/fd/{fd}") == os.getcwd() + "/mnt/moved/below"
            os.close(fd)
        print(*before[1:4], *after[1:4], other[1], other[3])
        os.rmdir("mnt/above/below")
        print(told(os.open, "mnt/above/below", os.O_RDONLY | os.O_DIRECTORY))
        os.mkdir("mnt/above/below")
        print(opened("mnt/above/below")[1], opened("mnt/above/below")[2] != other[2])
    """
    assert nested.run(textwrap.dedent(AGAIN) + textwrap.dedent(script)) == [
        "/mnt/above/below 3 ['name'] /mnt/moved/below 3 ['name'] /mnt/above/below []",
        "ENOENT",
        "/mnt/above/below True",
    ]
