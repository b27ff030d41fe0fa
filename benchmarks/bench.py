"""Bench: the benchmark that decides. Run it by `make bench`, or `python -m benchmarks.bench` in the clone.

All ways are measured in one run, in turns, several rounds; what a tool cannot do is a note on the page, not
the end of the run. Without --write the page is only printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks import fixtures, memory, micro, places, stops, ways, workloads
from benchmarks.page import Found, page
from benchmarks.results import Results
from benchmarks.running import Failed, adopt_orphans

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanation" / "benchmarks.md"


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="5, or 2 with --quick")
    parser.add_argument("--minutes", type=float, default=15, help="begin no round that would end later (15)")
    parser.add_argument("--only", default="", metavar="REGEX", help="only rows whose key matches")
    parser.add_argument("--ways", default="", metavar="REGEX", help="only ways whose key matches, and native")
    parser.add_argument("--peers", default="", metavar="COMMAND", help="runs a command in the peers' root")
    parser.add_argument("--limit", type=float, default=60, metavar="SECONDS", help="for each command (60)")
    parser.add_argument("--quick", action="store_true", help="less of everything: to try, not to decide")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} and its plot")
    parser.add_argument("--list", action="store_true", help="print the keys of rows and ways, and end")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    if options.write and (options.only or options.ways):
        parser.error("--write would write a page of which parts are missing: not with --only or --ways")
    if options.write and not importlib.util.find_spec("matplotlib"):
        parser.error("--write needs matplotlib: pip install '.[bench]'")
    return options


class Bench:
    """What is to be measured, and what has been."""

    def __init__(self, options: argparse.Namespace, found_ways: list[ways.Way], host: places.Place) -> None:
        self.options = options
        self.ways = found_ways
        keys = [way.key.partition("-")[0] for way in found_ways]
        self.engines = [engine for engine in ways.engines() if engine in keys]
        self.milliseconds = 40 if options.quick else 150
        self.counts = memory.QUICK if options.quick else memory.Counts()
        self.micro = [row for row in micro.ROWS if self.wanted(row.key)]
        self.workloads = [each for each in workloads.ALL if self.wanted(each.key)]
        self.memory = [row for row in memory.ROWS if self.wanted(row.key)]
        times = 1000 if options.quick else 8000
        self.stops = stops.all_stops(host.directory, times) if self.wanted("stops") else []
        self.program = f"{host.directory}/program"
        self.results = Results()

    def wanted(self, key: str) -> bool:
        """Tell whether a row is among those asked for."""
        return bool(re.search(self.options.only, key))

    def round(self, number: int) -> None:
        """Every row, in every way; each round begins with another way."""
        limit, start = self.options.limit, number % len(self.ways)
        turn = self.ways[start:] + self.ways[:start]
        for way in turn:
            micro.measure(self.micro, way, self.results, self.milliseconds, limit)
        for workload in self.workloads:
            for way in (way for way in turn if workload.fits(way)):
                workloads.measure(workload, way, self.results, limit)
        for stop in self.stops:
            stop.measure(self.program, limit)

    def look_at_memory(self) -> None:
        """The supervisors of the views with mounts."""
        keys = [f"{engine}-unused" for engine in self.engines]
        for way in (way for way in self.ways if way.key in keys):
            memory.measure(self.memory, way, self.results, self.counts, self.options.limit * 5)

    def run(self) -> Found:
        """The memory, then as many rounds as were asked for and fit into the time."""
        begun, rounds = time.monotonic(), 0
        if self.memory:
            self.look_at_memory()
        while rounds < self.options.rounds:
            start = time.monotonic()
            self.round(rounds)
            rounds += 1
            now = time.monotonic()
            print(f"round {rounds}: {now - start:.0f} s", file=sys.stderr)
            if now - begun + (now - start) > self.options.minutes * 60:
                break
        return Found(
            self.results,
            self.ways,
            self.engines,
            self.micro,
            [each.row for each in self.workloads],
            self.memory,
            self.stops,
            rounds,
            self.milliseconds,
            self.counts.threads,
            self.counts.processes,
        )


def choose(options: argparse.Namespace, host: places.Place, root: places.Place | None) -> list[ways.Way]:
    """The ways that were asked for, and native ones."""
    found = ways.all_ways(host, root)
    return [way for way in found if way.key == way.native or re.search(options.ways, way.key)]


def enter_peers(options: argparse.Namespace, stack: ExitStack, host: places.Place) -> places.Place | None:
    """The peers' root, if there is one that works."""
    if not options.peers:
        return None
    try:
        return stack.enter_context(places.peers(tuple(shlex.split(options.peers)), host))
    except Failed as failed:
        print(f"no peers' root: {options.peers}: {failed}", file=sys.stderr)
        return None


def main() -> None:
    """Measure, and print or write the page."""
    options = parse_options()
    adopt_orphans()
    with ExitStack() as stack:
        host = stack.enter_context(places.host(fixtures.QUICK if options.quick else fixtures.Size()))
        root = enter_peers(options, stack, host)
        bench = Bench(options, choose(options, host, root), host)
        if options.list:
            rows = [*bench.micro, *(each.row for each in bench.workloads), *bench.memory]
            print("rows:", *(row.key for row in rows), "stops")
            print("ways:", *(way.key for way in bench.ways))
            return
        found = bench.run()
        text = page(found)
    if not options.write:
        print(text)
        return
    from benchmarks.plot import plot

    PAGE.write_text(text)
    plot(found, PAGE.with_suffix(".svg"))


if __name__ == "__main__":
    main()
