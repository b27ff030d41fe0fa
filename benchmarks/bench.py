"""Benchmark: what a stop costs, for each action, against a minimal C tracer and other tools.

All ways are measured in one run, in turns, several times; the table in docs/explanation/benchmarks.md has the
medians, their spread, and the ratios to the native call and to the C tracer on one CPU.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILT = ROOT / "build" / "benchmarks"
PAGE = ROOT / "docs" / "explanation" / "benchmarks.md"
FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror")
NUMBERS = {"getppid": "110", "openat": "257"}  # x86-64, for the C tracer
DIORAMA = (sys.executable, "-P", "-m", "diorama", "run", "--module", str(HERE / "handlers.py"))


@dataclass(slots=True)
class Way:
    """One way to run the program: what stands before it, which call it loops over, and what was measured."""

    title: str
    group: str
    call: str
    times: int
    prefix: tuple[str, ...] = ()
    action: str = ""
    found: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Run once and keep the nanoseconds per call."""
        command = [*self.prefix, str(BUILT / "program"), self.call, str(self.times)]
        environment = os.environ | {"BENCHMARK_ACTION": self.action}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: status {done.returncode}\n{done.stderr}")
        self.found.append(float(done.stdout.split()[-1]))

    @property
    def median(self) -> float:
        """Microseconds per call."""
        return statistics.median(self.found) / 1000

    @property
    def spread(self) -> str:
        """The smallest and the largest."""
        return f"{min(self.found) / 1000:.2f} to {max(self.found) / 1000:.2f}"


def build() -> None:
    BUILT.mkdir(parents=True, exist_ok=True)
    for name in ("program", "baseline"):
        subprocess.run(["gcc", *FLAGS, "-o", str(BUILT / name), str(HERE / f"{name}.c")], check=True)


def baseline(title: str, action: str, call: str, times: int) -> list[Way]:
    tracer = str(BUILT / "baseline")
    return [
        Way(f"C tracer, one CPU: {title}", action, call, times, (tracer, "-p", action, NUMBERS[call])),
        Way(
            f"C tracer, scheduler's CPUs: {title}", action, call, times // 4, (tracer, action, NUMBERS[call])
        ),
    ]


def ours(title: str, action: str, call: str, times: int, group: str = "") -> list[Way]:
    prefix = (*DIORAMA, "--")
    return [Way(f"**diorama**: {title}", group or action, call, times, prefix, action)]


def strace(title: str, group: str, call: str, times: int, *options: str) -> list[Way]:
    if shutil.which("strace") is None:
        return []
    prefix = ("strace", "-f", "-qqq", "-o", "/dev/null", "--seccomp-bpf", *options)
    return [Way(f"strace: {title}", group, call, times, prefix)]


def installed(tool: str, title: str, group: str, call: str, times: int, *prefix: str) -> list[Way]:
    return [Way(f"{tool}: {title}", group, call, times, prefix)] if shutil.which(prefix[0]) else []


def ways(times: int) -> list[Way]:
    """Every row of the table."""
    few = times // 4
    return [
        Way("native", "native", "getppid", times * 20),
        Way("diorama, nothing handled", "native", "getppid", times * 20, (*DIORAMA[:5], "--")),
        *baseline("runs as it is", "pass", "getppid", times),
        *ours("runs as it is", "pass", "getppid", times),
        *baseline("result seen", "result", "getppid", times),
        *ours("result seen", "result", "getppid", times),
        *strace("printed", "result", "getppid", few, "-e", "trace=getppid"),
        *baseline("answered", "skip", "getppid", times),
        *ours("answered", "skip", "getppid", times),
        *strace(
            "answered by inject",
            "skip",
            "getppid",
            few,
            "-e",
            "trace=getppid",
            "-e",
            "inject=getppid:retval=7",
        ),
        *baseline("three calls for one", "sequence", "getppid", times // 2),
        *ours("three calls for one", "sequence", "getppid", times // 2),
        Way("native", "native openat", "openat", times * 5),
        *ours("path of no interest, settled in C", "settled", "openat", times, "path"),
        *baseline("runs as it is, path not looked at", "pass", "openat", times),
        *baseline("an argument changed", "change", "openat", times),
        *ours("an argument changed", "change", "openat", times),
        *ours("redirected to another path", "redirect", "openat", times, "change"),
        *installed("PRoot", "path translated", "path", "openat", few, "proot", "-b", "/usr:/mnt"),
        *installed("VUOS", "path looked up", "path", "openat", few, "umvu"),
        Way("native", "native fork", "fork", 500),
        *installed(
            "strace",
            "followed",
            "fork",
            "fork",
            200,
            "strace",
            "-f",
            "-qqq",
            "-o",
            "/dev/null",
            "--seccomp-bpf",
            "-e",
            "trace=getppid",
        ),
        Way("**diorama**: a guardian each", "fork", "fork", 300, (*DIORAMA, "--"), "pass"),
        Way(
            "**diorama**: one guardian for all",
            "fork",
            "fork",
            300,
            (*DIORAMA, "--guardians", "shared", "--"),
            "pass",
        ),
    ]


def native_of(way: Way, rows: list[Way]) -> Way:
    return next(row for row in rows if row.title == "native" and row.call == way.call)


def tracer_of(way: Way, rows: list[Way]) -> Way | None:
    """The C tracer on one CPU that does the same to the same call."""
    wanted = "pass" if way.group == "path" else way.group
    same = (
        row
        for row in rows
        if row.title.startswith("C tracer, one") and row.group == wanted and row.call == way.call
    )
    return next(same, None)


def machine() -> str:
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    model = next(
        (value.strip() for name, _, value in lines if name.startswith("model name")), platform.machine()
    )
    return f"{os.cpu_count()} CPUs ({model}), Linux {platform.release()}, Python {platform.python_version()}"


def table(rows: list[Way], call: str) -> list[str]:
    lines = [
        "| way | µs per call | spread | to native | to the C tracer on one CPU |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in (row for row in rows if row.call == call):
        tracer = tracer_of(row, rows)
        compared = f"{row.median / tracer.median:.2f}" if tracer else ""
        ratio = row.median / native_of(row, rows).median
        shown = f"{ratio:.2f}" if ratio < 2 else f"{ratio:.0f}"
        lines.append(f"| {row.title} | {row.median:.2f} | {row.spread} | {shown} | {compared} |")
    return lines


HEAD = """\
# Benchmarks

Written by `make bench`; do not edit. Each row is the time that one call takes in a program that makes it in a
loop, the median of {repetitions} runs made in turns; beside it the fastest and the slowest run. A C tracer
written for the purpose (`benchmarks/baseline.c`) does the least that each action needs: no strings read, no
second thread, no signals, no restarts. It is measured together with the program on one CPU, the best case,
and where the scheduler puts the two. Diorama puts a program that stops often beside its guardian by itself.

Machine: {machine}.
{missing}"""

PARTS = {
    "getppid": "## A call without arguments (getppid)",
    "openat": "## A call with a path (openat, and the close that follows)",
    "fork": "## A child (fork, exit and wait)",
}


def page(rows: list[Way], repetitions: int) -> str:
    tools = (("strace", "strace"), ("PRoot", "proot"), ("VUOS", "umvu"))
    absent = ", ".join(name for name, tool in tools if not shutil.which(tool))
    missing = f"\nNot installed on it, hence not in the tables: {absent}.\n" if absent else ""
    parts = [HEAD.format(repetitions=repetitions, machine=machine(), missing=missing)]
    for call, title in PARTS.items():
        parts += ["", title, "", *table(rows, call)]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--times", type=int, default=8000, help="calls per run")
    parser.add_argument(
        "--only", default="", help="only rows whose title or group contains this; writes no page"
    )
    options = parser.parse_args()
    build()
    rows = [
        way
        for way in ways(options.times)
        if options.only in f"{way.title} {way.group}" or way.title == "native"
    ]
    for repetition in range(options.repetitions):
        print(f"repetition {repetition + 1} of {options.repetitions}", file=sys.stderr)
        for row in rows:
            row.measure()
    text = page(rows, options.repetitions)
    print(text)
    if not options.only:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
