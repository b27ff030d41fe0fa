"""Devices whose class waits for what never comes: whose programs can be killed, and whose view can end."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from behaviour.harness import Bench, Way, each_way, finish, run_with
from diorama.interfaces.apart import apart

pytestmark = pytest.mark.timeout(120)

STUCK = '''
import threading
from pathlib import Path
from diorama.interfaces.device import BlockDevice, CharacterDevice

def wait(self, *arguments):
    """For ever, and say so."""
    Path("waiting").touch()
    threading.Event().wait()

class Stream(CharacterDevice):
    read = write = ioctl = seek = wait
    seeks = True

class Disk(BlockDevice):
    size = 1 << 20
    has_partitions = False
    read = write = ioctl = discard = wait
'''
WAY = run_with("--mount", "py:./stuck.py:Stream=/dev/stream", "--mount", "py:./stuck.py:Disk=/dev/drive")

KILLING = """
import os, signal, subprocess, sys, time
READS = "import os; os.read(os.open({!r}, os.O_RDWR), 9)"
WRITES = "import os; os.write(os.open({!r}, os.O_RDWR), bytes(512))"
CONTROLS = "import fcntl, os; fcntl.ioctl(os.open({!r}, os.O_RDWR), 0x7777, 0)"
SEEKS = "import os; os.lseek(os.open({!r}, os.O_RDWR), 9, 0)"
SCRIPTS = (READS, WRITES, CONTROLS, SEEKS)
for path, scripts in ("/dev/stream", SCRIPTS), ("/dev/drive", SCRIPTS[:3]):
    for script in scripts:
        program = subprocess.Popen([sys.executable, "-c", script.format(path)])
        while not os.path.exists("waiting"):
            time.sleep(0.01)
        program.kill()
        program.wait()
        os.unlink("waiting")
        print(program.returncode, end=" ", flush=True)
"""


def lay(work: Path) -> None:
    (work / "stuck.py").write_text(STUCK)


@each_way(WAY)
def test_a_program_that_is_killed_is_not_waited_for(bench: Bench, way: Way) -> None:
    bench.prepare = lay
    found = bench.inside(way, [sys.executable, "-c", KILLING])
    assert found.stdout == "-9 " * 7, found.stderr


@each_way(WAY)
def test_a_view_that_is_told_to_end_does(bench: Bench, way: Way) -> None:
    bench.prepare = lay
    bench.fresh()
    view = bench.start(way(["head", "-c", "1", "/dev/stream"]))
    end = time.monotonic() + 60
    while not (bench.work / "waiting").exists():
        assert time.monotonic() < end, "nobody has read"
        time.sleep(0.01)
    view.send_signal(signal.SIGTERM)
    assert finish(view).status == 128 + signal.SIGTERM


SLOW = """
import time
from pathlib import Path
from diorama.interfaces.device import CharacterDevice

class Slow(CharacterDevice):
    def write(self, position, data):
        return len(data)

    def close(self):
        time.sleep(0.5)
        Path("closed").write_text("all is kept")
"""


def lay_slow(work: Path) -> None:
    (work / "slow.py").write_text(SLOW)


@each_way(run_with("--user", "root", "--grow", "--mount", "py:./slow.py:Slow=/dev/slow"))
def test_who_unmounts_a_device_waits_until_it_is_closed(bench: Bench, way: Way) -> None:
    bench.prepare = lay_slow
    script = "echo text >/dev/slow; umount /dev/slow; cat closed"
    found = bench.inside(way, ["sh", "-c", script])
    assert (found.stdout, found.stderr) == ("all is kept", "")


def test_what_a_method_raises_is_told_to_who_asks() -> None:
    def fail() -> None:
        raise KeyError("x")

    def nested() -> int:
        return apart(lambda: 7, lambda: False)

    with pytest.raises(KeyError):
        apart(fail, lambda: False)
    assert apart(nested, lambda: False) == 7
