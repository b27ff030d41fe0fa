"""A command that does not end, and what it leaves; in a process of its own, which adopts orphans."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CODE = """
from benchmarks.running import Failed, adopt_orphans, children, run
adopt_orphans()
try:
    run(("sh", "-c", "setsid sleep 60 & echo begun; sleep 60"), 0.5)
except Failed as failed:
    print(failed, repr(failed.printed), children())
try:
    run(("sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & echo why >&2; exit 3"), 30)
except Failed as failed:
    print(failed, children())
try:
    run(("/nonexistent",), 30)
except Failed as failed:
    print(failed)
print(run(("cat",), 30, data=b"handed on"))
"""


def test_a_command_ends_in_time_and_leaves_nothing() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=50, check=True)
    assert done.stdout.splitlines() == [
        "did not end within 0.5 s 'begun\\n' []",
        "status 3: why []",
        "/nonexistent: No such file or directory",
        "handed on",
    ]
