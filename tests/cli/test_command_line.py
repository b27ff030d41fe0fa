"""The command line without programs: names, help, and one line for every mistake."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import diorama
from diorama.cli import COMMANDS, OWN_FAILURE, status_of
from diorama.cli.options import Mount
from diorama.errors import UsageError


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was told on standard error, which must be one line."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("diorama: ")
    return err


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_names_all_commands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(words) == 0
    out = capsys.readouterr().out
    for name in ("run", "trace", "explain", "doctor"):
        assert f"\n  {name} " in out


def test_help_and_reference_tell_the_same_of_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["--help"]) == 0
    told = re.findall(r"^  (\w+)  +(\w.*)$", capsys.readouterr().out.split("Run programs:")[1], re.MULTILINE)
    reference = Path(__file__).parents[2] / "docs/reference/cli.md"
    lines = reference.read_text().split("```")[1].splitlines()
    documented = [found for line in lines for found in re.findall(r"^diorama (\w+)  +.* {2,}(\w.*)$", line)]
    assert told == documented
    files = {
        file.stem
        for file in Path(diorama.cli.__file__).parent.glob("*.py")
        if "\ndef command(" in file.read_text()
    }
    assert {name for name, _ in told} == files


@pytest.mark.parametrize("name", [name for commands in COMMANDS.values() for name in commands])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of([name, "--help"]) == 0
    assert f"Usage: diorama {name} " in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["--version"]) == 0
    assert capsys.readouterr().out == f"diorama {diorama.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["nosuchcommand"],
        ["--nosuchoption"],
        ["run"],
        ["run", "--"],
        ["run", "--nosuchoption", "true"],
        ["run", "--guardians", "none", "--", "true"],
        ["run", "--force", "skip=magic", "--", "true"],
        ["run", "--force", "skip", "--", "true"],
        ["run", "--mount", "nowhere", "--", "true"],
        ["run", "--module", "/no/such/module.py", "--", "true"],
        ["trace", "-o", "/no/such/directory/file", "--", "true"],
        ["trace", "-e", "nosuchcall", "--", "true"],
        ["trace", "-e", "inject=all", "--", "true"],
        ["explain", "nosuchcall"],
    ],
    ids=" ".join,
)
def test_a_mistake_is_told_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(words) == OWN_FAILURE
    one_line(capsys)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/a=/b", Mount("/a", "/b")),
        ("a=b", Mount("a", "b")),
        ("zip:x.zip=/mnt:ro", Mount("zip:x.zip", "/mnt", ("ro",))),
        ("zip:x.zip=/mnt:ro,uid=3", Mount("zip:x.zip", "/mnt", ("ro", "uid=3"))),
        ("s3:b?key=value=/mnt", Mount("s3:b?key=value", "/mnt")),
        ("memory:=/mnt", Mount("memory:", "/mnt")),
        (".=.:ro", Mount(".", ".", ("ro",))),
        ("fuse:bindfs src=/mnt:ro", Mount("fuse:bindfs src", "/mnt", ("ro",))),
        ("fuse:bindfs src=/mnt:except=/a", Mount("fuse:bindfs src", "/mnt", ("except=/a",))),
        ("fuse:bindfs src=/my mnt", Mount("fuse:bindfs src", "/my mnt")),
        ("fuse:sshfs -o a=/b host:=/mnt", Mount("fuse:sshfs -o a=/b host:", "/mnt")),
        ("fuse:sshfs -o a=/b host:dir=/mnt:ro", Mount("fuse:sshfs -o a=/b host:dir", "/mnt", ("ro",))),
        ("fuse:x --src=/a=/mnt:ro", Mount("fuse:x --src=/a", "/mnt", ("ro",))),
        ("fuse:x --src=/a:b =/mnt", Mount("fuse:x --src=/a:b ", "/mnt")),
        ("fuse:x -o a=b src=mnt", Mount("fuse:x -o a=b src", "mnt")),
        ('py:m:C("a=/b", c=1)=/mnt:raw_fi', Mount('py:m:C("a=/b", c=1)', "/mnt", ("raw_fi",))),
        ("py:m:C(a=1)=mnt", Mount("py:m:C(a=1)", "mnt")),
        ("py:m:C=/mnt", Mount("py:m:C", "/mnt")),
        ("s3:b(1)=/mnt:option=)", Mount("s3:b(1)", "/mnt", ("option=)",))),
    ],
)
def test_a_mount_is_source_target_and_options(text: str, mount: Mount) -> None:
    assert Mount.parse(text) == mount


@pytest.mark.parametrize("text", ["", "=", "/a", "/a=", "=/b", "/a=:ro"])
def test_a_mount_without_source_or_target_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="SOURCE=TARGET"):
        Mount.parse(text)


def test_what_a_command_does_not_need_is_not_imported() -> None:
    script = (
        "import sys, diorama.cli; diorama.cli.status_of(['run', '--', 'true']);"
        "print(*sorted(sys.modules), sep='\\n')"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=True
    )
    heavy = {
        "diorama.cli.trace",
        "diorama.cli.doctor",
        "diorama.catalogue",
        "fsspec",
        "asyncio",
        "json",
        "greenlet",
    }
    assert not heavy & set(found.stdout.split())
