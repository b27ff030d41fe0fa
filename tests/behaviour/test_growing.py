"""Growing: mounts that are made while programs run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import diorama
from diorama.interfaces.tree import Tree

TALK = r"""
    cat mnt/f 2>/dev/null || echo none; echo asked
    read -r line; cat mnt/f; cat bound/g; cd mnt; pwd; echo asked
    read -r line; cat f; ls -d /proc/self/cwd/f
"""


def tree(text: bytes) -> Tree:
    made = Tree("made")
    made.add_file(b"f", text)
    return made


def heard(process: subprocess.Popen[str]) -> list[str]:
    """What the program says until it has asked."""
    assert process.stdout is not None
    return list(iter(lambda: process.stdout.readline().rstrip("\n"), "asked"))  # type: ignore[union-attr]


def test_a_running_program_sees_what_is_mounted_meanwhile(engine: str, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    (tmp_path / "bound").mkdir()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "g").write_text("of the host\n")
    with diorama.View(engine=engine, grows=True, strict=True) as view:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": tmp_path}
        with view.Popen(["bash", "-c", TALK], **pipes) as process:
            assert heard(process) == ["none"]
            view.mount(tree(b"first\n"), tmp_path / "mnt")
            view.mount(str(tmp_path / "source"), tmp_path / "bound")
            print(file=process.stdin, flush=True)
            assert heard(process) == ["first", "of the host", str(tmp_path / "mnt")]
            view.mount(tree(b"second\n"), tmp_path / "mnt")
            out, _ = process.communicate("\n", timeout=50)
            # As the kernel's: who stands in a directory stays below what is mounted on it.
            assert out == "first\n/proc/self/cwd/f\n"
        assert view.run(["cat", tmp_path / "mnt/f"], capture_output=True, text=True).stdout == "second\n"
        assert not view.failures


def test_a_mount_does_not_hide_what_was_registered_before_it(engine: str, tmp_path: Path) -> None:
    with diorama.View(engine=engine, grows=True) as view:
        assert view.run(["true"]).returncode == 0
        view.answer("getppid", result=4242)
        view.mount(tree(b"text\n"), tmp_path)
        script = "import os, sys; print(os.getppid(), open(sys.argv[1]).read())"
        done = view.run(["python3", "-c", script, tmp_path / "f"], capture_output=True, text=True)
    assert done.stdout == "4242 text\n\n"


def test_mounting_while_a_program_runs_must_have_been_asked_for(tmp_path: Path) -> None:
    with diorama.View() as view:
        view.mount(tree(b""), tmp_path)
        with view.Popen(["sleep", "30"]) as process:
            with pytest.raises(diorama.UsageError, match="grows=True"):
                view.mount(tree(b""), tmp_path)
            process.kill()
            process.wait_all()
        view.mount(tree(b"later\n"), tmp_path)
        assert view.run(["cat", tmp_path / "f"], capture_output=True, text=True).stdout == "later\n"
