"""When what was written reaches the file system, and what becomes of it if it does not."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from diorama.abi.fcntl import AT_FDCWD
from diorama.abi.time import Times
from diorama.catalogue.files import UTimeNsAt
from diorama.catalogue.handles import In
from diorama.catalogue.io import FSync, SyncFs
from diorama.catalogue.paths import UnlinkAt
from diorama.dispatch.files import contents, finishing
from diorama.dispatch.mediator import Mediator
from diorama.modules.filesystems.memory import MemoryFileSystem
from diorama.modules.sources import make_mount
from dispatch.support import Inside, errno_of

NEW = os.O_CREAT | os.O_RDWR


class Keeping(MemoryFileSystem):
    """What is saved is kept in `saved`, by inode; `failing` is the errno that saving ends with instead."""

    saves_late = False
    lasts = True

    def __init__(self) -> None:
        super().__init__()
        self.saved: dict[int, bytes] = {}
        self.count = 0
        self.failing = 0
        self.forgotten: list[int] = []
        self.event = threading.Condition()

    def save_content(self, inode: int, fd: int) -> None:
        with self.event:
            self.count += 1
            self.event.notify_all()
            if self.failing:
                raise OSError(self.failing, os.strerror(self.failing))
            self.saved[inode] = os.pread(fd, 1 << 16, 0)
        super().save_content(inode, fd)

    def forget(self, inode: int) -> None:
        with self.event:
            self.forgotten.append(inode)
            self.event.notify_all()
        super().forget(inode)


@pytest.fixture
def keeping() -> Keeping:
    return Keeping()


@pytest.fixture
def inside(keeping: Keeping, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inside]:
    (tmp_path / "mnt").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    mediator = Mediator()
    mediator.mount(make_mount(keeping), tmp_path / "mnt")
    yield Inside(mediator, gives=True)
    mediator.close()


@pytest.fixture
def mnt(tmp_path: Path) -> Path:
    return tmp_path / "mnt"


def wait_for(keeping: Keeping, done: object) -> None:
    with keeping.event:
        assert keeping.event.wait_for(done, 20)  # type: ignore[arg-type]


def test_closing_saves(inside: Inside, keeping: Keeping, mnt: Path) -> None:
    first = inside.open(mnt / "file", NEW, mode=0o644)
    second = inside.open(mnt / "file", os.O_WRONLY)
    os.write(first, b"one")
    os.close(first)
    os.pwrite(second, b"two", 3)
    os.close(second)
    wait_for(keeping, lambda: keeping.saved.get(2) == b"onetwo")


def test_looking_does_not_save(inside: Inside, keeping: Keeping, mnt: Path) -> None:
    os.close(inside.open(mnt / "file", NEW, mode=0o644))
    os.close(inside.open(mnt / "file", os.O_RDWR))
    os.close(inside.open(mnt / "file"))
    assert inside.mediator.close() == []
    assert keeping.count == 0


def test_fsync_saves_and_tells_of_failures_once(inside: Inside, keeping: Keeping, mnt: Path) -> None:
    fd = inside.open(mnt / "file", NEW, mode=0o644)
    os.write(fd, b"one")
    assert inside.ask(FSync(fd)) == 0
    assert keeping.saved == {2: b"one"}
    os.write(fd, b"two")
    keeping.failing = errno.ENOSPC
    assert errno_of(inside.ask, FSync(fd)) == errno.ENOSPC
    assert errno_of(inside.ask, SyncFs(fd)) == errno.ENOSPC
    keeping.failing = 0
    assert errno_of(inside.ask, FSync(fd)) == errno.ENOSPC  # that of syncfs, which this file has not told
    assert inside.ask(FSync(fd)) == 0
    assert keeping.saved == {2: b"onetwo"}
    os.close(fd)


def test_a_failure_after_closing_waits_for_fsync(inside: Inside, keeping: Keeping, mnt: Path) -> None:
    fd = inside.open(mnt / "file", NEW, mode=0o644)
    os.write(fd, b"one")
    keeping.failing = errno.EIO
    os.close(fd)
    wait_for(keeping, lambda: keeping.count == 1)
    keeping.failing = 0
    fd = inside.open(mnt / "file")
    content = inside.mediator.files.synthetic.contents.find(keeping, 2)
    assert content is not None
    with content.lock:  # until the failure is noted
        pass
    assert errno_of(inside.ask, FSync(fd)) == errno.EIO
    assert inside.ask(FSync(fd)) == 0
    assert keeping.saved == {2: b"one"}
    os.close(fd)


def test_the_end_saves(inside: Inside, keeping: Keeping, mnt: Path) -> None:
    fd = inside.open(mnt / "file", NEW, mode=0o644)
    os.write(fd, b"written")
    assert inside.mediator.close() == []
    assert keeping.saved == {2: b"written"}
    os.close(fd)


def test_what_cannot_be_saved_is_put_aside(inside: Inside, keeping: Keeping, mnt: Path) -> None:
    fd = inside.open(mnt / "file", NEW, mode=0o644)
    os.write(fd, b"written")
    keeping.failing = errno.EDQUOT
    (line,) = inside.mediator.close()
    os.close(fd)
    told, _, copy = line.partition("; its content is in ")
    assert told == f"{mnt}/file could not be saved: disk quota exceeded"
    assert Path(copy).read_bytes() == b"written"


class Hanging(Keeping):
    """Does not come back from saving until it is let go."""

    title = "hanging"
    progress = 0

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()
        self.is_over = threading.Event()

    def save_content(self, inode: int, fd: int) -> None:
        self.waits.set()
        self.is_over.wait(60)


@pytest.fixture
def hanging(inside: Inside, tmp_path: Path) -> Iterator[Hanging]:
    (tmp_path / "hung").mkdir()
    found = Hanging()
    inside.mediator.mount(make_mount(found), tmp_path / "hung")
    yield found
    found.is_over.set()


def test_a_file_system_that_does_not_answer_is_not_waited_for_and_nothing_of_others_is_lost(
    inside: Inside,
    keeping: Keeping,
    hanging: Hanging,
    mnt: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(finishing, "TELLS", 0.05)
    monkeypatch.setattr(finishing, "PATIENCE", 0.3)
    hung = mnt.parent / "hung"
    fds = [inside.open(path, NEW, mode=0o644) for path in (hung / "one", hung / "two", mnt / "file")]
    for fd, text in zip(fds, (b"one", b"two", b"saved"), strict=True):
        os.write(fd, text)
    lost = inside.mediator.close()
    assert keeping.saved == {2: b"saved"}
    assert inside.mediator.gave_up
    copies = {Path(line.partition("; its content is in ")[2]) for line in lost}
    assert {copy.read_bytes() for copy in copies} == {b"one", b"two"}
    assert sorted(line.partition(";")[0] for line in lost) == [
        f"{hung}/one could not be saved: connection timed out",
        f"{hung}/two could not be saved: connection timed out",
    ]
    assert capsys.readouterr().err.count("does not answer") == 1
    for fd in fds:
        os.close(fd)


def test_a_file_system_that_is_slow_has_all_the_time_it_wants(
    inside: Inside, hanging: Hanging, mnt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for longer than its patience, but by far in all."""
    monkeypatch.setattr(finishing, "PATIENCE", 0.5)
    asked = iter(range(1 << 30))

    class Slow(Hanging):
        @property
        def progress(self) -> int | None:  # type: ignore[override]
            return next(asked)

        def save_content(self, inode: int, fd: int) -> None:
            time.sleep(1.5)

    hanging.__class__ = Slow
    fd = inside.open(mnt.parent / "hung/file", NEW, mode=0o644)
    os.write(fd, b"x")
    assert inside.mediator.close() == []
    assert not inside.mediator.gave_up
    os.close(fd)


def test_a_bug_of_a_file_system_is_an_error_like_others(
    inside: Inside,
    keeping: Keeping,
    mnt: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(inode: int, fd: int) -> None:
        raise ValueError(inode)

    monkeypatch.setattr(keeping, "save_content", broken)
    fd = inside.open(mnt / "file", NEW, mode=0o644)
    os.write(fd, b"x")
    assert errno_of(inside.ask, FSync(fd)) == errno.EIO
    assert "ValueError" in capsys.readouterr().err
    os.close(fd)


def test_what_was_written_through_a_mapping_is_saved(inside: Inside, keeping: Keeping, mnt: Path) -> None:
    fd = inside.open(mnt / "file", NEW, mode=0o644)
    os.write(fd, b"content")
    inside.ask(FSync(fd))
    mapped = mmap.mmap(fd, 7)
    os.close(fd)
    mapped[:3] = b"CON"
    mapped.close()
    wait_for(keeping, lambda: keeping.saved[2] == b"CONtent")


def test_times_that_are_set_do_not_hide_what_was_written(inside: Inside, keeping: Keeping, mnt: Path) -> None:
    fd = inside.open(mnt / "file", NEW, mode=0o644)
    os.write(fd, b"one")
    inside.ask(FSync(fd))
    before = inside.stat(mnt / "file")
    os.pwrite(fd, b"two", 0)
    times = Times(before.st_atime, before.st_atime_nsec, before.st_mtime, before.st_mtime_nsec)
    memory, abi = inside.tracee.memory, inside.tracee.abi
    pointer = In(memory.place(times.pack(abi, "timespec")), Times, abi, "timespec", memory)
    inside.ask(UTimeNsAt(AT_FDCWD, os.fsencode(mnt / "file"), pointer, 0))
    assert inside.stat(mnt / "file").st_mtime_nsec == before.st_mtime_nsec
    inside.ask(FSync(fd))
    assert keeping.saved == {2: b"two"}
    os.close(fd)


def test_a_file_without_names_is_forgotten_when_it_is_closed(
    inside: Inside, keeping: Keeping, mnt: Path
) -> None:
    fd = inside.open(mnt / "file", NEW, mode=0o644)
    os.write(fd, b"x")
    inside.ask(UnlinkAt(-100, os.fsencode(mnt / "file"), 0))
    assert keeping.forgotten == []
    assert inside.fstat(fd).st_nlink == 0
    other = os.dup(fd)
    os.close(fd)
    assert os.pread(other, 5, 0) == b"x"
    os.close(other)
    wait_for(keeping, lambda: keeping.forgotten == [2])
    assert keeping.saved == {}
    assert inside.mediator.close() == []


def test_what_is_dropped_from_memory_is_saved_first_and_what_is_held_is_not_dropped(
    inside: Inside, keeping: Keeping, mnt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_PATIENCE", 1)
    inside.mediator.files.synthetic.contents._max_files = 4
    held = inside.open(mnt / "held", NEW, mode=0o644)
    for number in range(20):
        fd = inside.open(mnt / f"{number}", NEW, mode=0o644)
        os.write(fd, b"%d" % number)
        os.close(fd)
    assert len(list(inside.mediator.files.synthetic.contents)) <= 6
    os.write(held, b"held")
    other = inside.open(mnt / "held")
    assert os.read(other, 10) == b"held"
    for number in range(20):
        assert inside.read(mnt / f"{number}") == b"%d" % number
        assert inside.stat(mnt / f"{number}").st_size == len(str(number))
    os.close(held)
    os.close(other)
