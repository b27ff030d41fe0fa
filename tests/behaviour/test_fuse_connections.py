"""Connections of FUSE servers, in /sys/fs/fuse/connections: who does not answer is given up."""

from __future__ import annotations

import os

import pytest

from behaviour.harness import Bench, Way, run_with
from behaviour.test_fuse import each_engine, lay, needs, serve
from diorama.modules.filesystems.fuse.connections import PLACE

pytestmark = pytest.mark.skipif(not os.path.isdir(PLACE), reason="the host has no fusectl")

FIND = f"""
one={PLACE}/$(python3 -c 'import os; d = os.stat("mnt").st_dev; print(os.major(d) << 20 | os.minor(d))')
"""


@each_engine
def test_a_server_that_does_not_answer_is_given_up(bench: Bench, way: Way) -> None:
    """Who waits for it is told so, and it finds its device gone; then it is as one that has died."""
    script = f"""{FIND}
        cat mnt/file $one/waiting; kill -STOP $server
        stat mnt/none 2>told & waits=$!
        until [ "$(cat $one/waiting)" -gt 0 ]; do sleep 0.01; done
        echo 1 > $one/abort; wait $waits; grep -o 'Software.*' told
        cat $one/waiting; stat mnt 2>&1 | grep -o 'Transport.*'
        kill -CONT $server; wait $server; echo it ended
        ls {PLACE} | wc -l; umount mnt; ls {PLACE} | wc -l; ls $one 2>&1 | grep -o 'No such.*'
        """
    out = serve(bench, way, "bindfs -f source mnt", script, stop=False)
    assert out.lines == [
        "content", "0", "Software caused connection abort", "0", "Transport endpoint is not connected",
        "it ended", "1", "0", "No such file or directory",
    ]  # fmt: skip


@each_engine
def test_its_files_are_the_mounters(bench: Bench, way: Way) -> None:
    script = f"""{FIND}
        ls {PLACE} | wc -l; ls $one; stat -c '%A %u' $one $one/* | sort; stat -f -c %T {PLACE}
        cd $one; echo 1 > waiting || cat abort || mkdir more || rm abort || chmod 777 abort || touch more
        cd - >/dev/null; grep -c " {PLACE} fusectl" /proc/self/mounts
        """
    out = serve(bench, way, "bindfs -f source mnt", script)
    uid = os.getuid()
    listed = [f"--w------- {uid}", f"-r-------- {uid}", f"dr-x------ {uid}"]
    assert out.lines == ["1", "abort", "waiting", *listed, "fusectl", "1"]


def test_what_the_view_has_started_is_among_them(bench: Bench, engine: str) -> None:
    """A server outside of the view, whose connection that of the view is."""
    script = f"{FIND}\nls {PLACE} | wc -l; echo 1 > $one/abort; stat mnt 2>&1 | grep -o 'Transport.*'"
    needs("bindfs")
    bench.prepare = lay
    way = run_with("--grow", "--mount", f"fuse:bindfs -f source={bench.work / 'mnt'}").on(engine)
    out = bench.inside(way, ["bash", "-c", script])
    assert out.lines == ["1", "Transport endpoint is not connected"]
