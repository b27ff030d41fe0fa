"""The page about FUSE, from results that nobody has measured, and the ways of a place."""

from __future__ import annotations

from benchmarks.fuse import OPERATIONS, Way, page, ways_of
from benchmarks.places import Place
from benchmarks.results import Results

HERE = Place((), "/d", "/usr/bin/python3", "/usr/lib/python3")


class Furnished(Place):
    """A place that has these programs."""

    programs: tuple[str, ...] = ()

    def has(self, tool: str) -> bool:
        return tool in self.programs


def furnished(*programs: str) -> Place:
    class Found(Furnished):
        pass

    Found.programs = programs
    return Found((), "/d", "", "")


def test_ratios_are_to_the_kernel_with_the_same_setting() -> None:
    results = Results()
    for key, value in (("kernel", 1000), ("notify", 4000), ("kernel uncached", 20000)):
        results.add("stat", key, value)
    results.add("stat", "notify uncached", 30000)
    results.fail("open", "notify", "status 1")
    ways = [
        Way("kernel", "kernel", HERE, (), "/d", "kernel"),
        Way("notify", "notify", HERE, (), "/d", "kernel"),
        Way("notify uncached", "notify, uncached", HERE, (), "/d", "kernel uncached"),
    ]
    rows = [row for row in OPERATIONS if row.key in ("stat", "open")]
    lines = page(ways, rows, results, rounds=1, megabytes=200).splitlines()
    assert "| way | stat, one file | open, close |" in lines
    assert "| kernel | 1.00 | - |" in lines
    assert "| notify | 4.00 | failed [1] |" in lines
    assert "| notify, uncached | 1.50 | - |" in lines
    assert "| notify | 4.00 | failed [1] |" in lines[lines.index("## Measured") :]
    assert lines[-1] == "1. `status 1`"


def test_a_place_has_the_ways_of_what_is_installed() -> None:
    assert [way.key for way in ways_of(furnished())] == ["native"]
    keys = [way.key for way in ways_of(furnished("bindfs"))]
    assert keys == [
        "native",
        *("kernel", "notify", "notify for", "guardians", "guardians for"),
        *("kernel uncached", "notify uncached", "notify for uncached"),
        *("guardians uncached", "guardians for uncached"),
    ]
    found = list(ways_of(furnished("bindfs", "umvu"), "peers:"))
    keys = [way.key.removeprefix("peers:") for way in found]
    assert keys == ["native", "kernel", "kernel uncached", "vuos"]
    assert found[-1].reference == "peers:kernel"
    assert found[1].command("true")[-4:] == ("", "/d/base", "/d/view", "true")
