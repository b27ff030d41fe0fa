"""Lower layers: no call reaches the files of the host that a view only shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from behaviour.harness import Bench, Outcome, run_with

Run = Callable[..., list[str]]

TRYING = """
import ctypes, errno, fcntl, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)

def told(name, make, *args):
    try:
        done = make(*args)
        print(name, "done" if done is None else done)
    except OSError as error:
        print(name, errno.errorcode[error.errno])

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return "done"

def control(fd, request, size):
    fcntl.ioctl(fd, request, bytes(size))
    return "done"

fd = os.open("file", os.O_RDONLY)
link = f"/proc/self/fd/{fd}"
"""
CONTROLLING = """
told("flags", control, fd, 0x40086602, 8)
told("attributes", control, fd, 0x401C5820, 28)
told("version", control, fd, 0x40087602, 8)
told("verity", control, fd, 0x40806685, 128)
told("readable", control, fd, 0x541B, 4)
"""
REMOVED = """
if "replaced" in sys.argv:
    open("other", "w").write("other")
    os.rename("other", "file")
else:
    os.unlink("file")

told("write", os.open, link, os.O_WRONLY)
told("append", os.open, link, os.O_RDWR | os.O_APPEND)
told("empty", os.open, link, os.O_RDONLY | os.O_TRUNC)
told("truncate", os.truncate, link, 1)
told("chmod", os.chmod, link, 0o600)
told("utime", os.utime, link, (1, 1))
told("setxattr", os.setxattr, link, "user.a", b"1")
told("fchmod", os.fchmod, fd, 0o600)
told("times", lambda: checked(libc.utimensat(fd, b"", None, 0x1000)))
told("owner", lambda: checked(libc.fchownat(fd, b"", os.getuid(), os.getgid(), 0x1000)))
told("link", lambda: checked(libc.linkat(-100, link.encode(), -100, b"again", 0x400)))
print(open(link).read(), end="")
"""


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    """A directory to be shown."""
    top = tmp_path / "lower"
    top.mkdir()
    (top / "file").write_text("as it was\n")
    return top


@pytest.fixture
def inside(bench: Bench, lower: Path, engine: str) -> Run:
    """Run a program in a view whose layers show `lower` there."""

    def run(program: str, kind: str, *words: str) -> list[str]:
        layer = lower.parent / "layer"
        mount = {
            "cow": ("--mount", f"cow:{lower}={lower}:layer={layer}"),
            "overlay": ("--mount", f"overlay:{lower}={lower}:upper={layer}"),
            "root": ("--cow", str(layer)),
            "bind": ("--mount", f"{lower}={lower}:ro"),
        }[kind]
        if kind == "overlay":
            layer.mkdir()
        way = run_with("--engine", engine, *mount)
        script = f"import os; os.chdir({str(lower)!r})\n{TRYING}{program}"
        found: Outcome = bench.inside(way, [sys.executable, "-c", script, *words])
        assert found.status == 0, found.stderr
        return found.lines

    return run


def state(file: Path) -> tuple[object, ...]:
    """What must stay."""
    status = file.lstat()
    return file.read_text(), status.st_mode, status.st_mtime_ns, status.st_ctime_ns, status.st_nlink


@pytest.mark.parametrize("kind", ["cow", "overlay", "root"])
def test_device_control_changes_no_lower_file(inside: Run, lower: Path, kind: str) -> None:
    before = state(lower / "file")
    refused = ["flags ENOTTY", "attributes ENOTTY", "version ENOTTY", "verity ENOTTY"]
    assert inside(CONTROLLING, kind) == [*refused, "readable done"]
    assert state(lower / "file") == before


def test_device_control_changes_nothing_on_a_read_only_mount(inside: Run, lower: Path) -> None:
    before = state(lower / "file")
    refused = ["flags EROFS", "attributes EROFS", "version EROFS", "verity EROFS"]
    assert inside(CONTROLLING, "bind") == [*refused, "readable done"]
    assert state(lower / "file") == before


@pytest.mark.parametrize("words", [(), ("replaced",)])
@pytest.mark.parametrize("kind", ["cow", "overlay", "root"])
def test_a_removed_lower_file_is_not_changed_by_its_descriptor(
    inside: Run, lower: Path, kind: str, words: tuple[str, ...]
) -> None:
    before = state(lower / "file")
    refused = ["write", "append", "empty", "truncate", "chmod", "utime", "setxattr", "fchmod", "times"]
    expected = [*(f"{name} EROFS" for name in [*refused, "owner"]), "link EXDEV", "as it was"]
    assert inside(REMOVED, kind, *words) == expected
    assert state(lower / "file") == before


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_CHECKPOINT_RESTORE")
@pytest.mark.parametrize("kind", ["cow", "overlay", "root"])
def test_a_mapped_lower_file_is_not_opened_for_writing(inside: Run, lower: Path, kind: str) -> None:
    before = state(lower / "file")
    program = """
import mmap
mapped = mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ)
links = [f"/proc/self/map_files/{name}" for name in os.listdir("/proc/self/map_files")]
for link in links:
    if os.readlink(link).endswith("/file"):
        told("write", os.open, link, os.O_RDWR)
        print(open(link).read(), end="")
"""
    assert inside(program, kind) == ["write EROFS", "as it was"]
    assert state(lower / "file") == before


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_DAC_READ_SEARCH")
def test_a_handle_opens_no_lower_file_for_writing(inside: Run, lower: Path) -> None:
    before = state(lower / "file")
    program = """
handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
mount = ctypes.c_int()
told("name", lambda: checked(libc.name_to_handle_at(-100, b"file", handle, ctypes.byref(mount), 0)))
here = os.open("/", os.O_RDONLY)
for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
    told("open", lambda: checked(libc.open_by_handle_at(here, handle, flags)))
"""
    lines = inside(program, "cow")
    if lines[0] != "name done":
        pytest.skip("no handles on this file system")
    assert lines[2:] == ["open ESTALE"] * 3
    assert state(lower / "file") == before
