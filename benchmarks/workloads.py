"""Workloads: real programs, timed from inside; the start of the tool is a row of its own."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.results import MILLISECONDS, Results, Row, parse
from benchmarks.running import Failed, run
from benchmarks.ways import Way

SLOW = 20.0  # seconds of measuring after which a way is not run again in the same row
IMPORTS = "import json, asyncio, http.server, email, xml.dom.minidom, unittest"
GIT = 'git() { command git -c safe.directory=\'*\' "$@"; }; cd "$1/repository"; '


@dataclass(frozen=True, slots=True)
class Workload:
    """A script for sh; `$1` is base/, `$2` /usr, `$3` where Python's modules are (or empty), `$4` python3.

    It is run `times` times in one measurement, of which the median counts.
    """

    key: str
    title: str
    script: str
    times: int = 1
    needs_usr: bool = False
    writes: bool = False

    @property
    def row(self) -> Row:
        """Its row."""
        return Row(self.key, self.title, MILLISECONDS)

    def fits(self, way: Way) -> bool:
        """Tell whether it can be run in this way at all."""
        if way.operations_only:
            return False
        return (way.writable or not self.writes) and bool(way.usr or not self.needs_usr)


START = Workload("start", "start-up", "", times=5)
ALL = (
    START,
    # Some of it may be closed to an ordinary user, natively too.
    Workload("find_usr", "find /usr", 'find "$2" >/dev/null 2>&1 || :', needs_usr=True),
    Workload("find", "find, made tree", 'find "$1/tree" >/dev/null', times=3),
    Workload("tar", "tar", 'tar -C "$1" -cf - tree | cat >/dev/null', times=3),
    Workload(
        "make",
        "make -j2",
        'cd "$1/project" && rm -f *.o all && make -s -j2 all',
        writes=True,
    ),
    Workload("git_status", "git status", GIT + "git status --short >/dev/null", times=5),
    Workload("git_log", "git log", GIT + "git log --stat >/dev/null", times=3),
    Workload(
        "git_checkout",
        "git checkout",
        GIT + "git checkout -q other && git checkout -q main",
        writes=True,
        times=3,
    ),
    Workload(
        "git_commit",
        "git add, commit",
        GIT + 'echo "$$" >>changes && git add changes && git commit -qm "Another change"',
        writes=True,
        times=3,
    ),
    Workload(
        "imports",
        "Python imports",
        f'[ -z "$3" ] || export PYTHONPATH="$3"; exec "$4" -c "{IMPORTS}"',
        times=3,
        needs_usr=True,
    ),
)


def command_of(workload: Workload, way: Way) -> tuple[str, ...]:
    """The command, with the program that takes the time of the script or, for the start, of the tool."""
    timer = (way.program("program"), "time", str(workload.times))
    if workload is START:
        return (*way.place.wrapper, *timer, *way.prefix, "true")
    seen = (way.base, way.usr, way.modules, way.place.python)
    return way.command(*timer, "sh", "-c", workload.script, "sh", *seen)


def measure(workload: Workload, way: Way, results: Results, limit: float) -> None:
    """One run, unless it has failed before or takes too long to be repeated."""
    cell = results.cell(workload.key, way.key)
    if cell.failure or sum(cell.values) * workload.times > SLOW * 1e9:
        return
    try:
        found = parse(run(command_of(workload, way), limit))
    except Failed as failed:
        results.fail(workload.key, way.key, str(failed))
        return
    if "time" in found:
        results.add(workload.key, way.key, found["time"])
    else:
        results.fail(workload.key, way.key, "printed no time")
