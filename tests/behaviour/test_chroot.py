"""chroot(2) in a view: the same as natively, where there is a mount or none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from behaviour.harness import Bench, run_with
from behaviour.programs import Programs


def open_way(to: Path) -> None:
    """Let everybody get to a directory: in a view, who has another root still goes by the host's."""
    for directory in (to, *to.parents):
        if directory.owner() == to.owner() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o111)


def lay(at: Path, hello: Path) -> None:
    (at / "jail/sub/sub").mkdir(parents=True)
    (at / "jail/file").write_text("in the jail")
    (at / "jail/sub/file").write_text("in sub")
    (at / "jail/thread").write_text("thread's")
    (at / "jail/absolute").symlink_to("/sub/file")
    (at / "jail/up").symlink_to("../../../file")
    (at / "jail/closed").mkdir(mode=0o700)
    shutil.copy(hello, at / "jail/hello")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="natively only root may")
@pytest.mark.parametrize("place", ["host", "bind"])
def test_another_root(bench: Bench, programs: Programs, engine: str, place: str) -> None:
    program, hello = programs("chrooting"), programs("node_name", static=True)
    command = ["sh", "-c", f"cd tree && exec {program}"]

    def really(work: Path) -> None:
        lay(work / "tree", hello)

    def emptied(work: Path) -> None:
        (work / "tree").mkdir()

    open_way(bench.directory)
    bench.prepare = really
    expected = bench.native(command)
    assert "jail: done" in expected.lines
    source, elsewhere = bench.directory / "source", bench.directory / "elsewhere"
    elsewhere.mkdir()
    lay(source, hello)
    if place == "bind":
        bench.prepare = emptied
    mount = f"{source}={bench.work / 'tree' if place == 'bind' else elsewhere}"
    way = run_with("--strict", "--engine", engine, "--mount", mount)
    assert bench.inside(way, command) == expected


def test_who_may_not_is_refused(bench: Bench, engine: str) -> None:
    (bench.work / "mnt").mkdir()
    code = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True)\n"
    code += "if not os.getuid(): os.setuid(65534)\n"
    code += "for path in (b'/', b'/no/such', b'/etc/passwd'): print(libc.chroot(path), ctypes.get_errno())"
    way = run_with("--engine", engine, "--mount", f"/usr={bench.work}/mnt")
    found = bench.inside(way, ["python3", "-c", code])
    assert found.lines == ["-1 1", "-1 2", "-1 20"]
