"""Closing: what programs have written is saved at the end of a view, whatever signals come meanwhile."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from behaviour.harness import Bench, finish, run_with
from engines import ENGINES

SLOW = '''
"""A backend that takes its time: until somebody says that it may go on."""
import os
import time
from pathlib import Path

from diorama.interfaces.paths import PathFileSystem, directory_status, file_status, missing


class Slow(PathFileSystem):
    title = "slow"
    writable = True

    def __init__(self):
        super().__init__()
        self.files = {}

    def stat(self, path):
        if path in self.files:
            return file_status(len(self.files[path]))
        return directory_status() if path == "" else missing()

    def names(self, path):
        return self.files

    def load(self, path):
        return self.files[path]

    def save(self, path, content):
        if content:
            open("saving", "w").close()
            while not os.path.exists("go on"):
                time.sleep(0.01)
            with open("saved", "wb") as file:
                file.write(content)
        self.files[path] = content
'''

DIES = "exec 3>mnt/file; echo text >&3; kill -9 $$"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_signal_does_not_cut_saving_short(bench: Bench, engine: str, sent: signal.Signals) -> None:
    def prepare(work: Path) -> None:
        (work / "mnt").mkdir()
        (work / "slow.py").write_text(SLOW)

    bench.prepare = prepare
    bench.fresh()
    running = bench.start(run_with("--mount", "py:slow.py:Slow=mnt").on(engine)(["sh", "-c", DIES]))
    end = time.monotonic() + 50
    while not (bench.work / "saving").exists():
        assert running.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.2)  # that it waits for the end of the saving, which is not seen from outside
    running.send_signal(sent)
    time.sleep(0.1)
    assert running.poll() is None
    (bench.work / "go on").touch()
    found = finish(running)
    assert (found.stdout, found.stderr, found.status) == ("", "", 128 + signal.SIGKILL)
    assert (bench.work / "saved").read_bytes() == b"text\n"
