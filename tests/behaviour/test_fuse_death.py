"""FUSE servers that are killed: nobody waits for ever, and nothing that was synced is lost."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from behaviour.harness import Bench, Way
from behaviour.test_fuse import START, each_engine, lay, needs, serve

DYING = Path(__file__).with_name("dying.py")
ROUNDS = 4
"""The program takes more, for who has the time."""


@each_engine
def test_a_server_that_is_killed_in_the_middle_of_everything(bench: Bench, way: Way) -> None:
    needs("bindfs", "fusermount3")
    bench.prepare = lay
    out = bench.inside(way, [sys.executable, DYING, str(ROUNDS), "1"], limit=55)
    assert out.stdout == f"{ROUNDS} rounds\n"
    for line in out.stderr.splitlines():
        assert "could not be saved: transport endpoint is not connected; its content is in" in line
    for kept in bench.temporary.glob("diorama-unsaved-*"):
        shutil.rmtree(kept)


@each_engine
def test_who_waits_for_a_server_that_is_killed_is_told_so(bench: Bench, way: Way) -> None:
    """Or asks just then."""
    script = """
        kill -STOP $server
        stat mnt/one 2>one & first=$!
        ls mnt/sub 2>two & second=$!
        sleep 0.2; kill -9 $server
        wait $first $second; cat one two; wait $server 2>/dev/null
        stat mnt/one 2>&1; fusermount3 -u -z mnt; ls -d mnt
        """
    out = serve(bench, way, "bindfs -f source mnt", script, stop=False)
    lines = out.stdout.splitlines()
    gone = "Transport endpoint is not connected"
    assert all(line.endswith(("Software caused connection abort", gone)) for line in lines[:2])
    assert lines[2].endswith(gone)
    assert lines[3:] == ["mnt"]


@each_engine
def test_a_program_that_waits_for_a_slow_server_is_interrupted(bench: Bench, way: Way) -> None:
    """By SIGINT, from outside of its call."""
    needs("bindfs", "fusermount3")
    bench.prepare = lay
    script = f"""{START}
        serve bindfs -f source mnt 2>/dev/null
        kill -STOP $server
        env --default-signal=INT stat mnt/one & waits=$!
        sleep 0.2; kill -INT $waits; wait $waits; echo $?
        kill -CONT $server; stop; ls mnt
        """
    out = bench.inside(way, ["bash", "-c", script])
    assert (out.stdout, out.status) == ("130\n", 0)
