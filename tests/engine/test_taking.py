"""Descriptors of other processes: which there are, and one of them as our own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from diorama.engine.taking import can_take, descriptors_of, taken


def test_the_descriptors_of_a_process_are_known_until_it_is_gone(tmp_path: Path) -> None:
    code = "import sys; print('ready', flush=True); sys.stdin.read()"
    with (tmp_path / "file").open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[file.fileno()],
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert set(descriptors_of(process.pid)) >= {0, 1, 2, file.fileno()}
        process.communicate(timeout=50)
    assert descriptors_of(process.pid) == []


@pytest.mark.skipif(not can_take(), reason="needs pidfd_getfd(2)")
def test_what_is_taken_has_the_offset_of_the_program(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.write(b"content")
        file.flush()
        with taken(os.getpid(), os.getpid(), file.fileno()) as fd:
            assert fd != file.fileno()
            assert os.lseek(fd, 0, os.SEEK_CUR) == 7
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
