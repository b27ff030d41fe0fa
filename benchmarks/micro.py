"""Micro: single operations, many times, in one program; and the throughput of several processes."""

from __future__ import annotations

from benchmarks.results import MICROSECONDS, THOUSANDS, Results, Row, parse
from benchmarks.running import Failed, run
from benchmarks.ways import Way

ROWS = (
    Row("getppid", "getppid", MICROSECONDS),
    Row("stat", "stat", MICROSECONDS),
    Row("open", "open, close", MICROSECONDS),
    Row("read", "read 1 byte", MICROSECONDS),
    Row("pread", "pread 4 KiB", MICROSECONDS),
    Row("map", "map and read a page", MICROSECONDS),
    Row("posix_spawn", "posix_spawn", MICROSECONDS),
    Row("fork_exec", "fork, exec", MICROSECONDS),
    Row("thread", "thread", MICROSECONDS),
    Row("stat_1", "stat, 1 process", THOUSANDS),
    Row("stat_2", "stat, 2 processes", THOUSANDS),
    Row("stat_4", "stat, 4 processes", THOUSANDS),
)


def measure(rows: list[Row], way: Way, results: Results, milliseconds: int, limit: float) -> None:
    """One run of the program, for the rows that have not failed yet."""
    left = [row for row in rows if not results.cell(row.key, way.key).failure]
    if not left:
        return
    names = (row.key for row in left)
    command = way.command(way.program(way.micro), str(milliseconds), way.base, *names)
    failure = "printed nothing"
    try:
        found = parse(run(command, limit))
    except Failed as failed:
        found, failure = parse(failed.printed), str(failed)
    for row in left:
        if row.key in found:
            results.add(row.key, way.key, found[row.key])
        else:
            results.fail(row.key, way.key, failure)
