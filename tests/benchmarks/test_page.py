"""The page's tables, from results that nobody has measured."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks import memory, micro, stops
from benchmarks.page import Found, Notes, grid
from benchmarks.places import Place
from benchmarks.results import Cell, Results
from benchmarks.running import Failed, reason_of
from benchmarks.stops import Stop
from benchmarks.ways import Way, all_ways, marked
from benchmarks.workloads import ALL, START, command_of

HERE = Place((), "/d", "/usr/bin/python3", "/usr/lib/python3")
NATIVE = Way("native", "native", "", HERE, (), "/d/base")
OURS = Way("notify-bind", "notify: bind", "", HERE, ("diorama", "run", "--"), "/d/view", "/d/usr")
ARCHIVE = dataclasses.replace(OURS, key="notify-archive", usr="", writable=False)


@pytest.fixture
def found() -> Found:
    results = Results()
    results.add("stat", "native", 1000)
    results.add("stat", "notify-bind", 4000)
    results.fail("open", "notify-bind", "status 1")
    rows = [row for row in micro.ROWS if row.key in ("stat", "open")]
    return Found(results, [NATIVE, OURS, ARCHIVE], ["notify"], rows, [], [], [], 1, 1, 1, 1)


def test_a_failure_is_a_cell_with_a_note(found: Found) -> None:
    notes = Notes()
    assert grid(found, found.micro, notes, ratios=True) == [
        "| way | stat | open, close |",
        "|---|---:|---:|",
        "| native | 1.00 | - |",
        "| notify: bind | 4.00 | failed [1] |",
    ]
    assert notes.lines() == ["1. `status 1`"]


def test_the_same_reason_has_one_note() -> None:
    notes = Notes()
    assert [notes.mark(reason) for reason in ("a", "b", "a")] == ["failed [1]", "failed [2]", "failed [1]"]


def test_a_way_that_was_not_measured_has_no_line(found: Found) -> None:
    assert not [line for line in grid(found, found.micro, Notes(), ratios=False) if "archive" in line]


def test_an_archive_gets_the_workloads_that_only_read() -> None:
    assert {each.key for each in ALL if each.fits(ARCHIVE)} == {
        "start",
        "find",
        "tar",
        "git_status",
        "git_log",
    }
    assert all(each.fits(OURS) for each in ALL)


def test_a_workload_is_timed_inside_and_the_start_outside() -> None:
    find = next(each for each in ALL if each.key == "find_usr")
    assert command_of(find, OURS)[:6] == ("diorama", "run", "--", "/d/program", "time", "1")
    assert command_of(find, OURS)[-4:] == ("/d/view", "/d/usr", "/d/usr/lib/python3", "/usr/bin/python3")
    assert command_of(START, OURS) == ("/d/program", "time", "5", "diorama", "run", "--", "true")


def test_in_the_peers_root_it_is_compared_with_native_runs_there() -> None:
    peer = marked(Way("umvu", "VUOS", "", HERE, ("umvu",), "/d/base"), "peers:")
    assert (peer.key, peer.native) == ("peers:umvu", "peers:native")


def test_what_is_installed_here_is_not_measured_again_in_the_peers_root(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.ways.engines", dict)
    monkeypatch.setattr(Place, "has", lambda place, tool: tool == "strace" or bool(place.wrapper))
    root = dataclasses.replace(HERE, wrapper=("inside",))
    keys = [way.key for way in all_ways(HERE, root)]
    assert [key for key in keys if "strace" in key] == ["strace", "strace-all"]
    assert "peers:umvu-bind" in keys
    assert "peers:native" in keys


@pytest.mark.parametrize(
    ("status", "errors", "reason"),
    [
        (1, "", "status 1"),
        (-9, "", "killed by SIGKILL"),
        (2, "a.c: fatal error: x.h\nmake: *** [all]\n", "status 2: a.c: fatal error: x.h"),
        (1, "first\nlast\n\n", "status 1: last"),
    ],
)
def test_a_reason_is_one_line_that_says_most(status: int, errors: str, reason: str) -> None:
    assert reason_of(status, errors) == reason


def test_sizes_are_read_from_status() -> None:
    assert memory.status_of("Name:\tx\nVmHWM:\t    12 kB\n", "VmHWM") == 12 * 1024
    with pytest.raises(Failed):
        memory.status_of("Name:\tx\n", "VmHWM")


def test_a_stop_is_compared_with_native_and_with_the_tracer_that_does_the_same() -> None:
    rows = [
        Stop("native", "native", "getppid", 1, cell=Cell([100.0])),
        Stop("C tracer, one CPU: answered", "skip", "getppid", 1, cell=Cell([2000.0])),
        Stop("diorama: answered", "skip", "getppid", 1, cell=Cell([5000.0])),
    ]
    assert stops.table(rows, "getppid")[-1] == "| diorama: answered | 5.00 | 50.0 | 2.50 |"
