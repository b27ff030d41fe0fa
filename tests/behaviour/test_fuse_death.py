"""FUSE servers that are killed: nobody waits for ever, and nothing that was synced is lost."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

from behaviour.harness import Bench, Way, finish, run_with
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
def test_a_server_that_is_killed_is_unmounted_if_it_wants_that(bench: Bench, way: Way) -> None:
    """By fusermount3, which waits for its end, and finds its mount by a mount on the root."""
    needs("squashfuse", "fusermount3", "mksquashfs")
    bench.prepare = lay
    script = f"""
        mksquashfs source image -quiet -no-progress >/dev/null
        {START}
        serve squashfuse -f -o auto_unmount image mnt
        cat mnt/file; kill -9 $server
        for i in $(seq 600); do
            grep -q " $PWD/mnt fuse" /proc/self/mounts || break
            sleep 0.05
        done
        ls mnt; grep -c " $PWD/mnt fuse" /proc/self/mounts
    """
    assert bench.inside(way, ["bash", "-c", script]).stdout == "content\n0\n"


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
def test_a_server_that_was_killed_is_unmounted_by_umount(bench: Bench, way: Way) -> None:
    script = """
        kill -9 $server; wait $server 2>/dev/null
        ls mnt 2>&1 | grep -o "Transport endpoint is not connected"
        umount mnt; echo $?; ls -d mnt
        """
    out = serve(bench, way, "bindfs -f source mnt", script, stop=False)
    assert (out.lines, out.stderr) == (["Transport endpoint is not connected", "0", "mnt"], "")


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


HANGING = """
import os, stat, sys, time

class Hanging:
    def __init__(self):
        self.content = {}

    def getattr(self, path, fh=None):
        kind = stat.S_IFDIR | 0o755 if path == "/" else stat.S_IFREG | 0o644
        if path != "/" and path not in self.content:
            raise OSError(2, "not there")
        return {"st_mode": kind, "st_size": len(self.content.get(path, b"")), "st_nlink": 1,
            "st_uid": os.getuid(), "st_gid": os.getgid()}

    def readdir(self, path, fh):
        return [".", "..", *(name[1:] for name in self.content)]

    def create(self, path, mode, fi=None):
        self.content[path] = b""
        return 0

    def open(self, path, flags):
        return 0

    def read(self, path, size, offset, fh):
        return self.content[path][offset : offset + size]

    def write(self, path, data, offset, fh):
        time.sleep(1000)

    def truncate(self, path, length, fh=None):
        pass
"""


@each_engine
def test_a_file_system_that_hangs_at_the_end_is_given_up_by_who_has_enough(bench: Bench, way: Way) -> None:
    """What was written is put aside."""
    bench.fresh()
    (bench.work / "hanging.py").write_text(HANGING)
    source = f"py:{bench.work}/hanging.py:Hanging()={bench.work}/hung"
    engine = "guardians" if "guardians" in way.words else "notify"
    words = run_with("--mount", source).on(engine)
    script = "exec 5>hung/file; echo content >&5; kill -9 $$"
    process = bench.start(words(["bash", "-c", script]), bufsize=0)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert b"does not answer" in line
    process.send_signal(signal.SIGINT)
    out = finish(process)
    told, _, copy = out.stderr.strip().partition("; its content is in ")
    assert told == f"diorama: {bench.work}/hung/file could not be saved: connection timed out"
    assert Path(copy).read_text() == "content\n"
    assert out.status == 137
    shutil.rmtree(Path(copy).parent)
