"""Options of mounts: what is left out of one, what may not be executed, a private memory tree."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from behaviour.harness import Bench, Way, run_with

EXECUTING = """
cd mnt; ./program; ./script; ./program && echo ran
sh ./script
test -x program; echo program $?; test -x .; echo directory $?
"""


@pytest.fixture
def places(bench: Bench, tmp_path: Path) -> Bench:
    """Two trees: `source`, and `work/mnt`, on which it is mounted."""
    source = tmp_path / "source"
    for place, text in ((source, "above"), (tmp_path / "below", "below")):
        (place / "sub/deep").mkdir(parents=True)
        for name in ("file", "sub/file", "sub/deep/file"):
            (place / name).write_text(f"{text}\n")
    shutil.copy("/bin/true", source / "program")
    (source / "script").write_text("#!/bin/sh\necho script\n")
    (source / "script").chmod(0o755)

    def prepare(work: Path) -> None:
        shutil.copytree(tmp_path / "below", work / "mnt")

    bench.prepare = prepare
    return bench


def mounted(places: Bench, engine: str, *options: str) -> Way:
    text = f"{places.directory}/source={places.work}/mnt" + (":" + ",".join(options) if options else "")
    return run_with("--strict", "--engine", engine, "--mount", text)


@pytest.mark.parametrize(
    ("excepted", "expected"),
    [
        ((), "above above above"),
        (("sub",), "above below below"),
        (("sub/deep",), "above above below"),
        (("file", "sub/deep/file"), "below above below"),
        (("./sub/",), "above below below"),
    ],
)
def test_what_is_left_out_is_as_before(
    places: Bench, engine: str, excepted: tuple[str, ...], expected: str
) -> None:
    way = mounted(places, engine, *(f"except={path}" for path in excepted))
    found = places.inside(way, ["sh", "-c", "cat mnt/file mnt/sub/file mnt/sub/deep/file"])
    assert (found.lines, found.stderr) == (expected.split(), "")


def test_what_is_left_out_can_be_written(places: Bench, engine: str) -> None:
    way = mounted(places, engine, "ro", "except=sub")
    found = places.inside(way, ["sh", "-c", "echo new >mnt/sub/file && cat mnt/sub/file; echo no >mnt/file"])
    assert found.lines == ["new"]
    assert "Read-only file system" in found.stderr
    assert (places.work / "mnt/sub/file").read_text() == "new\n"


@pytest.mark.parametrize(("path", "reason"), [("none", "no such file"), ("../x", "without ..")])
def test_what_cannot_be_left_out(places: Bench, path: str, reason: str) -> None:
    found = places.inside(mounted(places, "auto", f"except={path}"), ["true"])
    assert found.status == 125
    assert reason in found.stderr


def test_nothing_is_executed_from_a_mount_that_forbids_it(places: Bench, engine: str) -> None:
    found = places.inside(mounted(places, engine, "noexec"), ["sh", "-c", EXECUTING])
    assert found.lines == ["script", "program 1", "directory 0"]
    assert found.stderr.count("Permission denied") == 3


def test_nor_mapped_to_be(places: Bench, engine: str) -> None:
    code = (
        "import mmap, os, sys; fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "for prot in (mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_EXEC):\n"
        "    try: mmap.mmap(fd, 0, mmap.MAP_PRIVATE, prot); print('mapped')\n"
        "    except OSError as error: print(error.strerror)\n"
        "print(bool(os.statvfs(sys.argv[1]).f_flag & os.ST_NOEXEC), os.fstatvfs(fd).f_flag & os.ST_NOEXEC)"
    )
    found = places.inside(mounted(places, engine, "noexec"), ["python3", "-c", code, "mnt/program"])
    assert found.lines == ["mapped", "Operation not permitted", f"True {os.ST_NOEXEC}"]
    options = places.inside(mounted(places, engine, "noexec"), ["sh", "-c", 'grep "$PWD/mnt " /proc/mounts'])
    assert "noexec" in options.stdout.split()[3].split(",")


def test_a_private_memory_tree(places: Bench, engine: str) -> None:
    way = run_with("--strict", "--engine", engine, "--mount", f"tmp:={places.work}/mnt")
    commands = "ls -A mnt; stat -c %a mnt; echo x >mnt/a; ln mnt/a mnt/b; stat -c %h mnt/b"
    found = places.inside(way, ["sh", "-c", f"{commands}; mkdir -p mnt/c/d; chmod 0 mnt/c"])
    assert found.lines[0] == "1777"
    assert found.lines[-1] == "2"
    assert found.stderr == ""
    assert not (places.work / "mnt/a").exists()
