"""Runs: `diorama` as a process of its own, within a time limit."""

from __future__ import annotations

import subprocess
import sys

LIMIT = 30


def diorama(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end."""
    command = [sys.executable, "-m", "diorama", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
