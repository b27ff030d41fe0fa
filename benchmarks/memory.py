"""Memory: what the supervisor takes, and how it grows; read from /proc while the program waits."""

from __future__ import annotations

import select
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import KILOBYTES, MEGABYTES, Results, Row
from benchmarks.running import LONGEST_REASON, Failed, stop
from benchmarks.ways import Way

PEAK = Row("peak", "peak of a simple view", MEGABYTES)
THREAD = Row("per_thread", "growth per thread", KILOBYTES)
PROCESSES = Row("processes", "growth over all processes", MEGABYTES)
ROWS = (PEAK, THREAD, PROCESSES)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many threads, and how many processes one after the other."""

    threads: int = 1000
    processes: int = 100_000


QUICK = Counts(processes=5000)
FEW = 10  # threads before the first look
WARM = 1000  # processes before the first look


def status_of(text: str, name: str) -> int:
    """A line of /proc/PID/status, in bytes."""
    for line in text.splitlines():
        field, _, rest = line.partition(":")
        if field == name:
            return int(rest.split()[0]) * 1024
    raise Failed(f"/proc/PID/status has no {name}")


class Held:
    """A view whose program waits while we look at its supervisor."""

    def __init__(self, way: Way, kind: str, few: int, many: int, limit: float) -> None:
        words = (way.program("program"), "hold", kind, str(few), str(many), f"{way.base}/f")
        self.limit = limit
        self.process = subprocess.Popen(
            way.command(*words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def made(self) -> str:
        """Wait until the program says that it has made all; then the supervisor's /proc/PID/status."""
        stdout, stderr = self.process.stdout, self.process.stderr
        assert stdout
        assert stderr
        if not select.select([stdout], [], [], self.limit)[0]:
            raise Failed(f"was not ready within {self.limit:g} s")
        if not stdout.readline():
            said = stderr.read().decode(errors="replace").strip().splitlines()
            raise Failed(said[-1][:LONGEST_REASON] if said else "ended before it was ready")
        return Path(f"/proc/{self.process.pid}/status").read_text()

    def go_on(self) -> None:
        """Let the program make the rest."""
        assert self.process.stdin
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()


def look(way: Way, kind: str, few: int, many: int, limit: float) -> tuple[str, str]:
    """The supervisor's status after few and after many."""
    held = Held(way, kind, few, many, limit)
    try:
        before = held.made()
        held.go_on()
        return before, held.made()
    finally:
        stop(held.process)


def measure(rows: list[Row], way: Way, results: Results, counts: Counts, limit: float) -> None:
    """Each row once: memory does not scatter as time does."""
    for row in rows:
        try:
            results.add(row.key, way.key, value_of(row, way, counts, limit))
        except Failed as failed:
            results.fail(row.key, way.key, str(failed))


def value_of(row: Row, way: Way, counts: Counts, limit: float) -> float:
    """The number of one row, in bytes."""
    if row is PEAK:
        return status_of(look(way, "children", FEW, FEW, limit)[1], "VmHWM")
    if row is THREAD:
        before, after = look(way, "threads", FEW, counts.threads, limit)
        return (status_of(after, "VmRSS") - status_of(before, "VmRSS")) / counts.threads
    before, after = look(way, "children", WARM, counts.processes - WARM, limit)
    return status_of(after, "VmRSS") - status_of(before, "VmRSS")
