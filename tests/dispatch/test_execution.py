"""Programs found in the view: what the kernel is asked to run instead."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diorama.abi.fcntl import AT_FDCWD
from diorama.catalogue.handles import Strings
from diorama.catalogue.processes import ExecveAt
from diorama.dispatch.mediator import Mediator
from diorama.interfaces.filesystem import Attributes
from diorama.interfaces.tree import Tree
from diorama.modules.sources import make_mount
from dispatch.support import Inside, errno_of

RUNNABLE = Attributes(0o100755)


@pytest.fixture
def tree() -> Tree:
    tree = Tree("test")
    tree.add_file(b"bin/elf", b"\x7fELF...", RUNNABLE)
    tree.add_file(b"script", b"#!/bin/sh\necho\n", RUNNABLE)
    tree.add_file(b"own", b"#! \t%s/bin/elf  -x  y \nbody", RUNNABLE)
    tree.add_file(b"plain", b"data")
    return tree


@pytest.fixture
def inside(tree: Tree, tmp_path: Path) -> Iterator[Inside]:
    (tmp_path / "mnt").mkdir()
    at = os.fsencode(tmp_path / "mnt")
    tree.add_file(b"own", b"#! \t%s/bin/elf  -x  y \nbody" % at, RUNNABLE)
    tree.add_file(b"twice", b"#!%s/own\n" % at, RUNNABLE)
    tree.add_file(b"loop", b"#!%s/loop\n" % at, RUNNABLE)
    tree.add_file(b"long", b"#!/" + b"x" * 300, RUNNABLE)
    tree.add_file(b"lost", b"#!%s/nothing\n" % at, RUNNABLE)
    mediator = Mediator()
    mediator.mount(make_mount(tree), tmp_path / "mnt")
    yield Inside(mediator)
    mediator.close()


def ask(inside: Inside, path: Path, *argv: bytes) -> Any:
    memory, word = inside.tracee.memory, inside.tracee.abi.word
    pointers = b"".join(memory.place(text + b"\0").to_bytes(word, "little") for text in (b"zero", *argv))
    vector = Strings(memory.place(pointers + bytes(word)), inside.tracee.abi, memory)
    return inside.outcome(ExecveAt(AT_FDCWD, os.fsencode(path), vector, None, 0))  # type: ignore[arg-type]


def arguments(inside: Inside, call: Any) -> list[bytes]:
    return Strings(call.argv, inside.tracee.abi, inside.tracee.memory).read()


def test_a_binary_runs_from_its_memfd_under_its_name(inside: Inside, tmp_path: Path) -> None:
    call = ask(inside, tmp_path / "mnt/bin/elf", b"one")
    assert os.path.basename(call.path) == b"elf"
    assert Path(os.fsdecode(call.path)).read_bytes() == b"\x7fELF..."
    assert call.argv.read() == [b"zero", b"one"]


def test_a_script_is_given_the_name_by_which_it_was_called(inside: Inside, tmp_path: Path) -> None:
    call = ask(inside, tmp_path / "mnt/script", b"one", b"two")
    assert os.path.basename(call.path) == b"script"
    assert os.path.realpath(call.path) == os.path.realpath(b"/bin/sh")
    assert arguments(inside, call) == [b"/bin/sh", os.fsencode(tmp_path / "mnt/script"), b"one", b"two"]


def test_an_interpreter_is_found_in_the_view(inside: Inside, tmp_path: Path) -> None:
    at = os.fsencode(tmp_path / "mnt")
    call = ask(inside, tmp_path / "mnt/own", b"one")
    assert Path(os.fsdecode(call.path)).read_bytes() == b"\x7fELF..."
    assert arguments(inside, call) == [at + b"/bin/elf", b"-x  y", at + b"/own", b"one"]


def test_an_interpreter_may_be_a_script(inside: Inside, tmp_path: Path) -> None:
    at = os.fsencode(tmp_path / "mnt")
    call = ask(inside, tmp_path / "mnt/twice", b"one")
    assert arguments(inside, call) == [at + b"/bin/elf", b"-x  y", at + b"/own", at + b"/twice", b"one"]


def test_a_host_script_may_have_its_interpreter_in_the_view(inside: Inside, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(b"#!%s/mnt/bin/elf\n" % os.fsencode(tmp_path))
    assert errno_of(ask, inside, script) == errno.EACCES
    script.chmod(0o755)
    call = ask(inside, script)
    assert Path(os.fsdecode(call.path)).read_bytes() == b"\x7fELF..."
    assert arguments(inside, call)[1:] == [os.fsencode(script)]
    script.write_bytes(b"#!/bin/sh\n")
    assert ask(inside, script) is None
    assert ask(inside, Path("/bin/sh")) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", errno.EACCES),
        ("bin", errno.EACCES),
        ("none", errno.ENOENT),
        ("loop", errno.ELOOP),
        ("long", errno.ENOEXEC),
        ("lost", errno.ENOENT),
    ],
)
def test_what_cannot_be_run(inside: Inside, tmp_path: Path, name: str, expected: int) -> None:
    assert errno_of(ask, inside, tmp_path / "mnt" / name) == expected


def test_a_program_starts_in_what_is_mounted_on_its_directory(inside: Inside, tmp_path: Path) -> None:
    cwd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.chdir(tmp_path / "mnt")
    ask(inside, Path("script"))
    assert inside.read("plain") == b"data"
    os.fchdir(cwd)
    os.close(cwd)


def test_nothing_is_remembered_of_a_program_known_by_its_file(inside: Inside, tmp_path: Path) -> None:
    ask(inside, tmp_path / "mnt/own")
    task = inside.mediator.files.task(inside.tracee)
    inside.mediator.executed(inside.tracee)
    assert inside.mediator.files.tasks.is_plain(task)


def test_the_executable_is_known_once_it_runs(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    mediator = Mediator()
    mediator.mount(make_mount("/bin"), tmp_path / "mnt")
    inside = Inside(mediator)
    ask(inside, tmp_path / "mnt/true")
    task = mediator.files.task(inside.tracee)
    assert task.executable is None
    mediator.executed(inside.tracee)
    assert task.executable is not None
    assert task.executable.view_path == os.fsencode(tmp_path / "mnt/true")
    mediator.close()
