"""Programs of other architectures: run by an emulator of the caller's, in whatever root the view has."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from behaviour import aarch64
from behaviour.harness import DIORAMA, Bench, Outcome, finish
from behaviour.programs import Programs

QEMU = "qemu-aarch64-static"


@pytest.fixture
def root(bench: Bench, tmp_path: Path) -> Path:
    """A root with nothing but programs of aarch64."""
    bench.fresh()
    root = tmp_path / "root"
    for name, content in (
        ("bin/hello", aarch64.says("hello\n")),
        ("bin/machine", aarch64.says_machine()),
        ("bin/next", aarch64.executes("/bin/hello")),
        ("bin/script", b"#!/bin/hello option\n"),
        ("bin/missing", aarch64.executes("/bin/nothing")),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755)
    return root


def run(bench: Bench, *words: str | Path) -> Outcome:
    return finish(bench.start([*DIORAMA, "run", *map(str, words)]), limit=100)


@pytest.mark.skipif(shutil.which(QEMU) is None, reason="needs qemu-user-static")
def test_programs_run_and_execute_others(bench: Bench, root: Path, engine: str) -> None:
    def inside(name: str) -> tuple[str, str, int]:
        found = run(bench, "--strict", "--engine", engine, "--root", root, "--arch", "aarch64", "--", name)
        return found.stdout.rstrip("\0"), found.stderr, found.status

    assert inside("/bin/hello") == ("hello\n", "", 0)
    assert inside("/bin/machine") == ("aarch64", "", 0)
    assert inside("/bin/next") == ("hello\n", "", 0)
    assert inside("/bin/script") == ("hello\n", "", 0)
    assert inside("/bin/missing") == ("", "", 9)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("kind", ["--root", "--bare"])
def test_what_an_emulator_is_given(
    bench: Bench, programs: Programs, root: Path, tmp_path: Path, engine: str, kind: str
) -> None:
    place = tmp_path / "emulators"
    place.mkdir()
    shutil.copy(programs("handler", static=True), place / QEMU)
    bench.environment["PATH"] = f"{place}:{bench.surroundings()['PATH']}"
    try:
        bare = ["--bare"] if kind == "--bare" else []
        words = ["--strict", "--engine", engine, "--root", root, *bare, "--arch", "arm64", "--"]
        found = run(bench, *words, "/bin/hello", "x")
    finally:
        del bench.environment["PATH"]
    if bare:  # it looks itself up in /proc
        assert "handler.c" in found.stdout
        return
    told = f"comm=hello execfn=/bin/hello exe={QEMU} flags=1 file=\x7fELF,0,0"
    assert found.stdout == f"{told} [{place}/{QEMU}] [/bin/hello] [/bin/hello] [x]\n"
    assert (found.stderr, found.status) == ("", 0)


def test_what_is_told_of_a_program_of_another_architecture(bench: Bench, root: Path) -> None:
    found = run(bench, "--root", root, "/bin/hello")
    line = "diorama: /bin/hello: Exec format error: a program of aarch64; --arch aarch64 runs it\n"
    assert (found.stderr, found.status) == (line, 126)


def test_without_an_emulator(bench: Bench, root: Path) -> None:
    bench.environment["PATH"] = "/nowhere"
    try:
        found = run(bench, "--root", root, "--arch", "aarch64", "/bin/hello")
    finally:
        del bench.environment["PATH"]
    line = f"diorama: cannot run programs of aarch64: there is no {QEMU} or qemu-aarch64"
    assert (found.stderr.startswith(line), found.stderr.count("\n"), found.status) == (True, 1, 125)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_an_emulator_with_libraries(bench: Bench, programs: Programs, root: Path, tmp_path: Path) -> None:
    place = tmp_path / "emulators"
    place.mkdir()
    shutil.copy(programs("handler"), place / "qemu-aarch64")
    bench.environment["PATH"] = str(place)
    try:
        found = run(bench, "--root", root, "--arch", "aarch64", "/bin/hello")
    finally:
        del bench.environment["PATH"]
    line = f"diorama: cannot run programs of aarch64: {place}/qemu-aarch64 is linked dynamically"
    assert found.stderr.startswith(line)
    assert (found.stderr.count("\n"), found.status) == (1, 125)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--arch", "pdp11"), "unknown architecture 'pdp11'; known are aarch64, "),
        (("--binfmt", "x"), "not a format: 'x'; write :NAME:E::"),
        (("--binfmt", ":a:E::x::/no/such:F"), "cannot have the format ':a:E::x::/no/such:F': No such file"),
        (
            ("--binfmt", ":a:E::x::/bin/true:", "--binfmt", ":a:E::y::/bin/true:"),
            "cannot have the format ':a:E::y::/bin/true:': File exists",
        ),
    ],
)
def test_mistakes(bench: Bench, words: tuple[str, ...], line: str) -> None:
    bench.fresh()
    found = run(bench, *words, "true")
    assert found.stderr.startswith(f"diorama: {line}")
    assert (found.stderr.count("\n"), found.status) == (1, 125)


def test_the_architecture_of_the_machine(bench: Bench) -> None:
    bench.fresh()
    found = run(bench, "--arch", os.uname().machine, "echo", "own")
    assert (found.stdout, found.stderr) == ("own\n", "")


@pytest.mark.skipif(shutil.which(QEMU) is None, reason="needs qemu-user-static")
def test_a_root_whose_proc_is_a_link_to_itself(bench: Bench, root: Path, engine: str) -> None:
    (root / "proc").symlink_to("/proc")
    found = run(bench, "--engine", engine, "--root", root, "--arch", "aarch64", "/proc/self/root/bin/hello")
    assert (found.stdout, found.stderr, found.status) == ("hello\n", "", 0)
