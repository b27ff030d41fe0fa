"""Fuse: what files of a FUSE server cost in a view, by the kernel's FUSE and by VUOS's virtual /dev/fuse.

    python -m benchmarks.fuse [--rounds N] [--only REGEX] [--ways REGEX] [--peers COMMAND] [--write]

As root, since the kernel's FUSE is measured. The server is bindfs, in two settings: as it is, where in older
versions names and attributes hold for a second, and told that they hold for no time, as newer ones (1.18) say
by themselves. In a view it is started by its programs, or for the view (`--mount fuse:bindfs`). All ways are
measured in turns, several rounds; each run has a server of its own, started before and ended after what is
measured. Without --write the page is only printed.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import fixtures, places
from benchmarks.page import processor
from benchmarks.results import MICROSECONDS, MILLISECONDS, Results, Row, number, parse, with_spread
from benchmarks.running import Failed, adopt_orphans, run
from benchmarks.ways import DIORAMA

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanation" / "benchmarks-fuse.md"
LIMIT = 40.0
UNCACHED = "-o attr_timeout=0 -o entry_timeout=0 -o negative_timeout=0"
SERVE = """\
bindfs $1 "$2" "$3" || exit
for i in $(seq 600); do grep -q "$3 fuse" /proc/self/mounts && break; sleep 0.05; done
mounted=$3; shift 3
"$@"; status=$?
fusermount3 -u "$mounted" || umount "$mounted"
exit $status
"""
# VUOS does not wait for the mount, and hangs when it is used before.
VUOS = """\
vu_insmod fuse && bindfs $1 "$2" "$3" && shift 3 && sleep 1 && "$@"
"""

OPERATIONS = (
    Row("stat", "stat, one file", MICROSECONDS),
    Row("stat_many", "stat, 1,000 files", MICROSECONDS),
    Row("open", "open, close", MICROSECONDS),
    Row("open_many", "open, close, 1,000 files", MICROSECONDS),
    Row("open_many_first", "open, close, the first time", MICROSECONDS),
    Row("pread", "pread 4 KiB", MICROSECONDS),
    Row("write", "write", MILLISECONDS),
    Row("write_sync", "write, fsync", MILLISECONDS),
)
SCRIPTS = {
    "find_first": 'find "$1/tree" >/dev/null',
    "find": 'find "$1/tree" >/dev/null; find "$1/tree" >/dev/null; find "$1/tree" >/dev/null',
    "find_status": 'find "$1/tree" -size +100k',
    "make": 'cd "$1/project" && rm -f *.o all && make -s -j2 all',
}
WORKLOADS = (
    Row("find_first", "find", MILLISECONDS),
    Row("find", "find, three times", MILLISECONDS),
    Row("find_status", "find -size", MILLISECONDS),
    Row("make", "make -j2", MILLISECONDS),
)


@dataclass(frozen=True, slots=True)
class Way:
    """Where files are: what stands before a command, where it works, what that is compared with.

    `only`: the rows that are measured, if not all: the others would take minutes.
    """

    key: str
    title: str
    place: places.Place
    prefix: tuple[str, ...]
    base: str
    reference: str
    only: tuple[str, ...] = ()

    def command(self, *words: str) -> tuple[str, ...]:
        """The whole command."""
        return (*self.place.wrapper, *self.prefix, *words)


def ways_of(place: places.Place, mark: str = "") -> Iterator[Way]:
    """Natively, and with each setting of the server by each kind of FUSE that there is in a place."""
    here = place.directory
    base, view = f"{here}/base", f"{here}/view"
    where = ", peers' root" if mark else ""
    yield Way(f"{mark}native", f"native{where}", place, (), base, f"{mark}native")
    if not place.has("bindfs"):
        return
    for setting, options in (("", ""), (" uncached", UNCACHED)):
        served = ("sh", "-c", SERVE, "sh", options, base, view)
        kernel = f"{mark}kernel{setting}"
        yield Way(kernel, f"kernel{where}{setting and ','}{setting}", place, served, view, kernel)
        for engine in () if mark else ("notify", "guardians"):
            words = (*DIORAMA, "--grow", "--engine", engine, "--", *served)
            title = f"{engine}{setting and ','}{setting}"
            yield Way(f"{engine}{setting}", title, place, words, view, kernel)
            mount = f"fuse:bindfs -f {options} {base}={view}"
            words = (*DIORAMA, "--engine", engine, "--mount", mount, "--")
            yield Way(f"{engine} for{setting}", f"{title}, started for it", place, words, view, kernel)
    if place.has("umvu"):
        words = ("umvu", "sh", "-c", VUOS, "sh", "", base, view)
        keys = ("stat", "open", "pread")
        yield Way(f"{mark}vuos", f"VUOS{where}", place, words, view, f"{mark}kernel", keys)


def measure(way: Way, rows: list[Row], results: Results, milliseconds: int, megabytes: int) -> None:
    """One run of everything that has not failed yet."""
    left = [row for row in rows if not results.cell(row.key, way.key).failure]
    left = [row for row in left if not way.only or row.key in way.only]
    operations = [row.key for row in left if row.key not in SCRIPTS]
    program = f"{way.place.directory}/fuse"
    commands = {key: (program, str(milliseconds), way.base, str(megabytes), key) for key in operations}
    timer = (f"{way.place.directory}/program", "time", "1", "sh", "-c")
    commands |= {
        row.key: (*timer, SCRIPTS[row.key], "sh", way.base) for row in left if row.key in SCRIPTS
    }
    for key, command in commands.items():
        try:
            found = parse(run(way.command(*command), LIMIT))
        except Failed as failed:
            # VUOS does not end as long as the server runs, nor when it is unmounted: what was printed counts.
            found = parse(failed.printed)
            if key not in found:
                results.fail(key, way.key, str(failed))
                continue
        value = found.get(key, found.get("time"))
        if value is None:
            results.fail(key, way.key, "printed no number")
        else:
            results.add(key, way.key, value)


HEAD = """\
# Benchmarks of FUSE

Written by `python -m benchmarks.fuse --write`; do not edit. bindfs serves the files; natively they are where
it has them. All ways were measured in turns, {rounds} times. A number is the median, those in brackets are
the smallest and the largest. Ratios are those of medians to the kernel's FUSE with the same setting of the
server: 2.0 is twice the time. *Uncached*: names and attributes hold for no time, as newer bindfs (that in the
peers' root) say by themselves, so the server is asked each time. *Started for it*: by `--mount fuse:bindfs`,
so that it is outside of the view; else it is a program of the view. `write` is of {megabytes} MB.

{machine}
"""


def page(ways: list[Way], rows: list[Row], results: Results, rounds: int, megabytes: int) -> str:
    """The text of the page."""
    lines = [HEAD.format(rounds=rounds, megabytes=megabytes, machine=machine(ways))]
    reasons: list[str] = []
    for title, ratios in (("Ratios to the kernel's FUSE", True), ("Measured", False)):
        titles = [row.title if ratios else f"{row.title}, {row.unit.name}" for row in rows]
        lines += [f"## {title}", "", f"| way | {' | '.join(titles)} |"]
        lines += ["|---|" + "---:|" * len(rows)]
        for way in ways:
            cells = [text(row, way, results, reasons, ratios=ratios) for row in rows]
            lines.append(f"| {way.title} | {' | '.join(cells)} |")
        lines.append("")
    lines += [f"{index}. `{reason.replace('`', chr(39))}`" for index, reason in enumerate(reasons, 1)]
    return "\n".join(lines).rstrip() + "\n"


def machine(ways: list[Way]) -> str:
    """The machine, and the versions of the server."""
    places_of = {way.place.wrapper: way.place for way in ways}
    versions = [f"bindfs {place.version('bindfs', '--version')}" for place in places_of.values()]
    system = f"{os.cpu_count()} CPUs ({processor()}), Linux {platform.release()}"
    load = " {:.1f} {:.1f} {:.1f}".format(*os.getloadavg())
    joined = "; in the peers' root ".join(versions)
    return f"Machine: {system}; load at the end{load}; {joined}."


def text(row: Row, way: Way, results: Results, reasons: list[str], *, ratios: bool) -> str:
    """One cell."""
    cell = results.cell(row.key, way.key)
    if cell.failure:
        if cell.failure not in reasons:
            reasons.append(cell.failure)
        return f"failed [{reasons.index(cell.failure) + 1}]"
    if not ratios:
        return with_spread(cell, row.unit) or "-"
    ratio = results.ratio(row, way.key, way.reference)
    return "-" if ratio is None else number(ratio)


@contextmanager
def prepared(options: argparse.Namespace) -> Iterator[list[Way]]:
    """The places, with what is measured in them."""
    with ExitStack() as stack:
        size = fixtures.QUICK if options.quick else fixtures.Size(files=4000)
        host = stack.enter_context(places.host(size))
        directory = Path(host.directory)
        (directory / "base/many").mkdir()
        for index in range(1000):
            (directory / f"base/many/file{index}").write_text(f"{index}\n")
        source = Path(__file__).with_name("fuse.c")
        output = ["-o", str(directory / "fuse"), str(source)]
        subprocess.run(["gcc", *places.FLAGS, "-static", *output], check=True)
        found = list(ways_of(host))
        if options.peers:
            wrapper = tuple(shlex.split(options.peers))
            root = stack.enter_context(places.peers(wrapper, host, ("fuse",)))
            found += ways_of(root, "peers:")
        yield [way for way in found if re.search(options.ways, way.key)]


def main() -> None:
    """Measure, and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", metavar="REGEX", help="only rows whose key matches")
    parser.add_argument("--ways", default="", metavar="REGEX", help="only ways whose key matches")
    parser.add_argument("--peers", default="", metavar="COMMAND", help="runs a command as root in their root")
    parser.add_argument("--quick", action="store_true", help="less of everything: to try, not to decide")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    adopt_orphans()
    rows = [row for row in (*OPERATIONS, *WORKLOADS) if re.search(options.only, row.key)]
    milliseconds, megabytes = (60, 20) if options.quick else (200, 200)
    results = Results()
    with prepared(options) as ways:
        for turn in range(options.rounds):
            for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
                measure(way, rows, results, milliseconds, megabytes)
            print(f"round {turn + 1}", file=sys.stderr)
    made = page(ways, rows, results, options.rounds, megabytes)
    if options.write:
        PAGE.write_text(made)
    else:
        print(made)


if __name__ == "__main__":
    main()
