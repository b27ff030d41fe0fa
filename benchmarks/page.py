"""Page: docs/explanation/benchmarks.md, from the results."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from benchmarks import stops, targets
from benchmarks.places import Place
from benchmarks.results import Results, Row, number, with_spread
from benchmarks.ways import Way

TOOLS = {  # name: command, and the option that makes it tell its version
    "gcc": ("gcc", "--version"),
    "git": ("git", "--version"),
    "strace": ("strace", "--version"),
    "PRoot": ("proot", "--version"),
    "bwrap": ("bwrap", "--version"),
    "fakeroot": ("fakeroot", "--version"),
    "VUOS": ("umvu", "--help"),
}

HEAD = """\
# Benchmarks

Written by `make bench`; do not edit. All ways were measured in one run, in turns, {rounds} times. A
number is the median; those in brackets are the smallest and the largest. A ratio is that of two medians,
to native runs in the same place: 2.0 is twice the time, or half of the calls per second.

{machine}

![Ratios to native runs](benchmarks.svg)
"""

MICRO = """\
One program makes each operation for {milliseconds} ms, on a file that the view's mounts cover or not, as
the way says. `stat, N processes` is what N processes do together. `pread` in an archive is a read in a
virtual file."""

WORKLOADS = """\
Real programs, timed from inside of the view or tool: `start-up` is what it takes to run `true`, and the
other columns are without it. What takes long has been run fewer times. `find /usr` sees as many files as
the place has."""

MEMORY = """\
Of the supervisor, from `/proc`: the largest resident size in a view with a program that makes some
processes; by how much the resident size grows with each of {threads} further threads that stay; and over
{processes} processes, one after the other, of which the first thousand do not count."""

STOPS = """\
The time that one call takes in a program that makes it in a loop. A C tracer written for the purpose
(`benchmarks/baseline.c`) does the least that each action needs: no strings read, no second thread, no
signals, no restarts. It is measured together with the program on one CPU, the best case, and where the
scheduler puts the two. Diorama puts a program that stops often beside its guardian by itself."""


@dataclass(frozen=True, slots=True)
class Found:
    """All that the page is made of."""

    results: Results
    ways: list[Way]
    engines: list[str]
    micro: list[Row]
    workloads: list[Row]
    memory: list[Row]
    stops: list[stops.Stop]
    rounds: int
    milliseconds: int
    threads: int
    processes: int

    @property
    def rows(self) -> dict[str, Row]:
        """All rows by key."""
        return {row.key: row for row in (*self.micro, *self.workloads, *self.memory)}


def processor() -> str:
    """The model of the CPUs."""
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    return next(
        (value.strip() for name, _, value in lines if name.startswith("model name")), platform.machine()
    )


def machine(ways: list[Way]) -> str:
    """The machine and the versions of what was run in each place."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{os.cpu_count()} CPUs ({processor()}), {memory:.1f} GB, Linux {platform.release()}"
    lines = [f"Machine: {system}; diorama runs on Python {platform.python_version()}."]
    places = {way.native: way.place for way in ways}
    for key, place in places.items():
        where = "Installed" if key == "native" else "In the peers' root, as an ordinary user of it"
        lines += ["", f"{where}: {'; '.join(versions(place))}."]
    return "\n".join(lines)


def versions(place: Place) -> list[str]:
    """What is installed in a place, with its version where it tells one."""
    found = [f"Python {place.version(place.python, '--version')}"] if place.python else []
    installed = {name: words for name, words in TOOLS.items() if place.has(words[0])}
    return found + [f"{name} {place.version(*words)}".strip() for name, words in installed.items()]


class Notes:
    """Reasons of failures, numbered as they come; the same reason has one number."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def mark(self, reason: str) -> str:
        """The reference to a note."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f"failed [{self.reasons.index(reason) + 1}]"

    def lines(self) -> list[str]:
        """The notes as a list."""
        return [f"{index}. `{reason.replace('`', chr(39))}`" for index, reason in enumerate(self.reasons, 1)]


def grid(found: Found, rows: list[Row], notes: Notes, *, ratios: bool) -> list[str]:
    """A table with a line for each way and a column for each row."""
    headings = [row.title if ratios else f"{row.title}, {row.unit.name}" for row in rows]
    lines = [f"| way | {' | '.join(headings)} |", "|---|" + "---:|" * len(rows)]
    for way in found.ways:
        cells = [cell_text(found, row, way, notes, ratios=ratios) for row in rows]
        if any(cells):
            lines.append(f"| {way.title} | {' | '.join(text or '-' for text in cells)} |")
    return lines


def cell_text(found: Found, row: Row, way: Way, notes: Notes, *, ratios: bool) -> str:
    """One cell; empty if the way was not measured there."""
    cell = found.results.cell(row.key, way.key)
    if cell.failure:
        return notes.mark(cell.failure)
    if not ratios:
        return with_spread(cell, row.unit)
    ratio = found.results.ratio(row, way.key, way.native)
    return "" if ratio is None else number(ratio)


def meanings(ways: list[Way]) -> list[str]:
    """What each way is."""
    return ["| way | what it is |", "|---|---|", *(f"| {way.title} | {way.meaning} |" for way in ways)]


def section(title: str, text: str, found: Found, rows: list[Row], notes: Notes) -> list[str]:
    """Ratios, then times."""
    if not rows:
        return []
    return [
        *("", f"## {title}", "", text, "", "Ratios to native:", ""),
        *grid(found, rows, notes, ratios=True),
        *("", "Measured:", ""),
        *grid(found, rows, notes, ratios=False),
    ]


def memory_section(found: Found, notes: Notes) -> list[str]:
    """Sizes have no native counterpart."""
    if not found.memory:
        return []
    text = MEMORY.format(threads=f"{found.threads:,}", processes=f"{found.processes:,}")
    return ["", "## Memory", "", text, "", *grid(found, found.memory, notes, ratios=False)]


def page(found: Found) -> str:
    """The text of the page."""
    notes = Notes()
    lines = [HEAD.format(rounds=found.rounds, machine=machine(found.ways))]
    lines += ["## Ways", "", *meanings(found.ways)]
    if found.engines and found.rows:
        judged = targets.table(found.engines, found.results, found.rows)
        met = targets.summary(found.engines, found.results, found.rows)
        lines += [
            "",
            "## Targets",
            "",
            f"Compared at one decimal, as the bounds are written: {met}",
            "",
            *judged,
        ]
    micro = MICRO.format(milliseconds=found.milliseconds)
    lines += section("Single operations", micro, found, found.micro, notes)
    lines += section("Workloads", WORKLOADS, found, found.workloads, notes)
    lines += memory_section(found, notes)
    if found.stops:
        lines += ["", "## A stop", "", STOPS, *stops.section(found.stops)]
    if notes.reasons:
        lines += ["", "## Failures", "", *notes.lines()]
    return "\n".join(lines) + "\n"
