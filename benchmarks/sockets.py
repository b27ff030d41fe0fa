"""Sockets: what calls of sockets cost on each kind of network, against natively.

    python -m benchmarks.sockets [--rounds N] [--count N] [--only REGEX] [--ways REGEX]

What counts is the CPU time of the program and of all that serves it, so that it can be measured beside
other work: between two moments that the program tells of, of its process, its supervisor and their children.
All ways are measured in turns, several rounds. The table has medians in microseconds, and how many times that
is of what it takes natively.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.results import MICROSECONDS, Results, Row, number
from benchmarks.ways import DIORAMA

SOURCE = Path(__file__).with_name("sockets.c")
NATIVE = "native"
_MORE = 20
"""How many times more often a call is made natively, where it takes so little."""
NETWORKS = {
    "host": "host:",
    "rules": "host:,allow=*,deny=192.0.2.0/24",
    "lan": "lan:benchmark",
    "packet": "packet:",
}
ROWS = [
    Row(key, title, MICROSECONDS)
    for key, title in (
        ("socket", "`socket`, `close`"),
        ("connection", "`socket`, `connect`, `accept`, two `close`"),
        ("getsockname", "`getsockname`"),
        ("sendto", "`sendto`"),
        ("sendto_recvfrom", "`sendto`, `recvfrom`"),
        ("send_recv", "`send`, `recv`"),
        ("sendmsg_recvmsg", "`sendmsg`, `recvmsg` without addresses"),
    )
]


def ways() -> dict[str, list[str]]:
    """What stands before a command, by way."""
    found: dict[str, list[str]] = {NATIVE: []}
    for engine in ("guardians", "notify"):
        for key, net in NETWORKS.items():
            found[f"{key}-{engine}"] = [*DIORAMA, "--engine", engine, "--net", net, "--"]
    return found


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for at in found:
        for children in Path(f"/proc/{at}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def spent(pid: int) -> float:
    """The CPU time of a process and its descendants so far, in nanoseconds."""
    ticks = 0
    for one in tree(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK") * 1e9


def measure(words: list[str], count: int, keys: list[str]) -> Iterator[tuple[str, float]]:
    """The CPU time for each of so many operations, by row; RuntimeError with what was said if that fails."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [*words, str(count), *keys]
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        for key in keys:
            times: list[float] = []
            for expected in ("begin\n", "end\n"):
                if process.stdout.readline() != expected:
                    raise RuntimeError(process.communicate(timeout=60)[1].strip() or "it ended")
                times.append(spent(process.pid))
                process.stdin.write("\n")
                process.stdin.flush()
            yield key, (times[1] - times[0]) / count


def table(results: Results, keys: list[str]) -> str:
    """The results as a table of Markdown."""
    lines = ["| | " + " | ".join(keys) + " |", "|---|" + "---:|" * len(keys)]
    for row in ROWS:
        cells: list[str] = []
        for key in keys:
            median, ratio = results.median(row.key, key), results.ratio(row, key, NATIVE)
            text = results.cell(row.key, key).failure if median is None else number(median / 1e3)
            cells.append(text if ratio is None or key == NATIVE else f"{text} ({number(ratio)})")
        lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks.sockets", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--only", type=re.compile, default=re.compile(""))
    parser.add_argument("--ways", type=re.compile, default=re.compile(""))
    asked = parser.parse_args()
    chosen = {key: words for key, words in ways().items() if key == NATIVE or asked.ways.search(key)}
    keys = [row.key for row in ROWS if asked.only.search(row.key)]
    results = Results()
    with tempfile.TemporaryDirectory() as directory:
        program = f"{directory}/sockets"
        subprocess.run(["gcc", "-O2", "-o", program, SOURCE], check=True)
        for turn in range(asked.rounds):
            for way, words in chosen.items():
                try:
                    for key, value in measure([*words, program], asked.count * (1 if words else _MORE), keys):
                        results.add(key, way, value)
                except RuntimeError as error:
                    print(f"{way}: {error}", file=sys.stderr)
            print(f"round {turn + 1} of {asked.rounds}", file=sys.stderr)
    print(table(results, list(chosen)))


if __name__ == "__main__":
    main()
