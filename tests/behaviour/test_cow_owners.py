"""Copy-on-write for programs that are root in their view: layers remember to whom they have given files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from behaviour.harness import DIORAMA, Bench, Outcome, Way, finish, run_with

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() == 0, reason="root gives files away itself"),
]

GIVING = """
echo text >made; chown 1:8 made; mkdir -p q; chown 33:33 q; chgrp 5 old; chown 7 old/file
install -o 5 -g 60 -m 4755 /bin/true tool; cp -a q copy; mv made other; ln other linked; ln -s other link
python3 -c "
import os
fd = os.open('other', os.O_RDONLY)
os.fchown(fd, 2, 3); print(os.fstat(fd).st_uid, os.stat('linked').st_gid); os.fchown(fd, 1, 8)"
chown -h 7 link || echo not a link
"""
LOOKING = "stat -c '%n %F %u:%g %a' other linked q copy old old/file tool"
SEEN = [
    "other regular file 1:8 644",
    "linked regular file 1:8 644",
    "q directory 33:33 755",
    "copy directory 33:33 755",
    "old directory 0:5 755",
    "old/file regular file 7:0 644",
    "tool regular file 5:60 4755",
]
AS_ANOTHER = """
exec setpriv --reuid 1 --regid 1 --clear-groups sh -c '
touch q/x 2>/dev/null || echo no name; echo more >>other; echo less >>old/file || echo not mine
chown 0 other 2>/dev/null || echo not given; chmod 600 other; echo "$(stat -c "%u %a" other)"' 2>/dev/null
"""


class Layered:
    """Changes of a directory, and what programs see there."""

    def __init__(self, bench: Bench, engine: str, place: Path) -> None:
        self.bench, self.engine = bench, engine
        self.lower, self.layer = place / "lower", place / "layer"
        (self.lower / "old").mkdir(parents=True)
        (self.lower / "old/file").write_text("old\n")

    @property
    def way(self) -> Way:
        """How programs are run with the layer."""
        mount = f"cow:{self.lower}={self.lower}:layer={self.layer}"
        return run_with("--engine", self.engine, "--user", "root", "--mount", mount)

    def run(self, script: str) -> Outcome:
        """A script of the shell, there."""
        return self.bench.inside(self.way, ["sh", "-ec", f"umask 022; cd {self.lower}; {script}"])

    def told(self, command: str) -> Outcome:
        """What a command says of the layer, from outside."""
        return finish(self.bench.start([*DIORAMA, command, str(self.layer)]))


@pytest.fixture
def layered(bench: Bench, engine: str, tmp_path: Path) -> Layered:
    return Layered(bench, engine, tmp_path)


def test_owners_are_remembered_in_the_layer(layered: Layered) -> None:
    given = layered.run(GIVING + LOOKING)
    assert given.lines == ["2 3", "not a link", *SEEN], given.stderr
    assert "layers remember only who owns files and directories" in given.stderr
    assert layered.run(LOOKING).lines == SEEN
    names = "tar -cf - other old tool | tar -tvf - --numeric-owner | awk '{print $2, $6}'"
    assert layered.run(names).lines == ["1/8 other", "0/5 old/", "7/0 old/file", "5/60 tool"]
    assert (layered.lower / "old/file").stat().st_uid == os.geteuid()


def test_they_count(layered: Layered) -> None:
    assert not layered.run(GIVING).status
    assert layered.run(AS_ANOTHER).lines == ["no name", "not mine", "not given", "1 600"]


def test_what_cannot_be_carried_over_is_told(layered: Layered) -> None:
    assert not layered.run(GIVING).status
    assert "A " in layered.told("diff").stdout
    done = layered.told("commit")
    assert done.status != 0
    for name, owner in (("q", "33:33"), ("tool", "5:60"), ("old/file", f"7:{os.getegid()}")):
        assert f"{name}: its owner would be {owner}" in done.stderr.replace(f"{layered.lower}/", "")
    assert (layered.lower / "old/file").read_text() == "old\n"


def test_a_set_user_id_bit_is_the_view_s_alone_and_is_lost_when_the_file_is_given(layered: Layered) -> None:
    script = "cp /bin/true tool; chown 5:60 tool; chmod 6755 tool; stat -c %a tool"
    assert layered.run(script).lines == ["6755"]
    assert not (layered.layer / "tree/tool").stat().st_mode & (stat.S_ISUID | stat.S_ISGID)
    directories = "mkdir d; chown 5:60 d; chmod 2775 d; mkdir d/e; chown 6 d; mkdir d/f; stat -c %a d d/e d/f"
    assert layered.run(directories).lines == ["2775", "2755", "2755"]
    assert layered.run("stat -c %a tool; chown 5:60 tool; stat -c %a tool").lines == ["6755", "755"]


def test_a_copy_of_somebody_else_s_file_has_no_such_bit_on_the_host(
    bench: Bench, engine: str, tmp_path: Path
) -> None:
    paths = (f"/usr/bin/{name}" for name in ("su", "passwd", "mount"))
    tools = [Path(path) for path in paths if os.access(path, os.R_OK)]
    tool = next((one for one in tools if one.stat().st_mode & stat.S_ISUID), None)
    if tool is None:
        pytest.skip("no program is set-user-ID here")
    bits = stat.S_IMODE(tool.stat().st_mode)
    way = run_with("--engine", engine, "--cow", str(tmp_path / "layer"))
    assert bench.inside(way, ["sh", "-c", f"touch {tool}; stat -c %a {tool}"]).lines == [f"{bits:o}"]
    copy = (tmp_path / "layer/tree").joinpath(*tool.parts[1:])
    assert stat.S_IMODE(copy.stat().st_mode) == bits & ~stat.S_ISUID
