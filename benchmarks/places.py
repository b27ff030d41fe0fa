"""Places: where commands run: this machine, or a root of the peers' own that a wrapper command leads to.

The same directory is made in both:

    base/       what the workloads work in (fixtures.py)
    base.zip    the same as an archive
    view/ usr/  empty: where the ways put base, the archive, and /usr
    other/      unrelated, bound on elsewhere/; archive/ is where an unrelated archive is mounted
    program, micro, linked (micro, linked dynamically)
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import fixtures
from benchmarks.running import Failed, run

HERE = Path(__file__).resolve().parent
FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread")
EMPTY = ("view", "usr", "elsewhere", "archive")
LIMIT = 300.0  # for making and removing the directory


@dataclass(frozen=True, slots=True)
class Place:
    """Where commands run, through the wrapper; the directory there, and Python with that of its modules."""

    wrapper: tuple[str, ...]
    directory: str
    python: str
    modules: str

    def has(self, tool: str) -> bool:
        """Tell whether a command is installed there."""
        return bool(self.ask(f'command -v "{tool}"'))

    def version(self, *command: str) -> str:
        """The first version number that the command prints, empty if there is none."""
        found = re.search(r"\d+\.\d[\w.]*", self.ask(f"{shlex.join(command)} 2>&1 || :"))
        return found[0].rstrip(".") if found else ""

    def ask(self, script: str) -> str:
        """What a script prints there, nothing if it fails."""
        try:
            return printed(self.wrapper, script)
        except Failed:
            return ""


def printed(wrapper: tuple[str, ...], script: str, data: bytes = b"") -> str:
    """What a script prints there."""
    return run((*wrapper, "sh", "-c", script), LIMIT, data=data).strip()


def compile_programs(directory: Path) -> None:
    """Build what is run: statically, so that it runs in any root; fakeroot needs `linked`."""
    for name, source, flags in (
        ("program", "program", ["-static"]),
        ("micro", "micro", ["-static"]),
        ("linked", "micro", []),
    ):
        output = ["-o", str(directory / name), str(HERE / f"{source}.c")]
        subprocess.run(["gcc", *FLAGS, *flags, *output], check=True)


@contextmanager
def host(size: fixtures.Size) -> Iterator[Place]:
    """The machine itself, with a directory that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="diorama-bench.") as name:
        directory = Path(name)
        directory.chmod(0o755)
        compile_programs(directory)
        fixtures.make_base(directory / "base", size)
        fixtures.make_zip(directory / "base", directory / "base.zip")
        for empty in (*EMPTY, "other"):
            (directory / empty).mkdir()
        yield Place((), name, *python_of(()))


@contextmanager
def peers(wrapper: tuple[str, ...], like: Place, programs: tuple[str, ...] = ()) -> Iterator[Place]:
    """The peers' root, with a copy of the directory and `programs`; `Failed` if the wrapper does not work."""
    directory = printed(wrapper, "mktemp -d /tmp/diorama-bench.XXXXXX")
    try:
        unpack = f"cd {directory} && tar -xf - && mkdir {' '.join(EMPTY)}"
        archive = subprocess.run(
            ["tar", "-C", like.directory, "-cf", "-", *COPIED, *programs], check=True, capture_output=True
        )
        printed(wrapper, unpack, archive.stdout)
        yield Place(wrapper, directory, *python_of(wrapper))
    finally:
        printed(wrapper, f"rm -rf {directory}")


COPIED = ("base", "base.zip", "other", "program", "micro", "linked")


def python_of(wrapper: tuple[str, ...]) -> tuple[str, str]:
    """The system's Python and the directory of its modules; empty strings if there is none."""
    find = "command -v /usr/bin/python3 || command -v python3"
    ask = '-c "import os, sys; print(sys.executable); print(os.path.dirname(os.__file__))"'
    try:
        executable, modules = printed(wrapper, f"$({find}) {ask}").splitlines()
    except (Failed, ValueError):
        return "", ""
    return executable, modules
