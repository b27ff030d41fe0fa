"""The first line of a script, held against the kernel."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from behaviour.programs import Programs
from diorama.dispatch.files.scripts import HEAD, script_line

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
PARTS = st.sampled_from([b" ", b"\t", b"\0", b"\n", b"x", b"I", b"I ", b"y" * 120, b" \t "])


class Beside:
    """A directory with an interpreter that shows its arguments, and a script."""

    def __init__(self, directory: Path, shows: Path) -> None:
        self.shows = directory / "I"
        self.shows.symlink_to(shows)
        self.script = directory / "script"

    def natively(self, content: bytes) -> object:
        """The arguments before the script's own name, as the kernel makes them, or the errno."""
        self.script.unlink(missing_ok=True)
        self.script.write_bytes(content)
        self.script.chmod(0o755)
        try:
            done = subprocess.run([self.script], capture_output=True, check=False)
        except OSError as error:
            return error.errno
        words = done.stdout[done.stdout.index(b" [") + 2 : -2].split(b"] [")
        assert words[-1] == os.fsencode(self.script)
        return words[:-1]

    def here(self, content: bytes) -> object:
        """The same by us."""
        try:
            line = script_line(content[:HEAD])
        except OSError as error:
            return error.errno
        assert line is not None
        try:
            os.stat(line[0])
        except OSError as error:
            return error.errno
        return line if os.path.samefile(line[0], self.shows) else errno.EACCES


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Beside:
    return Beside(tmp_path_factory.mktemp("s"), programs("executed"))


@settings(max_examples=100, deadline=None)
@given(st.lists(PARTS, max_size=5))
@example([b"I", b" " * 300])
@example([b" " * 253])
@example([b" " * 254])
@example([b"I ", b"z" * 300])
@example([b"I", b"\0", b"a b\n"])
@example([b"I a", b"\0", b"b\n"])
@example([b"I  "])
@example([b"I \0\n"])
@example([b"\0\n"])
def test_a_first_line_is_read_as_by_the_kernel(beside: Beside, parts: list[bytes]) -> None:
    content = b"#!" + b"".join(parts).replace(b"I", os.fsencode(beside.shows))
    assert beside.here(content) == beside.natively(content)


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("length", range(HEAD - 4, HEAD + 3))
def test_where_the_line_is_cut(beside: Beside, length: int, end: bytes) -> None:
    name = os.fsencode(beside.shows)
    for line in (name.rjust(length - 2, b"/"), (name + b" ").ljust(length - 2, b"x")):
        content = b"#!" + line + end
        assert beside.here(content) == beside.natively(content)
