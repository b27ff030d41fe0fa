"""Targets: what we want to reach, and whether a run has reached it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.results import MEGABYTES, Results, Row, number

NATIVE = "native"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on the ratio of `row` to native runs, or what `kind` says, in one of an engine's views.

    `beside` is the ratio to a path of the host in the same view.

    `view` is what follows the engine in the key of a way. `notify` is the bound of that engine where it
    differs; a bound of None is no target. Numbers are compared as the bounds are written, at one decimal.
    """

    title: str
    row: str
    view: str
    bound: float | None
    notify: float | None = None
    kind: str = "ratio"

    def bound_of(self, engine: str) -> float | None:
        """The bound for an engine."""
        return self.notify if engine == "notify" and self.notify is not None else self.bound

    @property
    def at_least(self) -> bool:
        """Tell whether more is better."""
        return self.kind == "throughput"


def both(title: str, row: str, bound: float) -> list[Target]:
    """The same bound whether the workload is in a mount or beside it."""
    return [
        Target(f"{title}, mounts unused", row, "unused", bound),
        Target(f"{title}, in a bind", row, "bind", bound),
    ]


TARGETS = (
    Target("getppid, mounts unused", "getppid", "unused", 1.0),
    Target("stat of a real path, mounts unused", "stat", "unused", 8.0),
    Target("stat in a bind", "stat", "bind", 10.0),
    *both("open and close", "open", 6.0),
    Target("stat in a bind, beside a real path in that view", "stat", "bind", 1.0, kind="beside"),
    Target("open in a bind, beside a real path in that view", "open", "bind", 1.0, kind="beside"),
    Target("pread in a file of an archive", "pread", "archive", 1.0),
    Target("pread in a file in memory", "pread", "memory", 1.0),
    Target("map a file of an archive", "map", "archive", 1.0),
    Target("map a file in memory", "map", "memory", 1.0),
    Target("posix_spawn, mounts unused", "posix_spawn", "unused", None, 1.2),
    Target("fork and exec, mounts unused", "fork_exec", "unused", None, 1.2),
    Target("thread, mounts unused", "thread", "unused", None, 1.2),
    *both("find /usr", "find_usr", 3.0),
    *both("tar", "tar", 3.0),
    *both("make", "make", 1.5),
    *both("git status", "git_status", 1.8),
    *both("git log", "git_log", 1.8),
    *both("git checkout", "git_checkout", 1.8),
    *both("git add, commit", "git_commit", 1.8),
    *both("Python imports", "imports", 1.2),
    Target("throughput of 2 stat processes against 1", "stat_2", "unused", 1.7, 1.4, "throughput"),
    Target("peak of the supervisor, MB", "peak", "unused", 60.0, None, "size"),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, and whether it is within the bound; None where nothing was found, or there is no bound.

    A way that failed has missed its bound.
    """

    value: float | None
    met: bool | None

    def __str__(self) -> str:
        if self.value is None:
            return "not measured" if self.met is None else "**failed**"
        shown = number(self.value)
        return {True: f"{shown} met", False: f"**{shown} missed**", None: shown}[self.met]


def value_of(target: Target, way: str, results: Results, rows: dict[str, Row]) -> float | None:
    """The number that the bound is about."""
    if target.kind == "size":
        size = results.median(target.row, way)
        return size / MEGABYTES.divisor if size is not None else None
    if target.kind == "throughput":
        two, one = results.median(target.row, way), results.median("stat_1", way)
        return two / one if two and one else None
    base = f"{way.rpartition('-')[0]}-beside" if target.kind == "beside" else NATIVE
    return results.ratio(rows[target.row], way, base)


def judge(target: Target, engine: str, results: Results, rows: dict[str, Row]) -> Verdict:
    """Compare what was measured with the bound of this engine."""
    way, bound = f"{engine}-{target.view}", target.bound_of(engine)
    if bound is not None and results.cell(target.row, way).failure:
        return Verdict(value=None, met=False)
    value = value_of(target, way, results, rows)
    if value is None or bound is None:
        return Verdict(value, None)
    rounded = round(value, 1)
    return Verdict(value, rounded >= bound if target.at_least else rounded <= bound)


def bounds(target: Target, engines: Iterable[str]) -> str:
    """The bound as a table shows it; both if the engines differ."""
    sign = "≥" if target.at_least else "≤"
    each = {engine: target.bound_of(engine) for engine in engines}
    if len(set(each.values())) == 1:
        bound = next(iter(each.values()))
        return "" if bound is None else f"{sign} {bound:g}"
    return ", ".join(f"{engine} {sign} {bound:g}" for engine, bound in each.items() if bound is not None)


def table(engines: list[str], results: Results, rows: dict[str, Row]) -> list[str]:
    """All targets, a column for each engine."""
    lines = [f"| target | bound | {' | '.join(engines)} |", "|---|---|" + "---:|" * len(engines)]
    for target in (target for target in TARGETS if target.row in rows):
        verdicts = [str(judge(target, engine, results, rows)) for engine in engines]
        lines.append(f"| {target.title} | {bounds(target, engines)} | {' | '.join(verdicts)} |")
    return lines


def summary(engines: list[str], results: Results, rows: dict[str, Row]) -> str:
    """How many bounds each engine meets."""
    parts = []
    for engine in engines:
        verdicts = [judge(target, engine, results, rows).met for target in TARGETS if target.row in rows]
        judged = [met for met in verdicts if met is not None]
        parts.append(f"{engine} meets {sum(judged)} of {len(judged)}")
    return "; ".join(parts) + "."
