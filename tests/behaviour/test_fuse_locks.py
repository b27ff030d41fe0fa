"""Locks in FUSE mounts: the server is asked, may take as long as it likes, and is told of every end."""

from __future__ import annotations

import errno
import fcntl
from typing import Any

import pytest

from behaviour.served import Handles, Served
from diorama.fuse.flags import LK_FLOCK, RELEASE_FLOCK_UNLOCK, FOpen, Init
from diorama.fuse.handles import FlushIn, LkIn, LkOut, ReleaseIn

LAST = (1 << 63) - 1
KINDS = ("read", "write", "free")


class Locking:
    """What a server is told of locks; it gives all, but for what is in `refused`."""

    def __init__(self, served: Served) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.ended: list[tuple[str, int]] = []
        self.refused: set[int] = set()
        self.server = served.server
        self.pids: list[int] = []
        self.owners: list[int] = []
        served.server.override |= {
            "SETLK": self.set,
            "SETLKW": self.wait,
            "GETLK": self.get,
            "FLUSH": self.flush,
            "RELEASE": self.release,
        }

    def note(self, how: str, body: bytes) -> LkIn:
        lock = LkIn.decode(body)
        kind = KINDS[lock.type]
        if lock.lk_flags & LK_FLOCK:
            self.asked.append((how, kind))
        else:
            self.asked.append((how, kind, lock.start, "" if lock.end == LAST else lock.end))
        self.pids.append(lock.pid)
        self.owners.append(lock.owner)
        return lock

    def set(self, header: Any, body: bytes) -> bytes:
        lock = self.note("set", body)
        if lock.type in self.refused:
            raise OSError(errno.EAGAIN, "")
        return b""

    def wait(self, header: Any, body: bytes) -> bytes | None:
        self.note("wait", body)
        return b""

    def get(self, header: Any, body: bytes) -> bytes:
        lock = self.note("get", body)
        if lock.start == 7:
            return LkOut(3, LAST, fcntl.F_RDLCK, 12).encode()
        return LkOut(type=fcntl.F_UNLCK).encode()

    def flush(self, header: Any, body: bytes) -> bytes:
        self.ended.append(("flush", FlushIn.decode(body).lock_owner))
        return b""

    def release(self, header: Any, body: bytes) -> bytes:
        released = ReleaseIn.decode(body)
        if released.release_flags & RELEASE_FLOCK_UNLOCK:
            self.ended.append(("release", released.lock_owner))
        return b""


@pytest.fixture(params=[0, FOpen.DIRECT_IO], ids=["cached", "direct"])
def locking(served: Served, request: pytest.FixtureRequest) -> Locking:
    """A server that wants to know of locks, with a file."""
    Handles(served.server, request.param)
    served.server.add(b"file", b"0123456789")
    return Locking(served)


SETTING = """
    import struct
    def lock(fd, kind, start=0, length=0, whence=0, wait=False, test=False):
        command = fcntl.F_GETLK if test else fcntl.F_SETLKW if wait else fcntl.F_SETLK
        data = struct.pack("hhqqi4x", kind, whence, start, length, 0)
        found = told(fcntl.fcntl, fd, command, data)
        return found if isinstance(found, str) else struct.unpack("hhqqi4x", found) if test else "done"
    R, W, U = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
"""


def test_ranges_are_the_servers(served: Served, locking: Locking) -> None:
    script = SETTING + """
    fd = os.open("mnt/file", os.O_RDWR)
    os.lseek(fd, 4, os.SEEK_SET)
    print(lock(fd, R), lock(fd, W, 1, 2), lock(fd, U, 2, 1, os.SEEK_CUR), lock(fd, R, -2, 1, os.SEEK_END))
    print(lock(fd, W, 5, -3, wait=True), lock(fd, W, 1, test=True), lock(fd, W, 7, test=True))
    print(os.getpid())
    """
    done, tested, pid = served.run(script)
    assert done == "done done done done"
    assert tested == f"done ({fcntl.F_UNLCK}, 0, 1, 0, 0) ({fcntl.F_RDLCK}, 0, 3, 0, 12)"
    assert locking.asked == [
        ("set", "read", 0, ""), ("set", "write", 1, 2), ("set", "free", 6, 6), ("set", "read", 8, 8),
        ("wait", "write", 2, 4), ("get", "write", 1, ""), ("get", "write", 7, ""),
    ]  # fmt: skip
    assert locking.pids == [0 if kind == "free" else int(pid) for _, kind, *_ in locking.asked]
    assert len(set(locking.owners)) == 1


def test_what_is_wrong_is_told_as_on_the_host(served: Served, locking: Locking) -> None:
    script = SETTING + """
    reading, writing = os.open("mnt/file", os.O_RDONLY), os.open("mnt/file", os.O_WRONLY)
    print(lock(reading, W), lock(writing, R), lock(reading, 7), lock(reading, R, -1), lock(reading, R, 1, -2))
    print(lock(reading, R, (1 << 63) - 1, 2), lock(reading, R, 0, 0, 9), told(fcntl.flock, reading, 3))
    print(lock(reading, U, test=True), told(fcntl.fcntl, reading, fcntl.F_SETLK, 0))
    """
    native = served.bench.work / "native"
    (native / "mnt").mkdir(parents=True)
    (native / "mnt/file").write_bytes(b"0123456789")
    assert served.run(script) == served.natively(script, native)
    assert not locking.asked


def test_what_is_refused_is_the_programs_to_know(served: Served, locking: Locking) -> None:
    locking.refused = {fcntl.F_WRLCK}
    script = SETTING + """
    fd = os.open("mnt/file", os.O_RDWR)
    print(lock(fd, W), lock(fd, R), told(fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB))
    print(told(fcntl.flock, fd, fcntl.LOCK_SH | fcntl.LOCK_NB))
    """
    assert served.run(script) == ["EAGAIN done EAGAIN", "None"]


def test_who_closes_a_file_has_no_locks_in_it(served: Served, locking: Locking) -> None:
    """Also with another descriptor than that by which he has locked, and one that only reads."""
    script = SETTING + """
    fd, other = os.open("mnt/file", os.O_RDONLY), os.open("mnt/file", os.O_RDONLY)
    lock(fd, R)
    os.mkdir("mnt/before")
    os.close(other)
    os.mkdir("mnt/after")
    """
    served.run(script)
    assert locking.ended[0] == ("flush", locking.owners[0])
    order = served.requests("MKDIR", "FLUSH")
    assert order[:3] == ["MKDIR", "FLUSH", "MKDIR"]


@pytest.mark.parametrize("how", ["sys.exit()", "os.kill(os.getpid(), 9)"], ids=["exits", "is killed"])
def test_who_is_gone_has_no_locks(served: Served, locking: Locking, how: str) -> None:
    """While another has the file open that he had locked."""
    script = SETTING + f"""
    fd = os.open("mnt/file", os.O_RDWR)
    child = os.fork()
    if not child:
        lock(fd, W)
        {how}
    os.waitpid(child, 0)
    print(sys.stdin.readline())
    """
    process = served.start(script)
    try:
        served.wait(lambda: ("flush", locking.owners[0]) in locking.ended if locking.owners else False)
        assert "RELEASE" not in served.server.log
    finally:
        process.communicate(b"", timeout=50)


def test_who_waits_holds_nobody_up_and_can_be_interrupted(served: Served, locking: Locking) -> None:
    waiting: list[int] = []

    def wait(header: Any, body: bytes) -> None:
        waiting.append(header.unique)

    def interrupt(header: Any, body: bytes) -> None:
        served.server.answer(waiting.pop(), b"", errno.EINTR)

    served.server.override |= {"SETLKW": wait, "INTERRUPT": interrupt}
    script = SETTING + """
    import signal
    class InterruptedByTest(Exception): pass
    def told_so(*_):
        raise InterruptedByTest
    signal.signal(signal.SIGALRM, told_so)
    fd = os.open("mnt/file", os.O_RDWR)
    child = os.fork()
    if not child:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        try:
            lock(fd, W, wait=True)
        except InterruptedByTest:
            print("interrupted", flush=True)
        os._exit(0)
    print(os.stat("mnt/file").st_size, lock(fd, R), flush=True)
    os.waitpid(child, 0)
    """
    assert served.run(script) == ["10 done", "interrupted"]


def test_who_is_killed_while_he_waits_gives_back_what_he_gets_after_all(
    served: Served, locking: Locking
) -> None:
    waiting: list[int] = []

    def wait(header: Any, body: bytes) -> None:
        locking.note("wait", body)
        waiting.append(header.unique)

    served.server.override |= {"SETLKW": wait}
    script = SETTING + """
    fd = os.open("mnt/file", os.O_RDWR)
    lock(fd, W, wait=True)
    """
    process = served.start(script)
    served.wait(lambda: waiting)
    process.kill()
    process.communicate(timeout=50)
    served.wait(lambda: "INTERRUPT" in served.server.log)
    served.server.answer(waiting[0], b"")
    served.wait(lambda: ("set", "free", 0, "") in locking.asked)


def test_locks_on_open_files(served: Served, locking: Locking) -> None:
    script = """
        fd = os.open("mnt/file", os.O_RDONLY)
        print(fcntl.flock(fd, fcntl.LOCK_SH), fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))
        print(fcntl.flock(fd, fcntl.LOCK_UN))
        os.close(fd)
    """
    assert served.run(script) == ["None None", "None"]
    assert locking.asked[:2] == [("wait", "read"), ("set", "write")]
    served.wait(lambda: ("set", "free") in locking.asked or "release" in [how for how, _ in locking.ended])


def test_a_lock_on_an_open_file_is_that_of_all_who_have_it(served: Served, locking: Locking) -> None:
    """It ends with the last of them."""
    script = """
        fd = os.open("mnt/file", os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX)
        child = os.fork()
        if child:
            os._exit(0)
        print(sys.stdin.readline())
    """
    process = served.start(script)
    served.wait(lambda: locking.asked)
    assert not [how for how, _ in locking.ended if how == "release"]
    process.communicate(b"", timeout=50)
    served.wait(lambda: "release" in [how for how, _ in locking.ended])
    assert ("release", locking.owners[0]) in locking.ended


def test_the_kernel_judges_between_programs_of_one_view(served: Served) -> None:
    Handles(served.server)
    served.server.add(b"file", b"0123456789")
    locking = Locking(served)
    script = """
        nb = fcntl.LOCK_NB
        one, other = os.open("mnt/file", os.O_RDONLY), os.open("mnt/file", os.O_RDONLY)
        print(told(fcntl.flock, one, fcntl.LOCK_SH), told(fcntl.flock, other, fcntl.LOCK_SH))
        print(told(fcntl.flock, one, fcntl.LOCK_EX | nb), told(fcntl.flock, one, fcntl.LOCK_UN))
        print(told(fcntl.flock, other, fcntl.LOCK_EX | nb), told(fcntl.flock, one, fcntl.LOCK_SH | nb))
        print(told(fcntl.flock, other, fcntl.LOCK_SH), told(fcntl.flock, other, fcntl.LOCK_UN))
    """
    assert served.run(script) == ["None None", "EAGAIN None", "None EAGAIN", "None None"]
    assert locking.asked == [("wait", "read"), ("set", "write"), ("wait", "read")]
    served.wait(lambda: [how for how, _ in locking.ended].count("release") == 1)


def test_who_does_not_want_to_know_is_not_asked(served: Served) -> None:
    Handles(served.server)
    served.server.add(b"file", b"0123456789")
    script = SETTING + """
    fd = os.open("mnt/file", os.O_RDWR)
    print(lock(fd, W), told(fcntl.flock, fd, fcntl.LOCK_EX))
    """
    connection = served.filesystem._channel.connection
    connection.features &= ~(Init.POSIX_LOCKS | Init.FLOCK_LOCKS)
    assert served.run(script) == ["done None"]
    assert not served.requests("SETLK", "SETLKW")
