"""Directories of FUSE mounts that are opened for the first time, without the interpreter."""

from __future__ import annotations

import stat
import textwrap
from collections.abc import Iterator

import pytest

from behaviour.harness import Bench
from behaviour.served import Served, serve

MANY = 40
LOOK = """
    FLAGS = os.O_RDONLY | os.O_DIRECTORY
    def shown(fd):
        "Where an open directory is, as three ways to ask tell, and what is in it."
        home = os.open(".", FLAGS)
        link = os.readlink(f"/proc/self/fd/{fd}")
        os.fchdir(fd)
        assert os.getcwd() == link, (os.getcwd(), link)
        assert os.stat(".").st_ino == os.fstat(fd).st_ino
        assert os.listdir() == os.listdir(fd)
        os.fchdir(home)
        os.close(home)
        return link.partition("/mnt/")[2], oct(os.fstat(fd).st_mode), sorted(os.listdir(fd))
"""


def looking(script: str) -> str:
    return textwrap.dedent(LOOK) + textwrap.dedent(script)


@pytest.fixture(params=["guardians", "notify"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def many(engine: str, bench: Bench) -> Iterator[Served]:
    """A directory of many, each with two names."""
    for served in serve(engine, bench):
        served.server.valid = 3600
        top = served.server.add(b"top", mode=stat.S_IFDIR | 0o755)
        for number in range(MANY):
            one = served.server.add(b"%d" % number, mode=stat.S_IFDIR | 0o755, parent=top)
            served.server.add(b"file", b"content", parent=one)
            served.server.add(b"below", mode=stat.S_IFDIR | 0o755, parent=one)
        yield served


def test_the_first_who_opens_one_does_not_wait_for_python(many: Served, asked: list[bytes]) -> None:
    """And it looks as one that Python opened does."""
    script = """
        fds = {number: os.open(f"mnt/top/{number}", FLAGS) for number in range(%d)}
        print(len({os.fstat(fd).st_ino for fd in fds.values()}))
        for number, fd in fds.items():
            assert shown(fd) == (f"top/{number}", "0o40755", ["below", "file"]), shown(fd)
    """
    assert many.run(looking(script % MANY)) == [str(MANY)]
    opened = [path for path in asked if path.startswith(b"/top/")]
    assert len({*opened}) < MANY / 2


def test_who_opens_one_by_another_path_does_not_either(many: Served, asked: list[bytes]) -> None:
    script = """
        fds = {number: os.open(f"mnt/top/{number}", FLAGS) for number in range(%d)}
        os.rename("mnt/top", "mnt/moved")
        again = {number: os.open(f"mnt/moved/{number}", FLAGS) for number in fds}
        print(all(os.fstat(fds[number]).st_ino == os.fstat(again[number]).st_ino for number in fds))
        for number in fds:
            assert shown(fds[number]) == shown(again[number]) != shown(os.open("mnt/moved", FLAGS))
            assert shown(fds[number])[0] == f"moved/{number}"
    """
    assert many.run(looking(script % MANY)) == ["True"]
    opened = [path for path in asked if path.startswith(b"/moved/")]
    assert len({*opened}) < MANY / 2


def test_one_that_is_open_is_renamed_and_what_is_below_it(many: Served) -> None:
    """Before Python knows of it, and while others open more."""
    script = """
        fds = {number: os.open(f"mnt/top/{number}/below", FLAGS) for number in range(%d)}
        def opening(numbers):
            for number in numbers:
                for top in ("mnt/top", "mnt/moved") * 20:
                    try:
                        found.append((number, os.open(f"{top}/{number}", FLAGS)))
                    except FileNotFoundError:
                        pass
        found, numbers = [], range(%d)
        threads = [threading.Thread(target=opening, args=(numbers[start::2],)) for start in range(2)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            os.rename("mnt/top", "mnt/moved")
            os.rename("mnt/moved", "mnt/top")
        os.rename("mnt/top", "mnt/moved")
        for number, fd in fds.items():
            assert shown(fd)[0] == f"moved/{number}/below", shown(fd)
        for number, fd in found:
            assert shown(fd)[0] == f"moved/{number}", shown(fd)
        print(bool(found))
    """
    assert many.run("import threading\n" + looking(script % (MANY, MANY))) == ["True"]


def test_one_that_is_open_is_removed(many: Served) -> None:
    """Before Python knows of it; what has its name then is another."""
    script = """
        for number in range(%d):
            path = f"mnt/top/{number}/below"
            fd = os.open(path, FLAGS)
            os.rmdir(path)
            assert told(os.listdir, fd) == []
            assert os.fstat(fd).st_nlink == 0
            assert told(lambda: os.mkdir("more", dir_fd=fd)) == "ENOENT"
            assert told(os.open, path, FLAGS) == "ENOENT"
            os.mkdir(path)
            again = os.open(path, FLAGS)
            assert os.listdir(again) == [] and os.fstat(again).st_ino != os.fstat(fd).st_ino
            assert os.readlink(f"/proc/self/fd/{again}").endswith(path)
            os.close(fd)
    """
    assert many.run(looking(script % MANY)) == []


def test_what_is_found_from_one_is_named_by_it(many: Served) -> None:
    """Files and directories, which may be known before it is."""
    script = """
        for number in range(%d):
            fd = os.open(f"mnt/top/{number}", FLAGS)
            file = os.open("file", os.O_RDONLY, dir_fd=fd)
            below = os.open("below", FLAGS, dir_fd=fd)
            os.mkdir("deeper", dir_fd=below)
            for path, name in (("file", file), ("below", below)):
                assert os.readlink(f"/proc/self/fd/{name}").endswith(f"/mnt/top/{number}/{path}")
            os.fchdir(below)
            deeper = os.open("deeper", FLAGS)
            os.chdir("/")
            assert os.readlink(f"/proc/self/fd/{deeper}").endswith(f"/mnt/top/{number}/below/deeper")
            os.chdir(home)
            assert os.read(file, 100) == b"content"
    """
    assert many.run("home = os.getcwd()\n" + looking(script % MANY)) == []


def test_who_watches_one_that_is_open_is_told_of_its_names(many: Served) -> None:
    """There is but one that stands for it, whoever has made that."""
    script = """
        libc = ctypes.CDLL(None, use_errno=True)
        for number in range(%d):
            fd = os.open(f"mnt/top/{number}", FLAGS)
            inotify = libc.inotify_init1(os.O_NONBLOCK)
            assert libc.inotify_add_watch(inotify, b"mnt/top/%%d" %% number, 0x100) > 0
            os.mkdir("new", dir_fd=fd)
            assert b"new" in os.read(inotify, 4096)
            os.close(inotify)
    """
    assert many.run("import ctypes\n" + looking(script % MANY)) == []
