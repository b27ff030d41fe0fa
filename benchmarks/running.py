"""Running: a command with a time limit, of which nothing stays behind, whatever it was.

The harness adopts orphans: some tools leave processes behind when they are killed, and those would slow down
all that is measured afterwards.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from pathlib import Path

SET_CHILD_SUBREAPER = 36
LONGEST_REASON = 200


class Failed(Exception):
    """The command did not do what it should have done; says why, and what it had printed until then."""

    def __init__(self, reason: str, printed: str = "") -> None:
        super().__init__(reason)
        self.printed = printed


def adopt_orphans() -> None:
    """Become the parent of every process that loses its own below us."""
    if ctypes.CDLL(None, use_errno=True).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children() -> list[int]:
    """The processes whose parent we are."""
    lists = Path("/proc/self/task").glob("*/children")
    return [int(word) for file in lists for word in file.read_text().split()]


def end_leftovers() -> None:
    """Kill what is left below us, generation by generation, and collect it; not what is another user's."""
    others: set[int] = set()
    while left := [pid for pid in children() if pid not in others]:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except PermissionError:
                others.add(pid)  # a wrapper that has become somebody else, and ends by itself
                continue
            except ProcessLookupError:
                pass
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def reason_of(status: int, errors: str) -> str:
    """One line for a note: the status, and the last line that speaks of an error, or else the last one."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    lines += [line for line in lines if "error:" in line.lower()]
    how = f"status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
    return f"{how}: {lines[-1]}"[:LONGEST_REASON] if lines else how


def run(
    command: tuple[str, ...], limit: float, *, data: bytes = b"", environment: dict[str, str] | None = None
) -> str:
    """What the command prints; `Failed` if it cannot be run, does not end with status 0, or not in time."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | (environment or {}),
            start_new_session=True,
        )
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from None
    try:
        printed, errors = process.communicate(data, limit)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"did not end within {limit:g} s", (late.stdout or b"").decode()) from None
    finally:
        stop(process)
    text = printed.decode(errors="replace")
    if process.returncode:
        raise Failed(reason_of(process.returncode, errors.decode(errors="replace")), text)
    return text


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a command that still runs, and whatever it has left."""
    if process.poll() is None:
        with contextlib.suppress(PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    end_leftovers()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
