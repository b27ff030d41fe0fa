"""The tutorials: what they tell to type, typed, says what they tell.

In blocks of `console`, lines that begin with `$ ` are commands and what follows is their output; `$$ ` is a
command in the view that the last `diorama run` has started, to `exit`.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from behaviour.harness import DIORAMA, Bench, finish

TUTORIALS = Path(__file__).resolve().parents[2] / "docs/tutorials"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "-- done --"


@dataclass(slots=True)
class Command:
    """What is typed, what it says, and what is typed inside of what it starts."""

    text: str
    said: list[str] = field(default_factory=list)
    inner: list[Command] = field(default_factory=list)


def commands(page: str) -> list[Command]:
    found: list[Command] = []
    last = Command("")
    for line in "".join(_BLOCK.findall((TUTORIALS / page).read_text())).splitlines():
        if line.startswith("$$ "):
            last = Command(line[3:])
            found[-1].inner.append(last)
        elif line.startswith("$ "):
            last = Command(line[2:])
            found.append(last)
        else:
            last.said.append(line)
    return found


def typed(bench: Bench, command: Command, engine: str) -> list[list[str]]:
    """What a command says, and what those inside of it do."""
    text = command.text.replace("diorama run", f"{' '.join(DIORAMA)} run --engine {engine}")
    inside = "".join(f"{one.text}\necho '{_MARK}'\n" for one in command.inner)
    done = finish(bench.start(["bash", "-c", text]), inside, limit=100)
    assert done.stderr == "", command.text
    parts = done.stdout.split(f"{_MARK}\n") if command.inner else [done.stdout]
    return [part.splitlines() for part in parts]


def test_a_disk(bench: Bench, engine: str) -> None:
    for name in ("gdisk", "mkfs.ext4", "fuse2fs", "e2fsck"):
        if shutil.which(name, path=f"{bench.surroundings()['PATH']}:/sbin:/usr/sbin") is None:
            pytest.skip(f"needs {name}")
    bench.fresh()
    for command in commands("a-disk.md"):
        expected = [one.said for one in command.inner] or [command.said]
        assert typed(bench, command, engine) == expected, command.text
