"""What pjdfstest said is read, and what differs from native runs is told."""

from __future__ import annotations

import pytest

from tools.conformance.pjdfstest import Result, compare, parse

SAID = """== /suite/tests/chmod/00.t
1..4
ok 1
not ok 2 - tried 'chmod a 0111', expected 0, got ENOENT
ok 3
not ok 4 # TODO elsewhere
== status 0
== /suite/tests/open/03.t
1..2
not ok 1 - tried 'open {name}', expected 0, got ENAMETOOLONG
== status 1
"""


def test_assertions_are_told_by_file() -> None:
    found = parse(SAID.format(name="n" * 4095))
    assert list(found) == ["chmod/00.t", "open/03.t"]
    assert found["chmod/00.t"] == Result(
        4, 0, {1: "", 2: "tried 'chmod a 0111', expected 0, got ENOENT", 3: "", 4: ""}
    )
    assert "...(4095)" in found["open/03.t"].said[1]
    assert len(found["open/03.t"].said[1]) < 100


def test_only_what_holds_natively_can_differ(capsys: pytest.CaptureFixture[str]) -> None:
    native = {"a/00.t": Result(4, 0, {1: "", 2: "wrong", 3: "", 4: ""})}
    same = {"a/00.t": Result(4, 0, {1: "", 2: "", 3: "", 4: ""})}
    assert compare(native, same, "bind") == 0
    worse = {"a/00.t": Result(4, 124, {1: "", 2: "wrong", 3: "EIO"})}
    assert compare(native, worse, "bind") == 2
    assert compare(native, {}, "bind") == 2
    said = capsys.readouterr().out.splitlines()
    assert "bind: a/00.t 3: EIO" in said
    assert "bind: a/00.t 1 not reached, from 4 on; status 124" in said
    assert "bind: a/00.t plans 0 assertions, natively 4" in said
