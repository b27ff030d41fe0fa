"""Stops: what one stop costs, for each action, against a minimal C tracer and other tools."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.places import FLAGS, HERE
from benchmarks.results import MICROSECONDS, Cell, number, with_spread
from benchmarks.running import Failed, run
from benchmarks.ways import DIORAMA, engines

NUMBERS = {"getppid": "110", "openat": "257"}  # x86-64, for the C tracer
PARTS = {
    "getppid": "### A call without arguments (getppid)",
    "openat": "### A call with a path (openat, and the close that follows)",
    "fork": "### A child (fork, exit and wait)",
}


@dataclass(slots=True)
class Stop:
    """One way to run the program: what stands before it, which call it loops over, and what was measured."""

    title: str
    group: str
    call: str
    times: int
    prefix: tuple[str, ...] = ()
    action: str = ""
    cell: Cell = field(default_factory=Cell)

    def measure(self, program: str, limit: float) -> None:
        """Run once and keep the nanoseconds per call."""
        if self.cell.failure:
            return
        command = (*self.prefix, program, "loop", self.call, str(self.times))
        try:
            printed = run(command, limit, environment={"BENCHMARK_ACTION": self.action})
            self.cell.values.append(float(printed.split()[-1]))
        except (Failed, ValueError, IndexError) as error:
            self.cell.failure = str(error)


def build(directory: str) -> str:
    """Compile the C tracer."""
    tracer = Path(directory) / "baseline"
    subprocess.run(["gcc", *FLAGS, "-o", str(tracer), str(HERE / "baseline.c")], check=True)
    return str(tracer)


class Rows:
    """The makers of rows, which know how many calls to make and where the C tracer is."""

    def __init__(self, tracer: str, times: int) -> None:
        self.tracer = tracer
        self.times = times

    def baseline(self, title: str, action: str, call: str, times: int = 0) -> list[Stop]:
        """The C tracer, on one CPU and where the scheduler puts it."""
        times = times or self.times
        command = (action, NUMBERS[call])
        return [
            Stop(f"C tracer, one CPU: {title}", action, call, times, (self.tracer, "-p", *command)),
            Stop(f"C tracer, scheduler's CPUs: {title}", action, call, times // 4, (self.tracer, *command)),
        ]

    def ours(self, title: str, action: str, call: str, group: str = "", times: int = 0) -> list[Stop]:
        """Diorama with the handler that the action names, with each engine."""
        found = []
        for engine, options in engines().items():
            prefix = (*DIORAMA, *options, "--module", str(HERE / "handlers.py"), "--")
            name = "**diorama**" if engine == "default" else f"**diorama**, {engine}"
            found.append(Stop(f"{name}: {title}", group or action, call, times or self.times, prefix, action))
        return found

    def strace(self, title: str, group: str, call: str, times: int, *options: str) -> list[Stop]:
        """The command strace, where it is installed."""
        prefix = ("strace", "-f", "-qqq", "-o", "/dev/null", "--seccomp-bpf", *options)
        return self.tool("strace", title, group, call, times, *prefix)

    def tool(self, name: str, title: str, group: str, call: str, times: int, *prefix: str) -> list[Stop]:
        """A tool, where it is installed."""
        return [Stop(f"{name}: {title}", group, call, times, prefix)] if shutil.which(prefix[0]) else []


def on_getppid(rows: Rows) -> list[Stop]:
    """A call without arguments, under each action."""
    times, few, traced = rows.times, rows.times // 4, ("-e", "trace=getppid")
    inject = (*traced, "-e", "inject=getppid:retval=7")
    return [
        Stop("native", "native", "getppid", times * 20),
        Stop("diorama, nothing handled", "native", "getppid", times * 20, (*DIORAMA, "--")),
        *rows.baseline("runs as it is", "pass", "getppid"),
        *rows.ours("runs as it is", "pass", "getppid"),
        *rows.baseline("result seen", "result", "getppid"),
        *rows.ours("result seen", "result", "getppid"),
        *rows.strace("printed", "result", "getppid", few, *traced),
        *rows.baseline("answered", "skip", "getppid"),
        *rows.ours("answered", "skip", "getppid"),
        *rows.strace("answered by inject", "skip", "getppid", few, *inject),
        *rows.baseline("three calls for one", "sequence", "getppid", times // 2),
        *rows.ours("three calls for one", "sequence", "getppid", times=times // 2),
    ]


def on_openat(rows: Rows) -> list[Stop]:
    """A call with a path."""
    few = rows.times // 4
    return [
        Stop("native", "native openat", "openat", rows.times * 5),
        *rows.ours("path of no interest, settled in C", "settled", "openat", "path"),
        *rows.baseline("runs as it is, path not looked at", "pass", "openat"),
        *rows.baseline("an argument changed", "change", "openat"),
        *rows.ours("an argument changed", "change", "openat"),
        *rows.ours("redirected to another path", "redirect", "openat", "change"),
        *rows.tool("PRoot", "path translated", "path", "openat", few, "proot", "-b", "/usr:/mnt"),
        *rows.tool("VUOS", "path looked up", "path", "openat", few, "umvu"),
    ]


def on_fork(rows: Rows) -> list[Stop]:
    """A child that is followed."""
    guardians = engines().get("guardians", ())
    prefix = (*DIORAMA, *guardians, "--module", str(HERE / "handlers.py"))
    shared = (*prefix, "--guardians", "shared", "--")
    return [
        Stop("native", "native fork", "fork", 500),
        *rows.strace("followed", "fork", "fork", 200, "-e", "trace=getppid"),
        *rows.ours("followed", "pass", "fork", "fork", 300),
        Stop("**diorama**, one guardian for all: followed", "fork", "fork", 300, shared, "pass"),
    ]


def all_stops(directory: str, times: int) -> list[Stop]:
    """Every row of the section; none but on x86-64, where the C tracer can be built."""
    if platform.machine() != "x86_64":
        return []
    rows = Rows(build(directory), times)
    return [*on_getppid(rows), *on_openat(rows), *on_fork(rows)]


def tracer_of(stop: Stop, stops: list[Stop]) -> Stop | None:
    """The C tracer on one CPU that does the same to the same call."""
    wanted = "pass" if stop.group == "path" else stop.group
    tracers = (other for other in stops if other.title.startswith("C tracer, one"))
    return next((other for other in tracers if other.group == wanted and other.call == stop.call), None)


def compared(stop: Stop, base: Stop | None) -> str:
    """The ratio of two rows, empty if one has no number."""
    ours, theirs = stop.cell.median, base.cell.median if base else None
    return number(ours / theirs) if ours and theirs else ""


def table(stops: list[Stop], call: str) -> list[str]:
    """The rows of one call."""
    lines = [
        "| way | µs per call | to native | to the C tracer on one CPU |",
        "|---|---:|---:|---:|",
    ]
    for stop in (stop for stop in stops if stop.call == call):
        native = next(other for other in stops if other.title == "native" and other.call == call)
        shown = with_spread(stop.cell, MICROSECONDS) or f"failed ({stop.cell.failure})"
        ratios = f"{compared(stop, native)} | {compared(stop, tracer_of(stop, stops))}"
        lines.append(f"| {stop.title} | {shown} | {ratios} |")
    return lines


def section(stops: list[Stop]) -> list[str]:
    """The whole section of the page."""
    lines: list[str] = []
    for call, title in PARTS.items():
        lines += ["", title, "", *table(stops, call)]
    return lines
