"""Lines: whole, at once, and harmless when nobody reads."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from diorama.observe.lines import Lines


def test_lines_of_several_threads_do_not_mix(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT)
    lines = Lines(fd)
    threads = [
        threading.Thread(target=lambda n=n: [lines.write(f"{n}" * 3000) for _ in range(50)]) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(fd)
    found = file.read_text().splitlines()
    assert sorted(found) == sorted(f"{n}" * 3000 for n in range(8) for _ in range(50))


def test_a_line_is_written_when_write_returns(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT)
    Lines(fd).write("now")
    assert file.read_text() == "now\n"
    os.close(fd)


def test_bytes_that_are_no_text_pass_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT)
    Lines(fd).write(os.fsdecode(b"\xff"))
    assert file.read_bytes() == b"\xff\n"
    os.close(fd)


def test_a_pipe_that_nobody_reads_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    lines = Lines(writer)
    lines.write("one")
    lines.write("two")
    os.close(writer)
