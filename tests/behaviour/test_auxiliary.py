"""What a subject of the view changes in the auxiliary vector, every program finds changed."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

import diorama
from behaviour.harness import Bench
from behaviour.programs import Programs
from diorama.abi.elf import AT_SYSINFO_EHDR
from diorama.view.task import Task

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

AT_UID = 11
OTHER_UID = 54321
WAYS = ("first", "vfork", "spawned", *[f"{count} arguments" for count in (0, 1, 2, 3, 700)], "thread")


def change(_task: Task, _tracee: object) -> Mapping[int, int | None]:
    return {AT_UID: OTHER_UID, AT_SYSINFO_EHDR: None, 0xFFF0: 1}


@pytest.fixture
def view(engine: str, bench: Bench) -> diorama.View:
    made = diorama.View(engine=engine, strict=True)
    made._files().files.auxiliary.changers.append(change)  # pyright: ignore[reportPrivateUsage]
    return made


def told(ways: tuple[str, ...]) -> list[str]:
    page = resource.getpagesize()
    return [f"{how}: uid {OTHER_UID}, vdso hidden, page size {page}" for how in ways]


@pytest.mark.parametrize(("bits", "static"), [(64, False), (64, True), (32, False), (32, True)])
def test_in_whatever_way_it_is_executed(
    view: diorama.View, programs: Programs, bits: int, *, static: bool
) -> None:
    with view:
        done = view.run(
            [programs("auxiliary", bits, static=static)], capture_output=True, text=True, timeout=60
        )
    assert done.stdout.splitlines() == told(WAYS)
    assert (done.stderr, done.returncode) == ("", 0)


def test_the_interpreter_of_a_script(view: diorama.View, programs: Programs, bench: Bench) -> None:
    script = bench.work / "script"
    script.write_text(f"#!{programs('auxiliary')} script\n")
    script.chmod(0o755)
    with view:
        done = view.run(["sh", "-c", f"{script}; exec {script}"], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == told(("script", "script"))


def test_what_runs_from_a_mount(view: diorama.View, programs: Programs, bench: Bench, tmp_path: Path) -> None:
    target = tmp_path / "memory"
    target.mkdir()
    view.mount("memory:", target)
    inside = target / "program"
    script = f"cp {programs('auxiliary')} {inside} && {inside} copied && exec {inside} again"
    with view:
        done = view.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == told(("copied", "again"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_a_program_that_may_not_be_read_is_warned_of(
    view: diorama.View,
    programs: Programs,
    bench: Bench,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("diorama.errors._warned", set[tuple[str, str]]())
    closed = shutil.copy(programs("auxiliary"), bench.work / "closed")
    os.chmod(closed, 0o111)
    with view:
        done = view.run([closed, "closed"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("closed: ")
    assert "that may not be read" in capfd.readouterr().err
