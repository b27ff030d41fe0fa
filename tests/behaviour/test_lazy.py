"""Large files of a lazy mount are read in pieces, and programs cannot tell."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import struct
import subprocess
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

import diorama
from behaviour.harness import Bench
from behaviour.programs import Programs
from diorama.modules.filesystems.fsspec import open_fsspec
from diorama.modules.options import Options
from modules.objects import ObjectStore, piece_of

SIZE = (6 << 20) + 4096
HUGE = 4 << 30


@pytest.fixture(autouse=True)
def _objects() -> Iterator[None]:
    ObjectStore.reset()
    fsspec.register_implementation("objects", ObjectStore, clobber=True)
    yield
    ObjectStore.reset()


@pytest.fixture
def view(engine: str, bench: Bench) -> Iterator[diorama.View]:
    """A view with the object store on `mnt`, each file of more than 100 bytes in pieces."""
    (bench.work / "mnt").mkdir()
    with diorama.View(engine=engine, strict=True) as made:
        made.mount(open_fsspec("objects", "", Options.parse(["lazy=100"])), bench.work / "mnt")
        yield made
        assert not made.failures


def run(view: diorama.View, bench: Bench, *argv: Any, **options: Any) -> str:
    options = {"cwd": bench.work, "capture_output": True, "text": True, "timeout": 50} | options
    done = view.run([str(word) for word in argv], **options)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return str(done.stdout)


# -- the same as natively -------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [64, 32])
def test_every_way_to_read(view: diorama.View, bench: Bench, programs: Programs, bits: int) -> None:
    program = programs("lazy", bits)
    (bench.work / "real").write_bytes(piece_of(0, SIZE))
    native = subprocess.run([program, "real"], cwd=bench.work, capture_output=True, text=True, check=True)
    ObjectStore.sizes["file"] = SIZE
    assert run(view, bench, program, "mnt/file") == native.stdout
    assert native.stdout.splitlines()[-1] == "mappings"
    copying = programs("copying", bits)
    native = subprocess.run([copying, "real"], cwd=bench.work, capture_output=True, text=True, check=True)
    assert run(view, bench, copying, "mnt/file") == native.stdout


SHELL = r"""
cat mnt/file | md5sum
md5sum < mnt/file
tail -c 1000 mnt/file | md5sum
dd if=mnt/file bs=4096 skip=700 count=3 2>/dev/null | md5sum
cp mnt/file copy; cmp copy mnt/file && stat -c %s copy
grep -c . mnt/file
exec 3< mnt/file
head -c 5000 <&3 | md5sum
(head -c 5000 <&3; cat <&3) | md5sum
python3 -c 'import shutil, sys; shutil.copyfile("mnt/file", "other")'; cmp other mnt/file
python3 -c '
import mmap
file = open("mnt/file", "rb")
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
print(mapped[:] == open("copy", "rb").read())'
"""


def test_everyday_commands(view: diorama.View, bench: Bench) -> None:
    ObjectStore.sizes["file"] = SIZE
    (bench.directory / "native/mnt").mkdir(parents=True)
    (bench.directory / "native/mnt/file").write_bytes(piece_of(0, SIZE))
    native = subprocess.run(
        ["bash", "-c", SHELL], cwd=bench.directory / "native", capture_output=True, text=True, check=True
    )
    assert run(view, bench, "bash", "-c", SHELL) == native.stdout


def test_a_program_and_a_script_in_pieces_run(view: diorama.View, bench: Bench, programs: Programs) -> None:
    script = b"#!/bin/sh\n" + b"# long\n" * 100 + b"echo of the script\n"
    ObjectStore.store |= {"hello": programs("hello").read_bytes(), "script": script}
    executable = Options.parse(["lazy=100"])
    made = open_fsspec("objects", "", executable)
    original = made.stat

    def stat(path: str) -> Any:
        from dataclasses import replace

        found = original(path)
        return replace(found, mode=found.mode | 0o111)

    made.stat = stat  # type: ignore[method-assign]
    view.mount(made, bench.work / "mnt")
    ran = run(view, bench, "sh", "-c", "head -c 4 mnt/hello >/dev/null; mnt/hello; mnt/script")
    assert ran == "hello from hello with 1 arguments, last mnt/hello\nof the script\n"


# -- only what is read ----------------------------------------------------------------------------

PARTLY = """
import os, sys
fd = os.open("mnt/huge", os.O_RDONLY)
assert os.fstat(fd).st_size == 4 << 30
for offset in range(100 << 20, 4 << 30, 500 << 20):
    data = os.pread(fd, 1 << 20, offset)
    assert len(data) == 1 << 20
    assert int.from_bytes(data[:8], "big") == offset // 8
    assert int.from_bytes(data[-8:], "big") == (offset + (1 << 20)) // 8 - 1
with open("mnt/huge", "rb") as file:
    file.seek(2 << 30)
    while file.tell() < (2 << 30) + (100 << 20):
        offset = file.tell()
        assert int.from_bytes(file.read(65536)[:8], "big") == offset // 8
"""


def present_bytes(view: diorama.View) -> int:
    """The room that the memfds of a view take."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("/memfd:huge"):
                found += os.stat(f"/proc/self/fd/{name}").st_blocks * 512
        except OSError:
            continue
    return found


def test_four_gigabytes_are_read_in_part_with_little_memory(view: diorama.View, bench: Bench) -> None:
    ObjectStore.sizes["huge"] = HUGE
    run(view, bench, "python3", "-c", PARTLY)
    assert ObjectStore.fetched < 128 << 20
    assert 0 < present_bytes(view) <= 32 << 20


def test_one_read_fetches_no_more_than_is_near(view: diorama.View, bench: Bench) -> None:
    ObjectStore.sizes["huge"] = 10 << 30
    read = "dd if=mnt/huge bs=1M skip=5000 count=1 status=none | md5sum"
    expected = hashlib.md5(piece_of(5000 << 20, 5001 << 20)).hexdigest()
    assert run(view, bench, "sh", "-c", read).split()[0] == expected
    assert ObjectStore.fetched <= 4 << 20


def test_a_stored_member_of_a_huge_archive(engine: str, bench: Bench) -> None:
    size = 5 << 30
    sparse_zip(bench.work / "a.zip", size, b"at the end")
    (bench.work / "mnt").mkdir()
    with diorama.View(engine=engine, strict=True) as view:
        view.mount(f"zip:{bench.work / 'a.zip'}", bench.work / "mnt")
        assert run(view, bench, "stat", "-c", "%s", "mnt/huge") == f"{size}\n"
        assert run(view, bench, "tail", "-c", "10", "mnt/huge") == "at the end"
        zeros = run(view, bench, "sh", "-c", "head -c 1000000 mnt/huge | md5sum")
        assert zeros.split()[0] == hashlib.md5(bytes(1_000_000)).hexdigest()
        assert present_bytes(view) <= 32 << 20


def sparse_zip(path: Path, size: int, end: bytes) -> None:
    """An archive with one stored member, which is a hole but for its end."""
    extra = struct.pack("<HHQQ", 1, 16, size, size)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 45, 0, 0, 0, 33, 0, 0xFFFFFFFF, 0xFFFFFFFF, 4, len(extra))
    central = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 45, 45, 0, 0, 0, 33, zlib.crc32(b""), 0xFFFFFFFF, 0xFFFFFFFF, 4, len(extra),
        0, 0, 0, 0, 0,
    )  # fmt: skip
    with path.open("wb") as file:
        file.write(local + b"huge" + extra)
        file.seek(size - len(end), os.SEEK_CUR)
        file.write(end)
        start = file.tell()
        directory = central + b"huge" + extra
        file.write(directory)
        file.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(directory), start))
        file.write(struct.pack("<4sLQL", b"PK\6\7", 0, start + len(directory), 1))
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), 0xFFFFFFFF, 0))


# -- what goes wrong ------------------------------------------------------------------------------


def test_a_failed_fetch_is_the_error_of_the_read(view: diorama.View, bench: Bench) -> None:
    ObjectStore.sizes["file"] = SIZE
    ask = "import os; fd = os.open('mnt/file', 0); input(); "
    for reading in ("os.read(fd, 10)", "os.sendfile(2, fd, 0, 10)", "__import__('mmap').mmap(fd, 0, prot=1)"):
        process = view.Popen(
            ["python3", "-c", ask + reading], cwd=bench.work, stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        process.stdin.write(b"")
        ObjectStore.failing = None
        _wait_until_open(process)
        ObjectStore.failing = ConnectionResetError(104, "gone")
        _, errors = process.communicate(b"\n", timeout=50)
        assert b"ConnectionResetError: [Errno 104]" in errors
        ObjectStore.failing = None
    assert run(view, bench, "head", "-c", "8", "mnt/file") == "\0" * 8


def _wait_until_open(process: Any) -> None:
    links = Path(f"/proc/{process.pid}/fd")
    while not any("memfd:file" in text_of(link) for link in links.iterdir()):
        assert process.poll() is None


def text_of(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGKILL])
def test_who_waits_for_a_slow_fetch_can_be_killed(
    view: diorama.View, bench: Bench, monkeypatch: pytest.MonkeyPatch, sig: signal.Signals
) -> None:
    ObjectStore.sizes |= {"slow": SIZE, "other": SIZE}
    entered, go_on = threading.Event(), threading.Event()
    original = ObjectStore.cat_file

    def slow(self: ObjectStore, path: str, *args: Any, **kwargs: Any) -> bytes:
        if path.endswith("slow"):
            entered.set()
            go_on.wait(50)
        return original(self, path, *args, **kwargs)

    monkeypatch.setattr(ObjectStore, "cat_file", slow)
    try:
        with view.Popen(["cat", "mnt/slow"], cwd=bench.work, stdout=subprocess.PIPE) as process:
            assert entered.wait(30)
            process.send_signal(sig)
            assert process.wait(timeout=50) == -sig
        # A backend that is not asynchronous is asked by one thread at a time, also for who is gone.
        go_on.set()
        look = "wc -c < mnt/other; head -c 8 mnt/other"
        assert run(view, bench, "sh", "-c", look) == f"{SIZE}\n" + "\0" * 8
    finally:
        go_on.set()
    assert run(view, bench, "head", "-c", "8", "mnt/slow") == "\0" * 8


def test_who_waits_for_a_slow_open_can_be_killed(
    view: diorama.View, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ObjectStore.store["small"] = b"text"
    entered, go_on = threading.Event(), threading.Event()
    original = ObjectStore._open

    def slow(self: ObjectStore, *args: Any, **kwargs: Any) -> Any:
        entered.set()
        go_on.wait(50)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(ObjectStore, "_open", slow)
    try:
        with view.Popen(["cat", "mnt/small"], cwd=bench.work, stdout=subprocess.PIPE) as process:
            assert entered.wait(30)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=50) == -signal.SIGINT
    finally:
        go_on.set()
    assert run(view, bench, "cat", "mnt/small") == "text"


def test_who_closes_his_memory_reads_on(view: diorama.View, bench: Bench) -> None:
    ObjectStore.sizes["file"] = SIZE
    script = """
import ctypes, os
fd = os.open("mnt/file", os.O_RDONLY)
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
print(os.pread(fd, 8, 4096), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""
    assert run(view, bench, "python3", "-c", script) == f"{piece_of(4096, 4104)!r} 0\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root sees what is closed")
def test_whose_memory_is_closed_is_refused_rather_than_deceived(view: diorama.View, bench: Bench) -> None:
    ObjectStore.sizes["file"] = SIZE
    closed = shutil.copy("/bin/cat", bench.work / "closed")
    os.chmod(closed, 0o111)
    command = ["sh", "-c", "exec ./closed < mnt/file"]
    done = view.run(command, cwd=bench.work, capture_output=True, text=True, timeout=50)
    assert done.stdout == ""
    assert "Operation not permitted" in done.stderr


def test_an_archive_in_pieces_is_mounted(engine: str, bench: Bench) -> None:
    import io
    import zipfile

    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("member", "of an archive\n")
    ObjectStore.store["a.zip"] = whole.getvalue() + b""
    (bench.work / "mnt").mkdir()
    (bench.work / "inner").mkdir()
    with diorama.View(engine=engine, strict=True) as view:
        view.mount(open_fsspec("objects", "", Options.parse(["lazy=100"])), bench.work / "mnt")
        view.mount(f"zip:{bench.work}/mnt/a.zip", bench.work / "inner")
        assert run(view, bench, "cat", "inner/member") == "of an archive\n"


def test_watching_sees_no_fetch(view: diorama.View, bench: Bench) -> None:
    ObjectStore.sizes["file"] = SIZE
    script = """
import ctypes, os
libc = ctypes.CDLL(None)
fd = libc.inotify_init1(os.O_NONBLOCK)
assert libc.inotify_add_watch(fd, b"mnt/file", 0x2) > 0
with open("mnt/file", "rb") as file:
    assert len(file.read()) == os.fstat(file.fileno()).st_size
try:
    print(os.read(fd, 1000))
except BlockingIOError:
    print("nothing was modified")
"""
    assert run(view, bench, "python3", "-c", script) == "nothing was modified\n"


def test_what_is_mounted_later_is_fetched_whole(engine: str, bench: Bench) -> None:
    ObjectStore.sizes["file"] = SIZE
    (bench.work / "mnt").mkdir()
    with diorama.View(engine=engine, strict=True, grows=True) as view:
        view.run(["true"])
        view.mount(open_fsspec("objects", "", Options.parse(["lazy=100"])), bench.work / "mnt")
        assert run(view, bench, "sh", "-c", "head -c 8 mnt/file | wc -c") == "8\n"
        assert ObjectStore.fetched == SIZE
