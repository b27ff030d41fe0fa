"""FUSE servers that always have more: as from the kernel, who reads goes on, and can be ended."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from behaviour.harness import Bench
from behaviour.served import Served, serve
from diorama.fuse.handles import ReadIn
from diorama.fuse.wire import DirEnt
from diorama.modules.filesystems.fuse import listed

NAMES = 110
PIECE = b"".join([
    DirEnt(7, 1, 255, 8).encode() + b"%0255d" % number + bytes(-(DirEnt.width() + 255) % 8)
    for number in range(NAMES)
])  # fmt: skip
LAST = len(PIECE) // NAMES * (NAMES - 1)
GIVEN = 200 << 20
KEPT = 150 << 20


@pytest.fixture(params=["guardians", "notify"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def served(engine: str, bench: Bench) -> Iterator[Served]:
    def prepare(server: Any) -> None:
        server.lists_plus = False
        server.override["READDIR"] = more

    yield from serve(engine, bench, prepare)


def more(_header: object, body: bytes) -> bytes:
    """The same names again, with other offsets."""
    wanted = ReadIn.decode(body)
    last = DirEnt(7, wanted.offset + NAMES, 255, 8).encode()
    return PIECE[:LAST] + last + PIECE[LAST + len(last) :]


def resident() -> int:
    """How much memory we have, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))


def test_a_listing_goes_on_and_is_not_kept(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"""
        import ctypes, itertools
        getdents64 = ctypes.CDLL(None).getdents64
        data, total = ctypes.create_string_buffer(1 << 15), 0
        fd = os.open("mnt", os.O_RDONLY | os.O_DIRECTORY)
        def read():
            while (size := getdents64(fd, data, len(data))) < 0:  # a slow answer, and Python gives up
                pass
            return size
        while total < {GIVEN}:
            total += read()
        print(os.lseek(fd, 0, os.SEEK_CUR) > {GIVEN} // 300)
        for start in (1, 1000, 0):
            os.lseek(fd, start, os.SEEK_SET)
            print(read() > 1000, int.from_bytes(data[8:16], sys.byteorder))
    """
    monkeypatch.setattr(listed, "_MOST_NAMES", 1000)
    before = resident()
    assert served.run(script) == ["True", "True 2", "True 1001", "True 1"]
    assert resident() - before < KEPT


@pytest.mark.parametrize("is_slow", [False, True], ids=["fast", "slow"])
def test_who_lists_is_ended_by_a_signal(served: Served, *, is_slow: bool) -> None:
    answered = threading.Event()

    def late(header: object, body: bytes) -> bytes:
        if is_slow and not answered.is_set():
            time.sleep(0.3)
            answered.set()
        return more(header, body)

    served.server.override["READDIR"] = late
    program = served.start("import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); os.listdir('mnt')")
    served.wait(lambda: served.server.log.count("READDIR") > 30)
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=20)
    served.wait(lambda: len(served.requests("OPENDIR")) == len(served.requests("RELEASEDIR")))
    asked = served.server.log.count("READDIR")
    served.run("print(told(os.stat, 'mnt/file'))")
    assert served.server.log.count("READDIR") == asked


def test_what_a_slow_server_has_is_not_kept_without_end(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed, "_MOST_NAMES", 5 * NAMES)

    def late(header: object, body: bytes) -> bytes:
        time.sleep(0.2)
        return more(header, body)

    served.server.override["READDIR"] = late
    assert served.run("print(told(os.listdir, 'mnt'))") == ["EIO"]


def test_a_directory_of_nothing_but_itself_is_an_error(served: Served) -> None:
    def itself(_header: object, body: bytes) -> bytes:
        return DirEnt(1, ReadIn.decode(body).offset + 1, 1, 4).encode() + b"." + bytes(7)

    served.server.override["READDIR"] = itself
    assert served.run("print(told(os.listdir, 'mnt'))") == ["EIO"]


@pytest.mark.parametrize("size", [7, 1 << 17])
def test_a_file_has_as_much_as_is_told(served: Served, size: int) -> None:
    served.server.add(b"file", b"x" * size)
    served.server.override["READ"] = lambda _header, body: b"x" * ReadIn.decode(body).size
    for mode in "rb", "r+b":
        assert served.run(f"print(len(open('mnt/file', '{mode}').read()))") == [str(size)]
