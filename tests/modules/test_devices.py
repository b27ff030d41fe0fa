"""The kinds of devices that are built in, without a view."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from diorama.errors import UsageError
from diorama.interfaces.blockfile import BlockFile
from diorama.interfaces.device import CharacterDevice
from diorama.modules.devices.bytesfile import BytesFile
from diorama.modules.devices.simple import Full, Null, Random, Zero
from diorama.modules.sources import make_mount
from diorama.view.mounts import Mount


def error(work: Callable[[], object]) -> int | None:
    try:
        work()
    except OSError as failure:
        return failure.errno
    return None


def block(mount: Mount) -> BlockFile:
    assert isinstance(mount.filesystem, BlockFile)
    return mount.filesystem


def image(path: Path, size: int) -> BytesFile:
    with path.open("wb") as file:
        file.truncate(size)
    return BytesFile(os.open(path, os.O_RDWR), size)


def test_the_simple_ones() -> None:
    assert (Null().read(0, 9), Null().write(0, b"abc"), Null().seek(5, 9, 0)) == (b"", 3, 0)
    assert (Zero().read(7, 3), Zero().write(0, b"abc")) == (bytes(3), 3)
    assert error(lambda: Full().write(0, b"x")) == errno.ENOSPC


def test_one_seed_gives_one_stream() -> None:
    one, other, third = Random("a"), Random("a"), Random("b")
    first = one.read(0, 10) + one.read(0, 10)
    assert first == other.read(0, 10) + other.read(0, 10) != third.read(0, 20)
    assert Random().read(0, 16) != Random().read(0, 16)


def test_what_is_written_is_in_the_file(tmp_path: Path) -> None:
    disk = image(tmp_path / "disk", 8192)
    disk.write(1000, b"written")
    assert (tmp_path / "disk").read_bytes()[1000:1007] == b"written"
    assert disk.read(999, 9) == b"\0written\0"
    disk.zero(512, 1024)
    assert disk.read(0, 8192) == bytes(8192)
    disk.sync()
    disk.close()
    disk.close()


def test_a_file_that_has_become_shorter_is_an_error(tmp_path: Path) -> None:
    disk = image(tmp_path / "disk", 8192)
    os.truncate(tmp_path / "disk", 5000)
    assert disk.read(0, 4096) == bytes(4096)
    assert error(lambda: disk.read(4096, 4096)) == errno.EIO
    disk.close()


def test_a_disk_does_not_grow(tmp_path: Path) -> None:
    image(tmp_path / "disk", 8192).close()
    file = block(make_mount(f"disk:{tmp_path}/disk"))
    opened = file.open_special(1, os.O_RDWR)
    assert error(lambda: opened.write(8192, b"x")) == errno.ENOSPC
    assert opened.write(8191, b"xy") == 1
    assert (tmp_path / "disk").stat().st_size == 8192
    opened.close()
    file.close()


def test_half_a_sector_at_the_end_is_not_the_disks(tmp_path: Path) -> None:
    image(tmp_path / "disk", 1000).close()
    file = block(make_mount(f"disk:{tmp_path}/disk"))
    assert file.size == 512
    file.close()


def test_a_file_that_may_not_be_written_is_read(tmp_path: Path) -> None:
    image(tmp_path / "disk", 8192).close()
    file = block(make_mount(f"disk:{tmp_path}/disk", "ro"))
    assert error(lambda: file.open_special(1, os.O_RDWR)) == errno.EROFS
    assert file.open_special(1, os.O_RDONLY).read(0, 1) == b"\0"
    file.close()


@pytest.mark.parametrize(
    ("text", "size"), [("64M", 64 << 20), ("1g", 1 << 30), ("512", 512), ("4KiB", 4096), ("", 32 << 20)]
)
def test_sizes_of_ramdisks(text: str, size: int) -> None:
    file = block(make_mount(f"ramdisk:{text}"))
    assert file.size == size
    file.close()


def test_a_device_is_mounted_as_an_object() -> None:
    mount = make_mount(Null(), "mode=0640", "major=9", "minor=8")
    assert mount.filesystem is not None
    found = mount.filesystem.attributes(1)
    assert (found.mode, found.device) == (stat.S_IFCHR | 0o640, os.makedev(9, 8))
    mount.filesystem.close()


def test_what_is_wrong_closes_the_device() -> None:
    closed: list[bool] = []

    class Own(CharacterDevice):
        def close(self) -> None:
            closed.append(True)

    with pytest.raises(UsageError, match="unknown mount option 'nonsense'"):
        make_mount(Own(), "nonsense")
    assert closed == [True]


@pytest.mark.parametrize(
    ("size", "sector"),
    [(0, 512), (100, 512), (-512, 512), (None, 512), (1 << 63, 512), (4096, 0), (4096, 1000), (4096, "512")],
)
def test_a_block_device_of_no_size_is_told(size: Any, sector: Any, tmp_path: Path) -> None:
    disk = image(tmp_path / "disk", 512)
    disk.size, disk.sector = size, sector
    with pytest.raises(UsageError, match="cannot have"):
        make_mount(disk)


def test_what_is_written_synchronously_lasts(tmp_path: Path) -> None:
    synced: list[bytes] = []

    class Own(BytesFile):
        def sync(self) -> None:
            synced.append(self.read(0, 3))

    path = tmp_path / "disk"
    path.write_bytes(bytes(4096))
    filesystem = make_mount(Own(os.open(path, os.O_RDWR), 4096)).filesystem
    assert filesystem is not None
    for flags, data in (
        (os.O_RDWR, b"one"),
        (os.O_RDWR | os.O_DSYNC, b"two"),
        (os.O_WRONLY | os.O_SYNC, b"six"),
    ):
        opened = filesystem.open_special(1, flags)
        assert opened is not None
        opened.write(0, data)
        opened.close()
    assert synced == [b"two", b"six"]
    filesystem.close()


def test_what_a_class_raises_when_it_is_closed_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    class Own(CharacterDevice):
        def open(self, flags: int) -> CharacterDevice:
            return Own()

        def released(self) -> None:
            raise KeyError("released")

        def close(self) -> None:
            raise KeyError("closed")

    filesystem = make_mount(Own()).filesystem
    assert filesystem is not None
    opened = filesystem.open_special(1, os.O_RDONLY)
    assert opened is not None
    opened.close()
    filesystem.close()
    said = capsys.readouterr().err
    assert "KeyError: 'released'" in said
    assert "KeyError: 'closed'" in said


@pytest.mark.parametrize("kind", ["terminal", "serial"])
def test_who_does_not_read_holds_up_nobody_at_the_end(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "line"
    mount = make_mount(f"{kind}:{path}")
    filesystem = mount.filesystem
    assert filesystem is not None
    fd = filesystem.open_device(1, os.O_RDWR | os.O_NONBLOCK)
    tty.setraw(fd)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(os.fspath(path))
        peer.settimeout(0)
        for fill in (lambda: peer.send(bytes(4096)), lambda: os.write(fd, bytes(4096))):
            _until_full(fill)
        closing = threading.Thread(target=filesystem.close, daemon=True)
        closing.start()
        closing.join(30)
        assert not closing.is_alive()
    os.close(fd)


def _until_full(work: Callable[[], object]) -> None:
    """Until nothing has gone for a while."""
    last = time.monotonic()
    while time.monotonic() < last + 0.5:
        with suppress(BlockingIOError):
            work()
            last = time.monotonic()


def test_a_socket_that_nobody_listens_at_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "line"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    mount = make_mount(f"serial:{path}")
    with pytest.raises(UsageError, match="in use"):
        make_mount(f"serial:{path}")
    assert mount.filesystem is not None
    mount.filesystem.close()
    assert not path.exists()


@pytest.mark.parametrize("size", ["x", "0x80", "24x", "24x80x1", "-1x5"])
def test_sizes_of_terminals_that_are_none(size: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ROWSxCOLUMNS"):
        make_mount(f"terminal:{tmp_path}/line", f"size={size}")
