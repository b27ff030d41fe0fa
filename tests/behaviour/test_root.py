"""Root: what is different for it: no need for no_new_privs, files of others, set-user-ID programs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from behaviour import harness
from behaviour.harness import EMPTY, TRACE, Bench, Way, run_with

pytestmark = pytest.mark.root

each_way = harness.each_way(
    EMPTY,
    TRACE,
    run_with(module="every_result"),
    run_with("--force", "rewind=restart", module="every_sequence"),
    run_with(module="every_sequence").on("notify"),
)


@each_way
def test_programs_of_root_behave_as_outside(bench: Bench, way: Way) -> None:
    script = "id -u; cat /etc/shadow | wc -l; echo x >file; chown 1:1 file; stat -c %u:%g file; umask"
    assert bench.same(way, ["bash", "-c", script]).lines[0] == "0"


@each_way
def test_a_program_gives_up_its_rights(bench: Bench, way: Way) -> None:
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c"]
    bench.same(way, [*command, "id -u; cat /etc/shadow; (exit 3); echo $?; echo | cat"])


@each_way
def test_a_program_with_a_set_user_id_bit_runs(bench: Bench, way: Way) -> None:
    def prepare(place: Path) -> None:
        program = place / "id"
        shutil.copy(shutil.which("id") or "", program)
        os.chown(program, 65534, 65534)
        program.chmod(0o4755)

    bench.prepare = prepare
    found = bench.inside(way, ["./id", "-r", "-u"])
    assert (found.stdout, found.status) == ("0\n", 0)
